"""A song in another key, louder or softer, faster or slower: token by token, since each shift keeps every token in
range and different tokens different, so that nothing has to be encoded again. The loader does it to each song.
"""

from dataclasses import replace

import numpy as np

from configs import AugmentConfig
from tokenizer import vocabulary as vocab
from tokenizer.music.score import DRUMS
from tokenizer.tokens.fields import TokenFields
from tokenizer.vocabulary import CLASS, TOKEN, VALUE, Class

_QUALITIES = len(vocab.QUALITIES)


def augment(tokens: TokenFields, config: AugmentConfig, random: np.random.Generator) -> TokenFields:
    """Each shift is drawn evenly from those of the config's range that the song has room for."""
    # Always three draws, so that none depends on another's range
    chances = [random.random() for _ in range(3)]
    limits = (config.transpose, config.velocity, config.tempo)
    return shift(tokens, *map(_draw, limits, _moved(tokens), chances))


def shift(tokens: TokenFields, semitones: int, velocity: int, tempo: int) -> TokenFields:
    """Pitches of all tracks but drums and the roots of chords move by semitones, velocities and tempi by bins."""
    ids = tokens.ids.copy()
    for (class_, where, values), by in zip(_moved(tokens), (semitones, velocity, tempo), strict=True):
        ids[where] = TOKEN[class_][values + by]
    chord = VALUE[tokens.ids]
    has_root = (CLASS[tokens.ids] == Class.CHORD) & (chord > 0)
    ids[has_root] = TOKEN[Class.CHORD][1 + (chord[has_root] - 1 + semitones * _QUALITIES) % (vocab.N_CHORDS - 1)]
    return replace(tokens, ids=ids)


Moved = tuple[int, np.ndarray, np.ndarray]  # class, bool[T] which tokens of it, what they say


def _moved(tokens: TokenFields) -> list[Moved]:
    """What moves with the pitch, the velocity and the tempo of a song."""
    class_ = CLASS[tokens.ids]
    pitched = (class_ == Class.PITCH) & (tokens.instrument != DRUMS)
    where = {Class.PITCH: pitched, Class.VELOCITY: class_ == Class.VELOCITY, Class.TEMPO: class_ == Class.TEMPO}
    return [(number, is_moved, VALUE[tokens.ids[is_moved]]) for number, is_moved in where.items()]


def _draw(limits: tuple[int, int], moved: Moved, chance: float) -> int:
    """A shift from limits (both included) that leaves each value one that there is; chance: 0 to 1."""
    (least, most), (class_, _, values) = limits, moved
    if len(values):
        least, most = max(least, -int(values.min())), min(most, len(TOKEN[class_]) - 1 - int(values.max()))
    return least + int(chance * (most - least + 1))
