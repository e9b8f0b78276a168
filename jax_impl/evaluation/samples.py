"""The songs that a model writes to be looked at, kept as MIDI for whoever wants to hear them; one that is there as it
was written is not written again.

    FOLDER/0000.mid, 0000.json, 0001.mid, ...           as `generate --out FOLDER` leaves them, without pictures
"""

from dataclasses import replace
from pathlib import Path

from configs import Constraints, EvaluateConfig, SampleConfig
from jax_impl.sampling import outputs
from jax_impl.sampling.compose import sampled
from jax_impl.sampling.outputs import Formats, Origin
from jax_impl.sampling.sample import Sample, Sampler
from jax_impl.sampling.task import Task, task_of_record
from jax_impl.training.found import Found

MIDI_ALONE = Formats(picture=False, soundfont=None)
ONE_OF = 4  # songs, that is written without the grammar


def task(found: Found, config: EvaluateConfig) -> tuple[Task, Constraints]:
    """What the model is to write, and what is asked of it. Raises InputError."""
    sampler = SampleConfig(num_samples=config.samples, max_length=config.max_length, seed=config.seed)
    wanted = Constraints(bars=config.bars)
    return task_of_record(found.record, sampler, wanted), wanted


def paths(folder: Path, count: int) -> list[Path]:
    return [folder / f"{number:04}.mid" for number in range(count)]


def refuse_to_replace(folder: Path, count: int, overwrite: bool) -> None:
    """Raises InputError where a file is in the way that this program has not made, or that was changed since."""
    for path in paths(folder, count):
        outputs.refuse_to_replace_any(path, MIDI_ALONE, [], overwrite)


def write(found: Found, config: EvaluateConfig, folder: Path) -> list[Sample]:
    """config.samples songs, in files of the folder, which exists; those that are missing or were made otherwise are
    sampled, with a progress bar. Others that this program made otherwise and nobody changed are removed.
    """
    what, wanted = task(found, config)
    origin = Origin.of(found, what.config, wanted, None)
    songs, places = {}, paths(folder, config.samples)
    for number, path in enumerate(places):
        there = outputs.beside(path)
        if there and not outputs.differences(there.origin, origin) and outputs.is_whole(path, MIDI_ALONE):
            songs[number] = replace(there.sample, whole=what.whole)
    missing = frozenset(range(config.samples)) - songs.keys()
    if missing:
        for sample in sampled(Sampler(found, what), missing):
            outputs.write(sample, origin, places[sample.number], MIDI_ALONE)
            songs[sample.number] = sample
    _remove_others(folder, origin)
    return [songs[number] for number in range(config.samples)]


def sample(found: Found, config: EvaluateConfig) -> list[Sample]:
    """The same songs, and no file."""
    return list(sampled(Sampler(found, task(found, config)[0]), frozenset(range(config.samples))))


def sample_without_grammar(found: Found, config: EvaluateConfig) -> list[Sample]:
    """A quarter as many songs, one at least, as long as the model likes."""
    count = max(1, config.samples // ONE_OF)
    sampler = SampleConfig(num_samples=count, max_length=config.max_length, seed=config.seed, grammar=False)
    what = task_of_record(found.record, sampler, Constraints())
    return list(sampled(Sampler(found, what), frozenset(range(count))))


def _remove_others(folder: Path, origin: Origin) -> None:
    for path in sorted(folder.glob("*.json")):
        there = outputs.beside(path) if path.stem.isdecimal() else None
        if there is None or not outputs.differences(there.origin, origin):
            continue
        song = path.with_suffix(".mid")
        if not song.exists() or there.may_replace(song):
            for file in (song, path):
                file.unlink(missing_ok=True)
