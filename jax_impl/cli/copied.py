"""What `generate` says of a song that is written: what passage and how many bars of it training songs have."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from configs import InputError
from jax_impl.sampling import outputs
from jax_impl.sampling.compose import Done
from jax_impl.sampling.sample import Sample
from jax_impl.training.found import find
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import TokenFields

if TYPE_CHECKING:
    from jax_impl.evaluation.copies import Copies
    from tokenizer.dataset.songs import Dataset


def tell(run: Path | None, step: int, songs: Sequence[Done]) -> None:
    """A line for each song, and the same in its JSON, where the songs that the run was trained on are at hand; nothing
    where they are not. What they hold is gathered once; whatever is against it is a notice.
    """
    dataset = _trained_on(run, step) if songs else None
    if dataset is None:
        return
    from jax_impl.evaluation.copies import open_index

    try:
        index = open_index(dataset)
        for song in songs:
            found = index.copies(_new(song.sample))
            print(line(str(song.path or "the song"), found))
            if song.path:
                outputs.add_to_json(song.path, "copies", found.plain())
    except (InputError, OSError, ValueError) as error:
        print(f"notice: no word on what is known from training: {error}; --no-copies asks for none")


def _trained_on(run: Path | None, step: int) -> "Dataset | None":
    """The songs that a model learned from, as they were then."""
    from tokenizer.dataset.songs import Dataset

    try:
        record = find(run, step).record
        dataset = Dataset(record.dataset_folder())
    except (InputError, OSError):
        return None
    return dataset if dataset.fingerprint == record.dataset else None


def _new(sample: Sample) -> TokenFields:
    """The song but for the notes that were given, its bars where they were."""
    score, new = sample.on_grid(), sample.whole.new_on_grid(sample.ids)
    return encode(score if new is None else replace(score, tracks=new))


def line(name: str, found: "Copies") -> str:
    """`new.mid: longest passage known from training: 14 notes (Violin, bars 3-5) = ...; 4 % of its bars occur there`.
    Of drums only where there is nothing else.
    """
    said = f"{name}: no passage is known from training"
    if longest := found.longest or found.longest_drums:
        said = f"{name}: longest passage known from training: {longest}"
    bars = found.bars_known if found.bars_known.counted else found.drum_bars_known
    return said if bars.share is None else f"{said}; {bars.share:.0%} of its bars occur there"
