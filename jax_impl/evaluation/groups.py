"""What each target of a batch belongs to, and what a model loses in each group. NumPy alone.

Every grouping puts each target into one group, so that the groups' sums are those of all:

    by_kind     what the target is: see jax_impl.training.by_kind
    by_family   the General MIDI family of the track that it is in, "drums", or "none" in the header and at the end
    by_bar      the bar that it is in, counted from the start of its window, in doubling ranges; "outside bars"
    by_tracks   how many tracks its document has
"""

from collections.abc import Callable, Mapping

import numpy as np

from jax_impl.batch import Batch
from jax_impl.training.by_kind import KINDS, kinds_of_targets
from tokenizer import vocabulary as vocab
from tokenizer.tokens.fields import NO_INSTRUMENT, OUTSIDE
from tokenizer.vocabulary import CLASS, Class

# General MIDI 1, programs 0-7, 8-15, ...
FAMILIES = (
    *("piano", "chromatic percussion", "organ", "guitar", "bass", "strings", "ensemble", "brass"),
    *("reed", "pipe", "synth lead", "synth pad", "synth effects", "ethnic", "percussive", "sound effects"),
    *("drums", "none"),
)
PROGRAMS_OF_FAMILY = 8  # drums, program 128, come behind
FIRST_BARS = (0, *(4 << n for n in range(13)))  # of the ranges; no song has more bars than the last begins with
FIRST_TRACKS = (0, 1, 2, 4, 8, 16)
Sums = dict[str, dict[str, dict[str, float]]]  # by grouping, group and cost; "targets" is how many there are


def _ranges(firsts: tuple[int, ...]) -> tuple[str, ...]:
    """(0, 1, 2, 4) -> ("0", "1", "2-3", "4+")"""
    lasts = [after - 1 for after in firsts[1:]]
    named = (str(first) if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts, strict=False))
    return (*named, f"{firsts[-1]}+")


BARS, TRACKS = ("outside bars", *_ranges(FIRST_BARS)), _ranges(FIRST_TRACKS)


def families_of_targets(batch: Batch) -> np.ndarray:
    """int[B, T], a number of FAMILIES."""
    instrument = _of_targets(batch.instrument, NO_INSTRUMENT)
    return np.where(instrument == NO_INSTRUMENT, FAMILIES.index("none"), instrument // PROGRAMS_OF_FAMILY)


def bars_of_targets(batch: Batch) -> np.ndarray:
    """int[B, T], a number of BARS."""
    bar = _of_targets(batch.bar, OUTSIDE)
    return np.where(bar == OUTSIDE, 0, np.searchsorted(FIRST_BARS, bar, side="right"))


def tracks_of_targets(batch: Batch) -> np.ndarray:
    """int[B, T], a number of TRACKS. What is said at the end of hidden bars is of a track that was counted."""
    class_ = CLASS[batch.tokens]
    tracks = np.zeros(batch.tokens.shape, int)
    for number in range(1, int(batch.document.max(initial=0)) + 1):
        inside = batch.document == number
        begun = (inside & (class_ == Class.TRACK)).sum(axis=-1) - (inside & (batch.tokens == vocab.UNK)).sum(axis=-1)
        tracks = np.where(inside, begun[..., None], tracks)
    return np.searchsorted(FIRST_TRACKS, tracks, side="right") - 1


def _of_targets(field: np.ndarray, beyond: int) -> np.ndarray:
    """A field [B, T] of each token's target, the token behind it."""
    return np.concatenate([field[..., 1:], np.full_like(field[..., :1], beyond)], axis=-1)


GROUPINGS: dict[str, tuple[tuple[str, ...], Callable[[Batch], np.ndarray]]] = {
    "by_kind": (KINDS, kinds_of_targets),
    "by_family": (FAMILIES, families_of_targets),
    "by_bar": (BARS, bars_of_targets),
    "by_tracks": (TRACKS, tracks_of_targets),
}


def by_group(costs: Mapping[str, np.ndarray], batch: Batch) -> Sums:
    """The sum of each cost over the targets that count, and their number, of each group of each grouping that has any.

    costs: by name, float[B, T] nats of each target, as of a model or of a guess.
    """
    counted = batch.weights > 0
    sums = {}
    for grouping, (names, of_targets) in GROUPINGS.items():
        group = of_targets(batch)[counted]
        of_cost = {"targets": np.bincount(group, minlength=len(names))}
        of_cost |= {cost: np.bincount(group, nats[counted], len(names)) for cost, nats in costs.items()}
        there = np.flatnonzero(of_cost["targets"]).tolist()
        sums[grouping] = {names[n]: {cost: values[n].item() for cost, values in of_cost.items()} for n in there}
    return sums


def added(parts: list[Sums]) -> Sums:
    """The sums of several batches, groups in the order of their names."""
    return {
        grouping: {
            name: {cost: sum(group[cost] for group in of_parts) for cost in of_parts[0]}
            for name in names
            if (of_parts := [part[grouping][name] for part in parts if name in part[grouping]])
        }
        for grouping, (names, _) in GROUPINGS.items()
    }
