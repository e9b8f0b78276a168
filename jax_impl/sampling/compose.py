"""The `generate` verb: songs of a run into files, any number of them, from where an earlier call stopped."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from configs import Constraints, InputError, SampleConfig
from jax_impl.device import device
from jax_impl.sampling import outputs
from jax_impl.sampling.outputs import Formats, Origin
from jax_impl.sampling.sample import ANYTHING, DEFAULT, Sample, Sampler
from jax_impl.training.checkpoint import load_model
from tokenizer import vocabulary as vocab
from tokenizer.disk.lock import only_writer
from tokenizer.music import instruments, midi
from tokenizer.music.score import Score
from tokenizer.tokens import grammar
from tokenizer.tokens.encode import encode

STREAM_STRIDE = 8  # tokens between two looks for a finished bar


@dataclass(frozen=True)
class Bar:
    """A bar that has just been finished: of which track of the song, which bar of it (both from 0), and the whole song
    so far.
    """

    track: int
    program: int
    bar: int
    chord: str
    notes: int
    score: Score


def generate(
    run: Path,
    out: Path,
    config: SampleConfig,
    wanted: Constraints,
    given: Path | None,
    checkpoint: str,
    formats: Formats,
    overwrite: bool,
) -> int:
    """Writes config.num_samples songs. out: a .mid file, of several the second is NAME-2.mid and so on; else a folder
    of 0000.mid ..., where songs that an earlier call wrote are not made again. Returns the exit status. Raises
    InputError.
    """
    paths = _paths(out, config.num_samples)
    is_folder = out.suffix != ".mid"
    with ExitStack() as opened:
        if is_folder:
            opened.enter_context(only_writer(out))
        for path in paths:  # what cannot be written is said before any work
            outputs.refuse_to_replace_any(path, formats, [given], overwrite)
        prompt = None if given is None else encode(midi.read(given)).ids
        sampler, origin = _sampler(run, checkpoint, config, wanted, prompt)
        missing = set(range(len(paths)))  # a file that is named is written anew
        if is_folder:
            outputs.refuse_other_settings(out, origin)
            missing = {number for number in missing if not outputs.is_whole(paths[number], formats)}
            if len(missing) < len(paths):
                print(f"{out}: {len(paths) - len(missing)} of {len(paths)} songs are there already")
            missing -= set(_from_their_json(paths, missing, origin, formats))
        _sample(sampler, origin, paths, missing, formats, is_folder)
    return 0


def _from_their_json(paths: list[Path], missing: set[int], origin: Origin, formats: Formats) -> Iterator[int]:
    """Writes the songs of which the JSON is there but not all files, such as sound that was not asked for then; their
    numbers.
    """
    for number in sorted(missing):
        if there := outputs.beside(paths[number]):
            outputs.write(there.sample, origin, paths[number], formats)
            yield number


def _sample(
    sampler: Sampler, origin: Origin, paths: list[Path], missing: set[int], formats: Formats, is_folder: bool
) -> None:
    """Samples and writes the songs of these numbers."""
    config, left = sampler.config, len(missing)
    # What a group makes depends on it as a whole
    todo = [group for group in sampler.groups() if missing.intersection(group)]
    errors = tokens = 0
    with tqdm(
        total=left * config.max_length if left == 1 else left, unit="token" if left == 1 else "song", disable=None
    ) as bar:
        for group in todo:
            advance = (
                (lambda length: bar.update(length - bar.n))
                if left == 1
                else (lambda length: bar.set_postfix(tokens=length))
            )
            for sample in sampler.group(group, advance):
                if sample.number not in missing:
                    continue
                outputs.write(sample, origin, paths[sample.number], formats)
                errors, tokens = errors + sample.errors, tokens + len(sample.ids)
                if left > 1:
                    bar.update(1)
                if not is_folder:
                    ending = "" if sample.finished else ", cut at --max-length"
                    bar.write(
                        f"{paths[sample.number]}: {len(sample.ids)} tokens{ending} (checkpoint of step {origin.step})"
                    )
    if not config.grammar:
        print(f"{errors} of {tokens} tokens were against the grammar ({errors / max(tokens, 1):.2%})")


def again(run: Path, out: Path, path: Path, formats: Formats, overwrite: bool) -> int:
    """Makes the sample of a JSON once more. Raises InputError where the checkpoint is another or the result differs."""
    origin, made, _ = outputs.read(path)
    outputs.refuse_to_replace_any(out, formats, [], overwrite)
    config, wanted = (
        outputs.config_of(SampleConfig, origin.sampler),
        outputs.config_of(Constraints, origin.constraints),
    )
    prompt = None if origin.prompt is None else np.array(origin.prompt, np.int32)
    sampler, now = _sampler(run, str(origin.step), config, wanted, prompt)
    if now.checksum != origin.checksum:
        raise InputError(f"{run}: its checkpoint of step {origin.step} is not the one that {path} was made with")
    (group,) = (group for group in sampler.groups() if made.number in group)
    sample = sampler.group(group)[made.number - group.start]
    if not np.array_equal(sample.ids, made.ids):
        raise InputError(
            f"{path}: became another song here; it was made with {origin.versions}, this is {now.versions}"
        )
    outputs.write(sample, origin, out, formats)
    print(f"{out}: the same {len(sample.ids)} tokens again")
    return 0


def print_stream(run: Path, config: SampleConfig, wanted: Constraints, given: Path | None, checkpoint: str) -> int:
    """A line for every bar of one song as it is finished."""
    prompt = None if given is None else encode(midi.read(given)).ids
    for bar in _bars(_sampler(run, checkpoint, config, wanted, prompt)[0]):
        print(
            f"track {bar.track + 1} {instruments.name(bar.program)}, bar {bar.bar + 1}: {bar.chord}, {bar.notes} notes",
            flush=True,
        )
    return 0


def stream(
    run: Path,
    *,
    prompt: Score | None = None,
    constraints: Constraints = ANYTHING,
    sampler: SampleConfig = DEFAULT,
    checkpoint: str | int = "best",
) -> Iterator[Bar]:
    """The bars of one song as they are finished, given ones first: for live use. Raises InputError."""
    ids = None if prompt is None else encode(prompt).ids
    yield from _bars(_sampler(run, str(checkpoint), sampler, constraints, ids)[0])


def _bars(sampler: Sampler) -> Iterator[Bar]:
    told = 0
    for (sample,) in sampler.steps(range(1), STREAM_STRIDE):
        bars = list(finished_bars(sample))
        yield from bars[told:]
        told = len(bars)


def finished_bars(sample: Sample) -> Iterator[Bar]:
    """The bars that are followed by another token that ends them."""
    track, program, bar, begun = -1, 0, -1, None
    for index, token in enumerate(sample.ids.tolist()):
        kind = grammar.CLASS[token]
        if kind in (grammar.CHORD, grammar.TRACK, grammar.EOS) and begun is not None:
            notes = int(np.sum(grammar.CLASS[sample.ids[begun:index]] == grammar.PITCH))
            chord = vocab.NAMES[sample.ids[begun]]
            so_far = Sample(sample.ids[:index], False, 0, sample.number)
            yield Bar(track, program, bar, chord, notes, so_far.score())
            begun = None
        if kind == grammar.TRACK:
            track, program, bar = track + 1, vocab.token_program(token), -1
        if kind == grammar.CHORD:
            bar, begun = bar + 1, index


def _sampler(
    run: Path, checkpoint: str, config: SampleConfig, wanted: Constraints, prompt: np.ndarray | None
) -> tuple[Sampler, Origin]:
    model, record = load_model(run, int(checkpoint) if checkpoint.isdecimal() else checkpoint)
    sampler = Sampler(model, config, device.sampling_compute(), prompt, wanted)
    if sampler.notice:
        print(f"notice: {sampler.notice}")
    if not sampler.cached:
        print(
            "notice: this model's rule is v121: a bar's summary pools tracks that are written later, and "
            "positions shift with the number "
            "of bars, so nothing can be cached and every token costs a whole forward pass"
        )
    return sampler, Origin.of(run, record, config, wanted, prompt)


def _paths(out: Path, count: int) -> list[Path]:
    """Where the songs go. Makes the folder."""
    if out.suffix not in ("", ".mid"):
        raise InputError(f"--out {out}: give a .mid file, or a folder")
    folder = out.parent if out.suffix else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder}: cannot be made a folder ({error.strerror})") from error
    if out.suffix:
        return [out if number == 0 else out.with_stem(f"{out.stem}-{number + 1}") for number in range(count)]
    return [out / f"{number:04}.mid" for number in range(count)]
