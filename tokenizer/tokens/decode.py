"""Tokens to Score. Total: any sequence of ids means some music. tokenizer.decode; sampling ends with it."""

from typing import Any

import numpy as np

from configs import InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import BAR_TICKS, MAX_BARS, STEP_TICKS, TICKS_PER_BEAT
from tokenizer.grid.quantize import snap
from tokenizer.grid.song import TEMPO_MICROSECONDS
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track

DEFAULT_TEMPO, DEFAULT_SIGNATURE = vocab.tempo_bin(120), vocab.SIGNATURES.index((4, 4))
DEFAULT_STEP, DEFAULT_DURATION, DEFAULT_VELOCITY = 0, 1, 16  # of a pitch before any T in its bar, L or V in its track


LAST_BAR = MAX_BARS - 128  # notes of later bars mean nothing; leaves room for positions past the end of short bars


def decode(ids: np.ndarray) -> Score:
    """The score that the tokens say, on the grid: snap(decode(ids)) == decode(ids).

    What a well-formed song never holds is read so: tokens after EOS, tracks' tokens before their first chord and
    special tokens out of place mean nothing; a position past its bar's last step is played at that time all the same;
    tempo and signature count in the header and in the first track only; bars past its end go on as its last one.
    Raises InputError for numbers that are no tokens.
    """
    tracks, signatures, tempos = _parse(_checked(ids))
    n_bars = max((note[0] for _, notes in tracks for note in notes), default=0) + 1
    signature = _fill(signatures, n_bars)
    tempo = _fill(tempos, n_bars)
    starts = np.concatenate([[0], np.cumsum(BAR_TICKS[signature])])
    score = Score(
        TICKS_PER_BEAT,
        tuple(Track(program, _notes(notes, starts, STEP_TICKS[signature])) for program, notes in tracks if notes),
        tuple(Tempo(int(starts[bar]), int(TEMPO_MICROSECONDS[tempo[bar]])) for bar in range(n_bars)),
        tuple(Signature(int(starts[bar]), *vocab.SIGNATURES[signature[bar]]) for bar in range(n_bars)),
    )
    return snap(score)


def _checked(ids: Any) -> list[int]:
    """Raises InputError."""
    array = np.asarray(getattr(ids, "ids", ids))  # of what `encode` gives, the ids
    if array.ndim != 1 or (len(array) and not np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"tokens must be whole numbers in one row, got {ids!r:.100}")
    if len(array) and not (0 <= array.min() and array.max() < vocab.SIZE):
        raise InputError(f"tokens are from 0 to {vocab.SIZE - 1}, got {array.min()} to {array.max()}")
    return array.tolist()


def _parse(ids: list[int]) -> tuple[list, dict[int, int], dict[int, int]]:
    """[(program, [(bar, step, pitch, duration, velocity)])], and signature and tempo by the bar in which they begin."""
    signatures, tempos = {0: DEFAULT_SIGNATURE}, {0: DEFAULT_TEMPO}
    tracks: list[tuple[int, list[tuple]]] = []
    bar, step, duration, velocity = -1, DEFAULT_STEP, DEFAULT_DURATION, DEFAULT_VELOCITY
    for token in ids:
        if token == vocab.EOS:
            break
        if token < vocab.CHORD:
            continue
        if token < vocab.POSITION:
            bar, step = bar + 1, DEFAULT_STEP
        elif token < vocab.PITCH:
            step = token - vocab.POSITION
        elif vocab.TRACK <= token < vocab.TEMPO:
            tracks.append((vocab.token_program(token), []))
            bar, duration, velocity = -1, DEFAULT_DURATION, DEFAULT_VELOCITY
        elif vocab.TEMPO <= token < vocab.DURATION:
            if len(tracks) <= 1:
                changes, first = (tempos, vocab.TEMPO) if token < vocab.SIGNATURE else (signatures, vocab.SIGNATURE)
                changes[max(bar, 0)] = token - first  # in the header: of bar 0
        elif not tracks or not 0 <= bar < LAST_BAR:
            continue
        elif token < vocab.TRACK:
            tracks[-1][1].append([bar, step, token - vocab.PITCH, duration, velocity])
        elif token < vocab.VELOCITY:
            duration = token - vocab.DURATION + 1
            _set_last(tracks[-1][1], 3, duration)
        else:
            velocity = token - vocab.VELOCITY
            _set_last(tracks[-1][1], 4, velocity)
    return tracks, signatures, tempos


def _set_last(notes: list, column: int, value: int) -> None:
    """L and V stand after the pitch they are for."""
    if notes:
        notes[-1][column] = value


def _fill(changes: dict[int, int], n_bars: int) -> np.ndarray:
    """int[n_bars]: the value in force in each bar."""
    bars = np.array(sorted(changes))
    values = np.array([changes[bar] for bar in bars.tolist()])
    return values[np.searchsorted(bars, np.arange(n_bars), side="right") - 1]


def _notes(rows: list, starts: np.ndarray, step_ticks: np.ndarray) -> np.ndarray:
    bar, step, pitch, duration, velocity = np.array(rows, np.int64).T
    notes = np.empty(len(rows), NOTE)
    notes["onset_ticks"] = starts[bar] + step * step_ticks[bar]
    notes["duration_ticks"] = duration * step_ticks[bar]
    notes["pitch"], notes["velocity"] = pitch, vocab.bin_velocity(velocity)
    return notes
