"""What the model writes for the page: of a request the events that tell of it, bar by bar.

    begun      what is written, and what the user should know
    bars       some bars that are finished now, of one of the alternatives
    written    an alternative as it then is, a whole song
    copies     its longest passage that training songs have

A song that goes on does so in two steps: the first of its tracks that still plays says the harmony, meter and tempo of
the new bars and its own notes there; then the others are written into these bars as into hidden ones.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from configs import Constraints, InputError
from jax_impl.evaluation import known
from jax_impl.page import places, vary
from jax_impl.page.model import Model
from jax_impl.page.requests import Refused, Write, in_words
from jax_impl.page.song import Silent, Song
from jax_impl.sampling.stream import STRIDE, Bar, Bars
from jax_impl.sampling.task import Task
from jax_impl.sampling.written import InPartsSoFar, Sample
from tokenizer.grid.meter import STEP_TICKS
from tokenizer.grid.song import GridSong
from tokenizer.music.score import Score, Track
from tokenizer.tokens import fields, names
from tokenizer.tokens.encode import grid_song
from tokenizer.tokens.given import Given
from tokenizer.tokens.whole import names_of
from tokenizer.vocabulary import bin_velocity

CUT_SHORT = "brought to an end for want of room: ask for fewer bars at a time"
HARDLY = "not all of the instruments play much: write fewer bars at first, then Continue"
HARDLY_SHARE = 0.1  # of the bars
SILENT = "not all of the instruments play here: the model leaves some silent"


class Event(NamedTuple):
    """data: JSON values."""

    name: str
    data: dict


@dataclass(frozen=True, eq=False)
class Made:
    """An alternative. new: what the user did not give of it, on the grid. notices: what is to be said of it."""

    number: int
    song: Song
    new: Score
    notices: tuple[str, ...] = ()


def written(model: Model, request: Write) -> Iterator[Event]:
    """Raises InputError where it cannot be."""
    if request.action in ("rewrite", "vary") and not model.fills:
        raise Refused(
            f"the model of {model.name} never saw hidden bars: it can write new songs, continue and add tracks; one "
            "that is trained with fills can do this"
        )
    if request.action == "new":
        making = _new(model, request)
    elif request.action == "continue":
        making = _behind(model, request) if model.fills else _track_by_track(model, request)
    elif request.action == "add":
        making = _beside(model, request)
    elif request.action == "vary":
        making = _varied(model, request)
    else:
        making = _anew(model, request)
    made = yield from making
    if not made:
        raise Refused("the model wrote no note here: ask once more, or with a density such as 1-12")
    for one in made:
        said = "; ".join(one.notices) or None
        yield Event("written", {"alternative": one.number, "song": one.song.plain(), "notice": said})
    if model.knows_training_songs:
        for one in made:
            yield Event("copies", {"alternative": one.number, **_copies(model, one)})


def _copies(model: Model, one: Made) -> dict:
    """The songs are there whatever is against looking: then that is told."""
    try:
        found = known.of_new(model.copies, one.new)
    except (InputError, OSError, ValueError) as error:
        return {"text": f"no word on what is known from training: {error}"}
    return {"text": known.line("", found).removeprefix(": "), "found": found.plain()}


def _begun(request: Write, task: Task) -> Event:
    notices = [in_words(notice) for notice in task.notices if "written anew" not in notice]
    return Event("begun", {"seed": request.sampler.seed, "notices": notices})


Making = Iterator[Event]  # a generator that returns [Made, ...], without alternatives in which no note is left


# ---------------------------------------------------------------- a new song


def _new(model: Model, request: Write) -> Making:
    task = model.task(request.sampler, request.wanted, None)
    yield _begun(request, task)
    samples = yield from _told(request, model, task, 0)
    made = []
    for sample in samples:
        said = [CUT_SHORT] * sample.cut_short
        with suppress(Silent):
            song = Song.of_file(sample.midi()[0], None)
            if hardly_plays(song, request.wanted):
                said.append(HARDLY)
            made.append(Made(sample.number, song, known.new_of(sample), tuple(said)))
    return made


def hardly_plays(song: Song, wanted: Constraints) -> bool:
    """Whether one of the instruments that were asked for is not there, or silent in nearly all bars."""
    asked = len(names.programs(wanted.instruments, "instruments")) if wanted.instruments else 0
    sounding = [len(np.unique(song.measure_of(track))) for track in range(len(song.ids))]
    return len(sounding) < asked or min(sounding) < HARDLY_SHARE * len(song.bars)


def _told(request: Write, model: Model, task: Task, given: int, track: int | None = None) -> Making:
    """The samples of a song that is written from its first bar on, or goes on behind so many measures; their new bars
    as they come. track: which it is in the song, of one track alone.
    """
    rows = range(request.sampler.num_samples)
    follow = {row: Bars(task.whole) for row in rows}
    looked_at, samples = dict.fromkeys(rows, 0), []
    for samples in model.sampler(task).steps(rows, STRIDE):
        for sample in samples[: request.alternatives]:
            bars = list(follow[sample.number].push(sample.ids[looked_at[sample.number] :]))
            looked_at[sample.number] = len(sample.ids)
            if new := [_of_stream(bar, track) for bar in bars if bar.bar >= given]:
                yield _bars(sample, new)
    return samples[: request.alternatives]


def _bars(sample: Sample, bars: list[dict]) -> Event:
    return Event("bars", {"alternative": sample.number, "bars": bars, "tokens": len(sample.ids)})


def _of_stream(bar: Bar, track: int | None) -> dict:
    meter, notes = bar.score.signatures[0], bar.notes
    columns = [notes[name] for name in ("onset_ticks", "duration_ticks", "pitch", "velocity")]
    return {
        "track": bar.track if track is None else track,
        "program": bar.program,
        "bar": bar.bar + 1,
        "chord": bar.chord,
        "tick": bar.start_ticks,
        "ticks": 4 * bar.score.ticks_per_beat * meter.numerator // meter.denominator,
        "notes": np.stack(columns, axis=1).tolist(),
    }


# ---------------------------------------------------------------- bars anew


def _anew(model: Model, request: Write) -> Making:
    task = model.task(request.sampler, _hiding(request, request.wanted), request.song.prompt)
    yield _begun(request, task)
    samples, _ = yield from _filled(request, model, task, range(request.sampler.num_samples))
    made = []
    for sample in samples:
        with suppress(Silent):
            made.append(_rewritten(request.song, sample))
    return made


def _hiding(request: Write, wanted: Constraints) -> Constraints:
    bars = f"{request.first}-{request.last}"
    return replace(wanted, fill=",".join(f"#{track + 1}:{bars}" for track in request.tracks))


def _rewritten(song: Song, sample: Sample) -> Made:
    raw, notice = sample.midi()
    return _made(sample, Song.of_file(raw, song.beats), notice)


def _made(sample: Sample, song: Song, notice: str | None) -> Made:
    said = [*([notice] if notice else []), *[CUT_SHORT] * sample.cut_short]
    return Made(sample.number, song, known.new_of(sample), tuple(said))


def _varied(model: Model, request: Write) -> Making:
    """One alternative after the other, stretch by stretch: each sees what the ones before became."""
    yield Event("begun", {"seed": request.sampler.seed, "notices": []})
    made = []
    for number in range(request.alternatives):
        stretches, parts = vary.anew(request, number), []
        if kept := _kept(request, stretches):
            yield Event("bars", {"alternative": number, "bars": kept, "tokens": 0})
        song = request.song
        with suppress(Silent):
            for first, last in stretches:
                part = vary.part(request, song, first, last)
                samples, _ = yield from _filled(request, model, _nearest(model, part), [number])
                parts.append(_rewritten(song, *samples))
                song = parts[-1].song
        if len(parts) < len(stretches):
            continue
        new = [track for part in parts for track in part.new.tracks]
        notices = dict.fromkeys(notice for part in parts for notice in part.notices)
        made.append(Made(number, song, _of(parts[-1].new, new), tuple(notices)))
    return made


def _kept(request: Write, stretches: list[tuple[int, int]]) -> list[dict]:
    """The selected bars that stay as they are."""
    song, anew = request.song, {bar for first, last in stretches for bar in range(first, last + 1)}
    stay = [bar - 1 for bar in range(request.first, request.last + 1) if bar not in anew]
    grid, chords = song.grid, song.chords
    return [_of_grid(grid, chords, track, measure) for track in request.tracks for measure in stay]


def _nearest(model: Model, request: Write) -> Task:
    """What is nearest to what is there and can be. Raises InputError where not even what is wanted can."""
    *nearer, alone = vary.near_to(request, _hiding(request, request.wanted))
    for near in nearer:
        with suppress(InputError):
            return model.task(request.sampler, near, request.song.prompt)
    return model.task(request.sampler, alone, request.song.prompt)


def _filled(request: Write, model: Model, task: Task, rows: Sequence[int]) -> Making:
    """The samples of a given song in which hidden bars, or new tracks, are written, and what each makes of the song;
    finished bars as they come.
    """
    so_far = InPartsSoFar(model.sampler(task), task.parts, rows)
    told: dict[int, set] = {row: set() for row in rows}
    chords = task.parts.given.chords
    for samples in so_far.steps(STRIDE):
        for sample in samples:
            new = [place for place in so_far.finished(sample) if place not in told[sample.number]]
            if new and sample.number < request.alternatives:
                told[sample.number].update(new)
                grid = so_far.so_far(sample)
                yield _bars(sample, [_of_grid(grid, chords, *place) for place in new])
    samples = [sample for sample in so_far.samples() if sample.number < request.alternatives]
    return samples, [so_far.song(sample.number) for sample in samples]


def _of_grid(grid: GridSong, chords: np.ndarray, track: int, measure: int) -> dict:
    """A measure of a track, in ticks of the grid."""
    bars, notes = grid.bars, grid.tracks[track].notes
    inside, notes = bars.measure == measure, notes[bars.measure[notes["bar"]] == measure]
    begins = bars.start_ticks[notes["bar"]] + notes["step"] * STEP_TICKS
    columns = [begins, notes["duration"] * STEP_TICKS, notes["pitch"], bin_velocity(notes["velocity"])]
    first, last = np.flatnonzero(inside)[[0, -1]]
    return {
        "track": track,
        "program": grid.tracks[track].program,
        "bar": measure + 1,
        "chord": names_of(chords[inside]),
        "tick": int(bars.start_ticks[first]),
        "ticks": int(bars.start_ticks[last + 1] - bars.start_ticks[first]),
        "notes": np.stack(columns, axis=1).tolist(),
    }


# ---------------------------------------------------------------- tracks beside


def _beside(model: Model, request: Write) -> Making:
    """In all bars as `generate --accompany` does it, in some as in hidden ones."""
    song, given = request.song, places.whole(request.song)
    wanted, instruments = request.wanted, request.wanted.add
    if request.first and model.fills:
        wanted = replace(wanted, add="")
        last = min(request.last, given.measures)
        task = model.task(request.sampler, wanted, places.with_tracks(given, wanted, instruments, request.first, last))
    else:
        task = model.task(request.sampler, wanted, song.prompt)
    yield _begun(request, task)
    samples, grids = yield from _filled(request, model, task, range(request.sampler.num_samples))
    made = []
    for sample, grid in zip(samples, grids, strict=True):
        score = grid.to_score()
        new = [(None, track) for track in score.tracks[len(song.ids) :]]
        if request.first:
            begin, end = song.lines[request.first - 1], song.lines[min(request.last, len(song.bars))]
            new = [(None, Track(track.program, _between(track.notes, begin, end))) for _, track in new]
        raw, notice = song.own.merged(new, [], [])
        said = [*([notice] if notice else []), *[CUT_SHORT] * sample.cut_short]
        if any(not len(track.notes) for _, track in new):
            said.append(SILENT)
        opened = Song.of_file(raw, song.beats)
        made.append(Made(sample.number, opened, _of(score, [track for _, track in new]), tuple(said)))
    return made


def _between(notes: np.ndarray, begin: int, end: int) -> np.ndarray:
    return notes[(notes["onset_ticks"] >= begin) & (notes["onset_ticks"] < end)]


def _of(score: Score, tracks: list[Track]) -> Score:
    return replace(score, tracks=tuple(track for track in tracks if len(track.notes)))


# ---------------------------------------------------------------- bars behind the last


def _behind(model: Model, request: Write) -> Making:
    given = places.whole(request.song)
    measures = given.measures
    first, *_ = places.playing(given)
    wanted = replace(request.wanted, bars=measures + request.more_bars)
    sampler = replace(request.sampler, max_length=model.room(given.song.tracks[first].program, request.more_bars))
    task = model.task(sampler, wanted, places.alone(given, first))
    yield _begun(request, task)
    samples = yield from _told(request, model, task, measures, first)
    made = []
    for sample in samples:
        alone, chords = grid_song(fields.compute(sample.ids))
        longer = places.lengthened(given, first, alone, chords, task.whole.left_out)
        grid, cut_short = longer.song, sample.cut_short
        if longer.hidden:
            others = model.task(request.sampler, request.wanted, longer)
            (filled,), (grid,) = yield from _filled(request, model, others, [sample.number])
            cut_short |= filled.cut_short
        made.append(_gone_on(request, task, sample, longer, grid, cut_short))
    return made


def _gone_on(request: Write, task: Task, sample: Sample, longer: Given, grid: GridSong, cut_short: bool) -> Made:
    """An alternative whose song on the grid is there. longer: the song with room for the new bars."""
    song, score, kept = request.song, grid.to_score(), longer.own
    begin = int(longer.song.bars.start_ticks[len(task.whole.given)])
    new = [Track(track.program, track.notes[track.notes["onset_ticks"] >= begin]) for track in score.tracks]
    raw, notice = kept.merged(list(enumerate(new)), *task.whole.later(sample.ids))
    opened = Song.of_file(raw, song.beats_of_longer(kept, raw))
    said = [*([notice] if notice else []), *[CUT_SHORT] * cut_short]
    return Made(sample.number, opened, _of(score, new), tuple(said))


def _track_by_track(model: Model, request: Write) -> Making:
    """As `generate --continue` does it, for a model that has seen no hidden bars."""
    song, wanted = request.song, replace(request.wanted, bars=len(request.song.bars) + request.more_bars)
    task = model.task(request.sampler, wanted, song.prompt)
    yield _begun(request, task)
    samples = yield from _told(request, model, task, task.whole.given.measures)
    made = []
    for sample in samples:
        raw, notice = sample.midi()
        opened = Song.of_file(raw, song.beats_of_longer(task.whole.given.own, raw))
        made.append(_made(sample, opened, notice))
    return made
