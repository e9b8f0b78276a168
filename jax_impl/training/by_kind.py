"""Losses by kind of token: of what a model is to say, what it finds hard. For training's validation and evaluation.

tokens   BOS BPM TS #D SEP | Cmaj T0 P36 L2 V20 | #P0 SEP | Cmaj T0 P60 | EOS
of the   BPM, TS, #D, SEP: structure   T0 position   L2 duration   #P0, SEP: structure   EOS structure
target   Cmaj: chord of the first track   P36 pitch   V20 velocity   Cmaj: chord of later tracks
"""

from collections.abc import Sequence

import numpy as np

from jax_impl.batch import Batch
from tokenizer import vocabulary as vocab
from tokenizer.tokens.example import KNOWN_CHORD
from tokenizer.vocabulary import CLASS, Class

# Of which track a chord is, the batch knows (Batch.known); bars that were hidden are said in later tracks
KINDS = (
    "chord of the first track",
    "chord of later tracks",
    "position",
    "pitch",
    "duration",
    "velocity",
    "structure",
)
FIRST_CHORD, LATER_CHORD, POSITION, PITCH, DURATION, VELOCITY, STRUCTURE = range(7)
OF_TOKEN = np.full(vocab.SIZE, STRUCTURE)  # a chord's: that of the first track
for _class, _kind in {
    Class.CHORD: FIRST_CHORD,
    Class.POSITION: POSITION,
    Class.PITCH: PITCH,
    Class.DURATION: DURATION,
    Class.VELOCITY: VELOCITY,
}.items():
    OF_TOKEN[CLASS == _class] = _kind


def kinds_of_targets(batch: Batch) -> np.ndarray:
    """int[B, T]: what each target of a batch [B, T] is, a number of KINDS; of no meaning where the weight is 0."""
    return np.where(np.asarray(batch.known) == KNOWN_CHORD, LATER_CHORD, OF_TOKEN[np.asarray(batch.targets)])


def mean_nats(nats: Sequence[np.ndarray], batches: Sequence[Batch]) -> tuple[float, dict[str, float]]:
    """Nats per target over all batches, and the same by kind, of the kinds that there are. nats: float32[B, T] of each
    batch.
    """
    sums, targets = np.zeros(len(KINDS)), np.zeros(len(KINDS))
    for of_batch, batch in zip(nats, batches, strict=True):
        counted = batch.weights > 0
        kind = kinds_of_targets(batch)[counted]
        sums += np.bincount(kind, np.asarray(of_batch)[counted], len(KINDS))
        targets += np.bincount(kind, minlength=len(KINDS))
    by_kind = {name: float(sums[n] / targets[n]) for n, name in enumerate(KINDS) if targets[n]}
    return float(sums.sum() / targets.sum()), by_kind
