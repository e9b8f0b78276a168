"""What a new song has of the songs that its model learned from, where these are at hand: copies.py, asked for a model
and told in a line.
"""

from dataclasses import replace

from configs import InputError
from jax_impl.evaluation.copies import Copies, Index
from jax_impl.sampling.sample import Sample
from jax_impl.training.record import Record
from tokenizer.dataset.songs import Dataset
from tokenizer.music.score import Score
from tokenizer.tokens.encode import encode


def trained_on(record: Record) -> Dataset | None:
    """The songs that a model learned from, as they were then; None where they are not at hand."""
    try:
        dataset = Dataset(record.dataset_folder())
    except (InputError, OSError):
        return None
    return dataset if dataset.fingerprint == record.dataset else None


def of_new(index: Index, new: Score) -> Copies:
    """Of notes on the grid, whose bars are those of the song (see new_of)."""
    return index.copies(encode(new))


def new_of(sample: Sample) -> Score:
    """The song on the grid but for the notes that were given, its bars where they were."""
    score, new = sample.on_grid(), sample.whole.new_on_grid(sample.ids)
    return score if new is None else replace(score, tracks=new)


def line(name: str, found: Copies) -> str:
    """`new.mid: longest passage known from training: 14 notes (Violin, bars 3-5) = ...; 4 % of its bars occur there`.
    Of drums only where there is nothing else.
    """
    said = f"{name}: no passage is known from training"
    if longest := found.longest or found.longest_drums:
        said = f"{name}: longest passage known from training: {longest}"
    bars = found.bars_known if found.bars_known.counted else found.drum_bars_known
    return said if bars.share is None else f"{said}; {bars.share:.0%} of its bars occur there"
