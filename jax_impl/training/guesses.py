"""What guessing costs: blindly (uniform), the next token by its frequency (unigram), and by its frequency after a token
of the same kind (bigram by kind). Yardsticks for a model's loss, from the songs it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from configs.train import ChordTargets
from jax_impl.batch import Batch
from jax_impl.training.by_kind import KINDS, OF_TOKEN
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import Songs
from tokenizer.tokens.example import KNOWN_CHORD
from tokenizer.vocabulary import CLASS, Class

MOST_SONGS = 1024  # that pairs are counted in; of more the smoothed frequencies hardly change


@dataclass(frozen=True, eq=False)
class Guess:
    """share: float64[kinds, V], of each token behind one of each kind (a number of KINDS)."""

    share: np.ndarray

    def costs(self, batch: Batch, chord_targets: ChordTargets) -> np.ndarray:
        """float64[B, T]: nats of each target, as training.step.token_losses has them of a model."""
        last = OF_TOKEN[batch.tokens]
        a_chord = self.share[:, CLASS == Class.CHORD].sum(axis=1)[last]
        is_any = (batch.known == KNOWN_CHORD) & (chord_targets == "first")
        return -np.log(np.where(is_any, a_chord, self.share[last, batch.targets]))

    def loss(self, batches: Sequence[Batch], chord_targets: ChordTargets) -> float:
        """Mean nats of the targets that count."""
        nats = sum((self.costs(batch, chord_targets) * batch.weights).sum() for batch in batches)
        return float(nats / sum(batch.weights.sum() for batch in batches))


def uniform() -> Guess:
    """All tokens alike."""
    return Guess(np.full((len(KINDS), vocab.SIZE), 1 / vocab.SIZE))


def unigram(counts: np.ndarray) -> Guess:
    """counts: int64[V], how often each token was seen, to each of which one is added."""
    return Guess(np.broadcast_to((counts + 1) / (counts + 1).sum(), (len(KINDS), len(counts))))


def bigram(counts: np.ndarray) -> Guess:
    """counts: int64[kinds, V], how often each token was seen behind one of each kind; one is added to each."""
    return Guess((counts + 1) / (counts + 1).sum(axis=1, keepdims=True))


def count_pairs(songs: Songs, most: int = MOST_SONGS) -> np.ndarray:
    """int64[kinds, V]: how often each token stands behind one of each kind, in at most so many songs that are trained
    on, spread evenly over all of them.
    """
    read = np.flatnonzero(songs.weight > 0)
    counts = np.zeros((len(KINDS), vocab.SIZE), np.int64)
    for number in read[np.linspace(0, len(read) - 1, min(most, len(read))).astype(int)].tolist():
        ids = songs[number].ids
        np.add.at(counts, (OF_TOKEN[ids[:-1]], ids[1:]), 1)
    return counts
