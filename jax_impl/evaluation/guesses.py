"""What guessing costs: the next token by its frequency (unigram), and by its frequency after a token of the same kind
(bigram by kind). Yardsticks for a model's loss, from the songs it was trained on.
"""

from dataclasses import dataclass

import numpy as np

from jax_impl.batch import Batch
from jax_impl.training.by_kind import KINDS, LATER_CHORD, OF_TOKEN, kinds_of_targets
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import Songs
from tokenizer.vocabulary import CLASS, Class

IS_CHORD = CLASS == Class.CHORD
MOST_SONGS = 1024  # that pairs are counted in; of more the smoothed frequencies hardly change


@dataclass(frozen=True, eq=False)
class Guess:
    """share: float64[kinds, V], of each token behind one of each kind (a number of KINDS)."""

    share: np.ndarray

    def costs(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """float64[B, T] each: nats of each target; and as sampled, where a chord of a later track is any chord."""
        last = OF_TOKEN[batch.tokens]
        nats = -np.log(self.share[last, batch.targets])
        return nats, as_sampled(nats, -np.log(self.share[:, IS_CHORD].sum(axis=1))[last], batch)


def as_sampled(nats: np.ndarray, a_chord: np.ndarray, batch: Batch) -> np.ndarray:
    """[B, T]: what sampling pays for each target. nats: of the targets; a_chord: of any chord there, [B, T] both.

    Chords of later tracks are known from the first, and the grammar allows no others, so that there a model says no
    more than that the bar is over and another follows (jax_impl.sampling.draw.bar_is_over).
    """
    return np.where(kinds_of_targets(batch) == LATER_CHORD, a_chord, nats)


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
