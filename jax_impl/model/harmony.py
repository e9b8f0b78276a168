"""What chords and pitches owe to the chords before them, in whatever key: tables of sums to their logits, by distance
in semitones and by quality. Attention would find it, but late: chords are few among the tokens, and stand far apart.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax_impl.device.sharding import all_gathered
from tokenizer import vocabulary as vocab
from tokenizer.music.score import DRUMS
from tokenizer.tokens.fields import BACK, CHORD_CODES, chords_of
from tokenizer.vocabulary import CLASS, Class

_ROOTS, _QUALITIES = len(vocab.ROOTS), len(vocab.QUALITIES)
_NO_CHORD, _NONE = _QUALITIES, _QUALITIES + 1  # qualities of the chord N, and of where none was said
BEFORE, NEXT = _QUALITIES + 2, _QUALITIES + 1  # qualities of a chord before, and of the next
CHORDS, PITCHES = (
    slice(*np.flatnonzero(CLASS == class_)[[0, -1]] + [0, 1]) for class_ in (Class.CHORD, Class.PITCH)
)  # their ids are next to each other


def _of_codes() -> tuple[np.ndarray, np.ndarray]:
    """int[218] each: root, 0 where there is none, and quality of the codes of chords (see fields.chords_of)."""
    chord = np.arange(CHORD_CODES) - 2
    has_root = chord >= 0
    root = np.where(has_root, chord // _QUALITIES, 0)
    return root, np.where(has_root, chord % _QUALITIES, np.where(chord == -1, _NO_CHORD, _NONE))


_ROOT, _QUALITY = _of_codes()


def _of_chords() -> np.ndarray:
    """int[218, 217]: where in a table [BEFORE, NEXT, 12] the sum lies of a chord (by its code - 1) after another."""
    there, here = np.arange(CHORD_CODES)[:, None], np.arange(1, CHORD_CODES)
    has_roots = (_QUALITY[there] < _QUALITIES) & (_QUALITY[here] < _QUALITIES)
    up = np.where(has_roots, (_ROOT[here] - _ROOT[there]) % _ROOTS, 0)
    return (_QUALITY[there] * NEXT + _QUALITY[here]) * _ROOTS + up


def _of_pitches() -> np.ndarray:
    """int[218, 128]: where in a table [BEFORE, 12] the sum lies of a pitch over a chord."""
    code = np.arange(CHORD_CODES)[:, None]
    up = np.where(_QUALITY[code] < _QUALITIES, (np.arange(vocab.N_PITCHES) - _ROOT[code]) % _ROOTS, 0)
    return _QUALITY[code] * _ROOTS + up


OF_CHORDS, OF_PITCHES = _of_chords(), _of_pitches()


class Table(nnx.Module):
    """fp32[size] that begins with zeros, and does not decay, as no bias does."""

    def __init__(self, size: int):
        self.bias = nnx.Param(jnp.zeros(size))


class Harmony(nnx.Module):
    """chords: a sum for each chord, [3 * BEFORE * NEXT * 12], by each of the chords of BACK. pitches: for each pitch of
    a track that is no drums, [BEFORE * 12], by the chord of its bar.
    """

    def __init__(self):
        self.chords = Table(len(BACK) * BEFORE * NEXT * _ROOTS)
        self.pitches = Table(BEFORE * _ROOTS)

    def __call__(self, logits: jax.Array, harmony: jax.Array, instrument: jax.Array) -> jax.Array:
        """Logits [..., V] with the sums. harmony, instrument: int32[...] of the tokens after which they come."""
        codes = chords_of(harmony)
        of_chords = all_gathered(self.chords.bias[...]).reshape(len(BACK), -1)[:, OF_CHORDS]  # [3, 218, 217]
        of_pitches = all_gathered(self.pitches.bias[...])[OF_PITCHES]  # [218, 128]
        is_pitched = (instrument < DRUMS)[..., None]  # neither drums nor none
        logits = logits.at[..., PITCHES].add(jnp.where(is_pitched, of_pitches[codes[0]], 0))
        return logits.at[..., CHORDS].add(sum(table[code] for table, code in zip(of_chords, codes, strict=True)))
