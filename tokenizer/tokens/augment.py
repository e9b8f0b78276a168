"""A song in another key, louder or softer, faster or slower: token by token, since each shift keeps every token in
range and different tokens different, so that nothing has to be encoded again. The loader does it to each song.
"""

from dataclasses import replace

import numpy as np

from configs import AugmentConfig
from tokenizer import vocabulary as vocab
from tokenizer.music.score import DRUMS
from tokenizer.tokens.fields import KIND_PITCH, TokenFields

_QUALITIES = len(vocab.QUALITIES)


def augment(tokens: TokenFields, config: AugmentConfig, random: np.random.Generator) -> TokenFields:
    """Each shift is drawn evenly from those of the config's range that the song has room for."""
    # Always three draws, so that none depends on another's range
    semitones, velocity, tempo = (random.random() for _ in range(3))
    pitches = tokens.ids[_pitched(tokens)]
    return shift(
        tokens,
        _draw(config.transpose, pitches, vocab.PITCH, vocab.N_PITCHES, semitones),
        _draw(config.velocity, tokens.ids[tokens.ids >= vocab.VELOCITY], vocab.VELOCITY, vocab.N_VELOCITIES, velocity),
        _draw(config.tempo, tokens.ids[_tempo(tokens)], vocab.TEMPO, vocab.N_TEMPOS, tempo),
    )


def shift(tokens: TokenFields, semitones: int, velocity: int, tempo: int) -> TokenFields:
    """Pitches of all tracks but drums and the roots of chords move by semitones, velocities and tempi by bins."""
    ids = tokens.ids.copy()
    ids[_pitched(tokens)] += semitones
    ids[ids >= vocab.VELOCITY] += velocity
    ids[_tempo(tokens)] += tempo
    is_chord = (tokens.ids > vocab.CHORD) & (tokens.ids < vocab.POSITION)
    ids[is_chord] = (
        vocab.CHORD + 1 + (tokens.ids[is_chord] - vocab.CHORD - 1 + semitones * _QUALITIES) % (vocab.N_CHORDS - 1)
    )
    return replace(tokens, ids=ids)


def _pitched(tokens: TokenFields) -> np.ndarray:
    return (tokens.kind == KIND_PITCH) & (tokens.instrument != DRUMS)


def _tempo(tokens: TokenFields) -> np.ndarray:
    return (tokens.ids >= vocab.TEMPO) & (tokens.ids < vocab.SIGNATURE)


def _draw(limits: tuple[int, int], ids: np.ndarray, first: int, size: int, chance: float) -> int:
    """A shift from limits (both included) that keeps all ids in first .. first + size - 1; chance: 0 to 1."""
    least, most = limits
    if len(ids):
        least, most = max(least, first - int(ids.min())), min(most, first + size - 1 - int(ids.max()))
    return least + int(chance * (most - least + 1))
