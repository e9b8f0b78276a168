"""Whether tokenizer.align puts beats where the music has them, and leaves alone what lies on its grid.

    PYTHONPATH=. python benchmarks/alignment.py --songs ../shared/data/midi --most 60

scores      every song of the folders of scores: what is done to it, whether it is returned bit for bit, milliseconds
retimed     held-out ones of them, at most --most of a folder, as a player's (tests/tokenizer/retime.py): the measures
            of tests/tokenizer/beat_measures.py, which say what counts half and double how
untimed     groove/'s held-out drummers without their tempo, likewise
groove      its songs as they are: kinds, F of beats against the click, milliseconds of notes from the grid
pop909      its songs as they are against their annotation: milliseconds from the grid, F of beats and of downbeats of
            four. phase right: at least 60 % of the downbeats found are annotated ones and the other way round; of the
            songs 95 % of whose annotated downbeats keep one phase modulo four beats. annotated early: less than 0.8 of
            what is held from annotated downbeats is held from one beat later, where bass and chords begin: there the
            annotation lies a beat before the measures. Both measures without these songs, too

kept: not off_grid. wrong: of what is kept, f_after below 0.8. by confidence: both, if a confidence that high were
asked for. Means are over songs, and `all` over all songs of the folders. Writes benchmarks/results/alignment.json, and
beside it pictures of a pickup, of a meter that is found, and of a performance (the first song of its folder that is
such a one).
"""

import argparse
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from held_out import is_held_out
from report import write_report
from retime import Retimed, retimed, untimed

import tokenizer
from tests.tokenizer.beat_measures import Judged, beats_of, f_measure, judge, onset_seconds
from tokenizer import Aligned, Score
from tokenizer.dataset import beats_plot
from tokenizer.grid.changes import changes
from tokenizer.grid.quantize import on_grid
from tokenizer.grid.tempo_map import own_tempos, seconds_at

SCORES = ("cc0", "easyrpg", "freedoom", "simutrans", "orchestra", "quartets", "lieder")
WRONG = 0.8  # f_after of what is wrong: less
CONFIDENCES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
PICTURES = {"pickup": "quartets", "meter": "pop909", "beats": "lieder"}
KEEP_ONE_PHASE = 0.95
HIT = 0.6
EARLY = 0.8
SCALE = 0.97  # of a drummer's seconds: what was played at 120 BPM would else be steady


@dataclass(frozen=True, eq=False)
class Run:
    """score: what was aligned; milliseconds: that it took."""

    score: Score
    aligned: Aligned
    milliseconds: float


