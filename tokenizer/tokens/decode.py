"""Tokens to Score. Total: any sequence of ids means some music. tokenizer.decode; sampling ends with it."""

from typing import Any

import numpy as np

from configs import InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import MAX_BARS, STEP_TICKS, TICKS_PER_BEAT, Bars
from tokenizer.grid.quantize import snap
from tokenizer.grid.song import TEMPO_MICROSECONDS
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.fields import OUTSIDE
from tokenizer.vocabulary import CLASS, SIXTEENTH, VALUE, Class

DEFAULT_TEMPO, DEFAULT_SIGNATURE = vocab.tempo_bin(120), vocab.SIGNATURES.index((4, 4))
DEFAULT_STEP, DEFAULT_DURATION, DEFAULT_VELOCITY = (
    0,
    SIXTEENTH,
    16,
)  # of a pitch before any T in its bar, L or V in its track


LAST_BAR = MAX_BARS - 128  # notes of later bars mean nothing; leaves room for positions past the end of short bars


def decode(ids: np.ndarray) -> Score:
    """The score that the tokens say, on the grid: snap(decode(ids)) == decode(ids).

    What a well-formed song never holds is read so: tokens after EOS, tracks' tokens before their first chord and
    special tokens out of place mean nothing; a position past its bar's last step is played at that time all the same;
    tempo and signature count in the header and in the first track only; bars past its end go on as its last one.
    Hidden bars that are said at the end are put into their tracks, in the order in which these have a MASK.
    Raises InputError for numbers that are no tokens.
    """
    tracks, signatures, tempos = _parse(_checked(ids))
    n_bars = max((note[0] for _, notes in tracks for note in notes), default=0) + 1
    signature = _fill(signatures, n_bars)
    tempo = _fill(tempos, n_bars)
    starts = Bars(signature).start_ticks
    score = Score(
        TICKS_PER_BEAT,
        tuple(Track(program, _notes(notes, starts)) for program, notes in tracks if notes),
        tuple(Tempo(int(starts[bar]), int(TEMPO_MICROSECONDS[tempo[bar]])) for bar in range(n_bars)),
        tuple(
            Signature(int(starts[bar]), *vocab.SIGNATURES[signature[bar]])
            for bar in np.flatnonzero(np.diff(signature, prepend=-1)).tolist()
        ),
    )
    return snap(score)


def _checked(ids: Any) -> np.ndarray:
    """Raises InputError."""
    array = np.asarray(getattr(ids, "ids", ids))  # of what `encode` gives, the ids
    if array.ndim != 1 or (len(array) and not np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"tokens must be whole numbers in one row, got {ids!r:.100}")
    if len(array) and not (0 <= array.min() and array.max() < vocab.SIZE):
        raise InputError(f"tokens are from 0 to {vocab.SIZE - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int32)


def _parse(ids: np.ndarray) -> tuple[list, dict[int, int], dict[int, int]]:
    """[(program, [(bar, step, pitch, duration, velocity)])], and signature and tempo by the bar in which they begin."""
    signatures, tempos = {0: DEFAULT_SIGNATURE}, {0: DEFAULT_TEMPO}
    tracks: list[tuple[int, list[list]]] = []
    section: list[list] = []  # the notes of the track that is being said
    hidden: list[int] = []  # tracks with hidden bars, of which the first is:
    first_hidden = OUTSIDE
    origin, filled = 0, 0  # bar with which tracks begin; sections of hidden bars so far
    is_filling = False
    bar, step, duration, velocity = -1, DEFAULT_STEP, DEFAULT_DURATION, DEFAULT_VELOCITY
    for class_, value in zip(CLASS[ids].tolist(), VALUE[ids].tolist(), strict=True):
        if class_ == Class.EOS:
            break
        if class_ == Class.CHORD:
            bar, step = bar + 1, DEFAULT_STEP
        elif class_ == Class.POSITION:
            step = value
        elif class_ == Class.UNK:
            is_filling, origin = True, max(first_hidden, 0)
        elif class_ == Class.TRACK:
            if is_filling and filled < len(hidden):
                section = tracks[hidden[filled]][1]
                filled += 1
            else:
                section = []
                tracks.append((value, section))
            bar, duration, velocity = origin - 1, DEFAULT_DURATION, DEFAULT_VELOCITY
        elif class_ in (Class.TEMPO, Class.SIGNATURE):
            if len(tracks) <= 1 and not is_filling:
                changes = tempos if class_ == Class.TEMPO else signatures
                changes[max(bar, 0)] = value  # in the header: of bar 0
        elif not tracks or not 0 <= bar < LAST_BAR:
            continue
        elif class_ == Class.MASK:
            if not is_filling and hidden[-1:] != [len(tracks) - 1]:
                hidden.append(len(tracks) - 1)
            first_hidden = bar if first_hidden < 0 else first_hidden
            duration, velocity = DEFAULT_DURATION, DEFAULT_VELOCITY
        elif class_ == Class.PITCH:
            section.append([bar, step, value, duration, velocity])
        elif class_ == Class.DURATION:
            duration = value
            _set_last(section, 3, duration)
        elif class_ == Class.VELOCITY:
            velocity = value
            _set_last(section, 4, velocity)
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


def _notes(rows: list, starts: np.ndarray) -> np.ndarray:
    bar, step, pitch, duration, velocity = np.array(rows, np.int64).T
    notes = np.empty(len(rows), NOTE)
    notes["onset_ticks"] = starts[bar] + step * STEP_TICKS
    notes["duration_ticks"] = duration * STEP_TICKS
    notes["pitch"], notes["velocity"] = pitch, vocab.bin_velocity(velocity)
    return notes
