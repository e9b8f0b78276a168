"""What the `generate` verb does: songs of a run into files, any number of them, from where an earlier call stopped; one
song to standard output, or its bars as they are finished, printed or played; a song once more from its JSON.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import asked, outputs, pianoroll
from jax_impl.sampling.live import Live
from jax_impl.sampling.outputs import Formats, Origin
from jax_impl.sampling.sample import Sample, Sampler
from jax_impl.sampling.stream import Stream
from jax_impl.sampling.task import Task
from jax_impl.training.found import Found, step_named
from tokenizer.disk import destination
from tokenizer.disk.destination import MIDI, STANDARD_OUTPUT
from tokenizer.disk.lock import only_writer
from tokenizer.music import instruments
from tokenizer.tokens.given import Prompt

OUT = "--out"


class Done(NamedTuple):
    """A song that is there. path: of its MIDI file, beside which its JSON lies; None where it is not kept."""

    sample: Sample
    path: Path | None


Afterwards = Callable[[Path | None, int, Sequence[Done]], None]  # of a run, a step and songs, once these are there


@dataclass(frozen=True)
class Request:
    """What songs are to be made of. run: None for the model that comes with this program. given: a MIDI file to go on
    with or to play along with. checkpoint: best, latest, or a step.
    """

    run: Path | None
    config: SampleConfig
    wanted: Constraints
    given: Path | None = None
    checkpoint: str = "best"

    def ready(self) -> "Ready":
        """Raises InputError where something of it cannot be, before the model is loaded."""
        prompt, notices = asked.given(self.given, self.wanted.pedal, self.wanted.align)
        return Ready.of(self.run, self.checkpoint, self.config, self.wanted, prompt, notices)


@dataclass(frozen=True)
class Ready:
    """What is known to be good: a checkpoint, and what its model is to do."""

    found: Found
    task: Task
    origin: Origin

    @classmethod
    def of(
        cls,
        run: Path | None,
        checkpoint: str,
        config: SampleConfig,
        wanted: Constraints,
        prompt: Prompt | None,
        notices: list[str],
    ) -> "Ready":
        """Prints what the user should know. Raises InputError."""
        found, task = asked.task_for(run, step_named(checkpoint), config, wanted, prompt, notices)
        for notice in task.notices:
            print(f"notice: {notice}")
        if not task.cached:
            print(
                "notice: this model's rule is v121: a bar's summary pools tracks that are written later, and "
                "positions shift with the number of bars, so nothing can be cached and every token costs a whole "
                "forward pass"
            )
        return cls(found, task, Origin.of(found, task.config, wanted, prompt))

    def sampler(self) -> Sampler:
        return Sampler(self.found, self.task)


# ---------------------------------------------------------------- new songs


def write_songs(
    request: Request,
    out: str | Path,
    formats: Formats,
    overwrite: bool,
    bars: bool = False,
    afterwards: Afterwards | None = None,
    live: Live | None = None,
) -> int:
    """Writes config.num_samples songs. out: a MIDI file, of several the second is NAME-2.mid and so on; or a folder of
    0000.mid ..., where songs that an earlier call wrote are not made again (see destination). bars: print those of the
    one song as they are finished. afterwards: with those that were written. live: what plays the one song meanwhile;
    it is waited for. Returns the exit status. Raises InputError.
    """
    is_folder, count = destination.is_folder(out, MIDI, OUT), request.config.num_samples
    out = Path(out)
    if is_folder:
        paths = [out / f"{number:04}.mid" for number in range(count)]
    else:
        paths = [out if number == 0 else out.with_stem(f"{out.stem}-{number + 1}") for number in range(count)]
    with _to_be_written(paths, formats, [request.given], overwrite), ExitStack() as opened:
        if is_folder:
            opened.enter_context(only_writer(out))
        ready = request.ready()
        origin = ready.origin
        missing, written = set(range(count)), Tally()  # a file that is named is written anew
        done: list[Done] = []

        def write(sample: Sample) -> None:
            path = paths[sample.number]
            notice = outputs.write(sample, origin, path, formats)
            written.add(sample)
            done.append(Done(sample, path))
            missing.remove(sample.number)
            with tqdm.external_write_mode():  # beside its progress bar
                if not is_folder:
                    destination.tell(path, f"{Tally.of(sample)} ({origin.model})", notice)
                elif notice:
                    print(f"notice: {path}: {notice}")

        if is_folder:
            outputs.refuse_other_settings(out, origin)
            missing -= {number for number in missing if outputs.is_whole(paths[number], formats)}
            if len(missing) < count:
                print(f"{out}: {count - len(missing)} of {count} songs are there already")
            for number in sorted(missing):  # without all files that are asked for, such as sound
                if there := outputs.beside(paths[number]):
                    write(replace(there.sample, whole=ready.task.whole))
        if missing:
            if bars or live:
                songs = _streamed(ready, bars, live)
            else:
                songs = sampled(ready.sampler(), frozenset(missing), formats.picture)
            try:
                for sample in songs:
                    write(sample)
            except KeyboardInterrupt:
                if is_folder:
                    print(f"{out}: {count - len(missing)} of {count} songs are there whole; the same command goes on")
                raise
        if is_folder and written.songs:
            print(f"{out}: {_songs(written.songs)} written, {written} ({origin.model})")
        _tell_errors(request.config, written)
        if afterwards:
            afterwards(request.run, origin.step, done)
    return 0


def write_to_standard_output(
    request: Request, bars: bool = False, afterwards: Afterwards | None = None, live: Live | None = None
) -> int:
    """One song as the bytes of a MIDI file, and every message on standard error. Raises InputError."""
    with destination.standard_output(OUT) as output:
        ready = request.ready()
        for sample in _streamed(ready, bars, live) if bars or live else sampled(ready.sampler(), {0}):
            _send(sample, output, f"{Tally.of(sample)} ({ready.origin.model})")
            _tell_errors(request.config, Tally.of(sample))
        if afterwards:
            afterwards(request.run, ready.origin.step, [Done(sample, None)])
    return 0


def play_bars(
    request: Request, bars: bool = True, afterwards: Afterwards | None = None, live: Live | None = None
) -> int:
    """The bars of one song as they are finished, printed (bars) or played (live) or both, and no file."""
    ready = request.ready()
    for sample in _streamed(ready, bars, live):
        print(f"{Tally.of(sample)}, not kept: -o FILE writes it ({ready.origin.model})", flush=True)
        _tell_errors(request.config, Tally.of(sample))
    if afterwards:
        afterwards(request.run, ready.origin.step, [Done(sample, None)])
    return 0


def sampled(sampler: Sampler, numbers: Set[int], picture: bool = False) -> Iterator[Sample]:
    """The songs of these numbers, with a progress bar: of tokens where it is one, else of songs. picture: what draws
    them is loaded while the first are written.
    """
    one = len(numbers) == 1
    total, unit = (sampler.config.max_length, "token") if one else (len(numbers), "song")
    # What a group makes depends on it as a whole
    groups = [group for group in sampler.groups() if numbers.intersection(group)]
    with tqdm(total=total, unit=unit, disable=None) as progress:

        def advance(length: int, longest: Sample) -> None:
            if picture:
                pianoroll.load_ahead()
            if one:
                if longest.place:
                    program, measure = longest.place
                    progress.set_postfix_str(f"{instruments.name(program)}, bar {measure + 1}", refresh=False)
                progress.update(length - progress.n)
            else:
                progress.set_postfix(tokens=length)

        for group in groups:
            for sample in sampler.group(group, advance):
                if sample.number in numbers:
                    yield sample
                    if not one:
                        progress.update(1)


def _streamed(ready: Ready, bars: bool, live: Live | None) -> Iterator[Sample]:
    """The first song, its bars printed as they are finished, or played, or both. It is given as soon as it is written;
    what plays is waited for after that.
    """
    if live:
        live.expect(ready.task)
    song = Stream(ready.sampler())
    for bar in song:
        if bars:
            where = f"track {bar.track + 1} {instruments.name(bar.program)}, bar {bar.bar + 1}"
            print(f"{where}: {bar.chord}, {len(bar.notes)} notes", flush=True)
        if live:
            live.hear(bar)
    if live:
        live.end()
    yield song.sample
    if live:
        live.wait()


# ---------------------------------------------------------------- a song once more


def make_again(
    run: Path | None,
    out: str | Path,
    path: Path,
    formats: Formats,
    overwrite: bool,
    afterwards: Afterwards | None = None,
) -> int:
    """Makes the sample of the JSON at `path` once more. run: None for the one that the JSON names. out: a MIDI file, a
    folder, or "-". afterwards: with the song that was written. Raises InputError where the checkpoint is another or the
    result differs.
    """
    origin, made, *_ = outputs.read(path)
    if run is None and origin.run is not None:
        run = Path(origin.run)
    if out == STANDARD_OUTPUT:
        with destination.standard_output(OUT) as output:
            sample = _same_sample(run, path, origin, made)
            _send(sample, output, f"the same {len(sample.ids)} tokens again")
            if afterwards:
                afterwards(run, origin.step, [Done(sample, None)])
        return 0
    out = destination.file_named(out, MIDI, f"{path.stem}.mid", OUT)
    with _to_be_written([out], formats, [], overwrite):
        sample = _same_sample(run, path, origin, made)
        notice = outputs.write(sample, origin, out, formats)
    destination.tell(out, f"the same {len(sample.ids)} tokens again", notice)
    if afterwards:
        afterwards(run, origin.step, [Done(sample, out)])
    return 0


def _same_sample(run: Path | None, path: Path, origin: Origin, made: Sample) -> Sample:
    config = outputs.config_of(SampleConfig, origin.sampler)
    wanted = outputs.config_of(Constraints, origin.constraints)
    ready = Ready.of(run, str(origin.step), config, wanted, origin.given(), [])
    now = ready.origin
    if now.checksum != origin.checksum:
        raise InputError(f"{ready.found.name}: its checkpoint of step {origin.step} is not the one of {path}")
    sampler = ready.sampler()
    (group,) = (group for group in sampler.groups() if made.number in group)
    sample = sampler.group(group)[made.number - group.start]
    if not np.array_equal(sample.ids, made.ids):
        raise InputError(
            f"{path}: became another song here; it was made with {origin.versions}, this is {now.versions}"
        )
    return sample


# ---------------------------------------------------------------- what all of them do


@contextmanager
def _to_be_written(
    paths: Sequence[Path], formats: Formats, inputs: Sequence[Path | None], overwrite: bool
) -> Iterator[None]:
    """Around the sampling of the songs for these MIDI files: what cannot be written is said before any work."""
    for path in paths:
        outputs.refuse_to_replace_any(path, formats, inputs, overwrite)
    with destination.folder_for([file for path in paths for file in formats.files(path)], OUT):
        yield


def _send(sample: Sample, output: BinaryIO, what: str) -> None:
    content, notice = sample.midi()
    output.write(content)
    output.flush()
    destination.tell("standard output", what, notice)


@dataclass
class Tally:
    """What was made: songs; their tokens, with those that the grammar was against; the songs that the model did not end
    itself; and the bars in which a chord was asked for, with those in which it is heard. As text what a line says of
    them.
    """

    songs: int = 0
    tokens: int = 0
    errors: int = 0
    unfinished: int = 0  # without an end, at --max-length
    cut_short: int = 0  # brought to an end for want of room
    asked_chords: int = 0
    heard_chords: int = 0

    @classmethod
    def of(cls, sample: Sample) -> "Tally":
        tally = cls()
        tally.add(sample)
        return tally

    def add(self, sample: Sample) -> None:
        self.songs += 1
        self.tokens += len(sample.ids)
        self.errors += sample.errors
        self.unfinished += not sample.finished
        self.cut_short += sample.finished and sample.cut_short
        heard, asked = sample.whole.heard_chords(sample.ids)
        self.heard_chords, self.asked_chords = self.heard_chords + heard, self.asked_chords + asked

    def __str__(self) -> str:
        words = [f"{self.tokens} tokens"]
        for count, what in (
            (self.unfinished, "cut at --max-length"),
            (self.cut_short, "brought to an end for want of room (--bars or --max-length gives more)"),
        ):
            if count:
                words.append(what if self.songs == 1 else f"{_songs(count)} {what}")
        if self.asked_chords:
            words.append(f"{self.heard_chords} of {self.asked_chords} asked chords are heard in the notes")
        return ", ".join(words)


def _songs(count: int) -> str:
    return f"{count} song" if count == 1 else f"{count} songs"


def _tell_errors(config: SampleConfig, made: Tally) -> None:
    if not config.grammar:
        share = made.errors / max(made.tokens, 1)
        print(f"{made.errors} of {made.tokens} tokens were against the grammar ({share:.2%})")