def run(score: Score) -> Run:
    start = time.perf_counter()
    aligned = tokenizer.align(score)
    return Run(score, aligned, 1e3 * (time.perf_counter() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, required=True, help="folder of folders of songs, with pop909_beats")
    parser.add_argument("--most", type=int, required=True, help="songs of a folder that are retimed")
    arguments = parser.parse_args()
    songs = {folder: sorted((arguments.songs / folder).glob("*.mid")) for folder in (*SCORES, "groove", "pop909")}
    held_out = {folder: [path for path in paths if is_held_out(path)] for folder, paths in songs.items()}
    some = {folder: spread(held_out[folder], arguments.most) for folder in SCORES}
    results = {
        "scores": with_all({folder: left_alone(songs[folder]) for folder in SCORES}),
        "retimed": performances({folder: map(as_performance, read(some[folder])) for folder in SCORES}),
        "untimed": performances({"groove": (untimed(score, SCALE) for _, score in read(held_out["groove"]))}),
        "groove": clicks([run(score) for _, score in read(songs["groove"])]),
        "pop909": annotated([annotation_of(path, score) for path, score in read(songs["pop909"])]),
    }
    report = write_report("alignment", results)
    for kind, folder in PICTURES.items():
        picture(kind, songs[folder], report.with_name(f"alignment_{kind}.png"))


def picture(kind: str, paths: list[Path], out: Path) -> None:
    """Of the first song of that kind, which for beats is played freely first."""
    for path, score in read(paths):
        taken = as_performance((path, score)).score if kind == "beats" else score
        if (aligned := tokenizer.align(taken)).kind == kind:
            beats_plot.draw(taken, aligned, f"{path.parent.name}/{path.name}", out)
            return


def spread(paths: list[Path], most: int) -> list[Path]:
    """At most so many, evenly."""
    return paths if len(paths) <= most else [paths[number * len(paths) // most] for number in range(most)]


def read(paths: list[Path]) -> Iterator[tuple[Path, Score]]:
    """One after another: what is measured of each is all that stays."""
    for path in paths:
        yield path, tokenizer.read(path)


def as_performance(song: tuple[Path, Score]) -> Retimed:
    """By a seed that is the file's own."""
    path, score = song
    return retimed(score, zlib.crc32(path.stem.encode()))


def left_alone(paths: list[Path]) -> list[Run]:
    return [run(score) for _, score in read(paths)]


def with_all(runs: dict[str, list[Run]]) -> dict:
    return {folder: _of_scores(own) for folder, own in (runs | {"all": [*chain(*runs.values())]}).items()}


def _of_scores(runs: list[Run]) -> dict:
    return {
        "songs": len(runs),
        "kinds": _kinds(runs),
        "bit for bit": sum(each.aligned.score is each.score for each in runs),
        "milliseconds": _mean([each.milliseconds for each in runs], 2),
        "milliseconds at most": round(max(each.milliseconds for each in runs), 1),
    }


def performances(folders: dict[str, Iterator[Retimed]]) -> dict:
    judged = {folder: [_judged(truth) for truth in truths] for folder, truths in folders.items()}
    return {folder: _of_performances(own) for folder, own in (judged | {"all": [*chain(*judged.values())]}).items()}


def _judged(truth: Retimed) -> tuple[Run, Judged, float]:
    """With the F of bar lines as they are: bars of half or double the length are wrong."""
    made = run(truth.score)
    beats, bars = beats_of(made.score, made.aligned)
    of_bars = f_measure(truth.downbeats, bars, np.concatenate(onset_seconds(truth.score)))
    return made, judge(beats, truth), of_bars


def _of_performances(judged: list[tuple[Run, Judged, float]]) -> dict:
    runs, judgements, of_bars = zip(*judged, strict=True)
    is_kept = np.array([each.aligned.kind != "off_grid" for each in runs])
    confidence = np.array([each.aligned.confidence for each in runs])
    f_after = np.array([each.f_after for each in judgements])
    rows = [asdict(each) for each in judgements]
    return {
        "songs": len(runs),
        "kinds": _kinds(runs),
        **{name: _mean([row[name] for row in rows]) for name in rows[0]},
        "f of bar lines": _mean(of_bars),
        "kept": _mean(is_kept),
        "wrong": _mean(f_after[is_kept] < WRONG),
        "by confidence": {
            str(least): [_mean(confidence >= least), _mean(f_after[confidence >= least] < WRONG)]
            for least in CONFIDENCES
        },
        "milliseconds": _mean([each.milliseconds for each in runs], 1),
    }


def clicks(runs: list[Run]) -> dict:
    """Of songs that were played to their file's tempo."""
    f = []
    for each in runs:
        click, _ = beats_of(each.score, Aligned(each.score, "none"))
        f.append(f_measure(click, beats_of(each.score, each.aligned)[0], np.concatenate(onset_seconds(each.score))))
    return {
        "songs": len(runs),
        "kinds": _kinds(runs),
        "f": _mean(f),
        "shift beats": _quantiles([each.aligned.shift_beats for each in runs]),
        **_from_grid(runs),
        "milliseconds": _mean([each.milliseconds for each in runs], 1),
    }


@dataclass(frozen=True, eq=False)
class Annotated:
    """A song and what people say of it: seconds of its beats, of its downbeats of four; whether these keep one phase,
    and lie a beat early.
    """

    run: Run
    beats: np.ndarray
    downbeats: np.ndarray
    keeps_one_phase: bool
    is_early: bool


def annotation_of(path: Path, score: Score) -> Annotated:
    seconds, _, is_downbeat = np.loadtxt(path.parent.parent / "pop909_beats" / f"{path.stem}.txt").T
    phases = np.bincount(np.flatnonzero(is_downbeat) % 4, minlength=4)
    keeps_one_phase = phases.max() >= KEEP_ONE_PHASE * phases.sum()
    held, downbeats = held_from(score, seconds), np.flatnonzero(is_downbeat[:-1])
    is_early = held[downbeats].sum() < EARLY * held[downbeats + 1].sum()
    return Annotated(run(score), seconds, seconds[is_downbeat == 1], keeps_one_phase, is_early)


def held_from(score: Score, beats: np.ndarray) -> np.ndarray:
    """float64[beats] seconds for which notes are held that begin with each beat, at most 4 of each note."""
    held = np.zeros(len(beats))
    for track, begin in zip(score.tracks, onset_seconds(score), strict=True):
        ends = track.notes["onset_ticks"] + track.notes["duration_ticks"]
        length = np.minimum(seconds_at(score.tempos, score.ticks_per_beat, ends) - begin, 4.0)
        beat = np.abs(beats[:, None] - begin).argmin(axis=0)
        is_near = np.abs(beats[beat] - begin) < 0.07
        held += np.bincount(beat[is_near], length[is_near], len(beats))
    return held


def annotated(songs: list[Annotated]) -> dict:
    beats_f, downbeats_f, is_right = [], [], []
    for song in songs:
        onsets = np.concatenate(onset_seconds(song.run.score))
        beats, bars = beats_of(song.run.score, song.run.aligned)
        beats_f.append(f_measure(song.beats, beats, onsets))
        downbeats_f.append(f_measure(song.downbeats, bars, onsets))
        is_right.append(min(_hit(bars, song.downbeats, onsets), _hit(song.downbeats, bars, onsets)) >= HIT)
    runs = [song.run for song in songs]
    of_one_phase, early = (np.array([getattr(song, of) for song in songs]) for of in ("keeps_one_phase", "is_early"))
    downbeats_f, is_right = np.array(downbeats_f), np.array(is_right)
    return {
        "songs": len(songs),
        "kinds": _kinds(runs),
        **_from_grid(runs),
        "f of beats": _mean(beats_f),
        "f of downbeats": _mean(downbeats_f),
        "songs of one phase": int(of_one_phase.sum()),
        "phase right": _mean(is_right[of_one_phase]),
        "annotated early": int(early.sum()),
        "f of downbeats without these": _mean(downbeats_f[~early]),
        "of one phase without these": int((of_one_phase & ~early).sum()),
        "phase right without these": _mean(is_right[of_one_phase & ~early]),
        "milliseconds": _mean([each.milliseconds for each in runs], 1),
    }


def _hit(lines: np.ndarray, others: np.ndarray, onsets: np.ndarray) -> float:
    """Share of those between the first onset and the last of the others' that have one of the others within 70 ms."""
    first, last = max(onsets.min(), others[0]) - 0.07, min(onsets.max(), others[-1]) + 0.07
    lines = lines[(lines >= first) & (lines <= last)]
    return float((np.abs(lines[:, None] - others).min(axis=1) <= 0.07).mean()) if len(lines) else 0.0


def _from_grid(runs: list[Run]) -> dict:
    """Milliseconds by which notes move when they go to the grid, of songs as they are and aligned."""
    return {
        "ms from grid, as it is": _mean([_moved(each.score) for each in runs], 2),
        "ms from grid": _mean([_moved(each.aligned.score) for each in runs], 2),
        "ms from grid, quantiles": _quantiles([_moved(each.aligned.score) for each in runs]),
    }


def _moved(score: Score) -> float:
    found = on_grid(score)
    told = changes(score, found, own_tempos(score, found.layout), moved_ms=20)
    return told.moved_ms_sum / told.notes


def _kinds(runs: list[Run]) -> dict[str, int]:
    return dict(Counter(each.aligned.kind for each in runs).most_common())


def _mean(values: list | np.ndarray, digits: int = 3) -> float | None:
    return round(float(np.mean(values)), digits) if len(values) else None


def _quantiles(values: list[float]) -> list[float]:
    """The least, a quarter, half, three quarters, the most."""
    return [round(float(each), 4) for each in np.quantile(values, (0, 0.25, 0.5, 0.75, 1))]


if __name__ == "__main__":
    main()
