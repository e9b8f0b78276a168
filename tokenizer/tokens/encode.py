"""Score to tokens: track by track, bar by bar.

    BOS BPM_x TS_y { track SEP { chord [TS_z] [BPM_w] { T_p { P [L] [V] } } } } EOS

The first track has every bar of the song and says where signature and tempo change; the others go from bar 0 to their
last note's bar. T is written where the position changes within a bar, L and V where they differ from the last ones of
the track.
"""

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.meter import Bars
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import GRID_NOTE, GridSong, GridTrack
from tokenizer.music.score import Score
from tokenizer.tokens import fields
from tokenizer.tokens.fields import TokenFields


def encode(score: Score) -> TokenFields:
    """Tokens of any score, snapped first: decode(encode(x).ids) == snap(x). Raises ScoreTooLong."""
    return encode_grid(quantize(score))


def encode_grid(song: GridSong) -> TokenFields:
    """Tokens of a song on the grid, chords found from its notes."""
    return encode_song(song, bar_chords(song.to_score(), song.bars.start_ticks))


def encode_song(song: GridSong, chords: np.ndarray) -> TokenFields:
    """Tokens of a song on the grid with the chords int[bars] of its bars, as bar_chords numbers them. Inverse:
    grid_song.
    """
    chords = vocab.CHORD + chords
    header = [vocab.BOS, vocab.TEMPO + song.tempo[0], vocab.SIGNATURE + song.bars.signature[0]]
    parts = [np.array(header, np.int32)]
    for index, track in enumerate(song.tracks):
        conductor = _conductor(song) if index == 0 else []
        n_bars = len(song.bars) if index == 0 else int(track.notes["bar"][-1]) + 1
        parts.append(np.array([vocab.track_token(track.program), vocab.SEP], np.int32))
        parts.append(_encode_track(track, chords[:n_bars], conductor))
    parts.append(np.array([vocab.EOS], np.int32))
    return fields.compute(np.concatenate(parts))


def _conductor(song: GridSong) -> list[tuple[int, int, int]]:
    """(bar, rank, token) of each signature and tempo that differs from the bar before."""
    signatures = 1 + np.flatnonzero(np.diff(song.bars.signature))
    tempos = 1 + np.flatnonzero(np.diff(song.tempo))
    return [
        *((int(bar), _SIGNATURE_RANK, vocab.SIGNATURE + int(song.bars.signature[bar])) for bar in signatures),
        *((int(bar), _TEMPO_RANK, vocab.TEMPO + int(song.tempo[bar])) for bar in tempos),
    ]


# Tokens of a track are written where they belong by sorting: by bar, then note (none: -1), then rank.
_CHORD_RANK, _SIGNATURE_RANK, _TEMPO_RANK, _POSITION_RANK, _PITCH_RANK, _DURATION_RANK, _VELOCITY_RANK = range(7)


def _encode_track(track: GridTrack, chords: np.ndarray, conductor: list[tuple[int, int, int]]) -> np.ndarray:
    """int32[]: chord tokens of every bar, the conductor's and the notes'."""
    notes = track.notes
    number = np.arange(len(notes))
    moved = _differs(notes["bar"]) | _differs(notes["step"])
    groups = [  # (bar, note number, rank, token) of each kind of token
        (np.arange(len(chords)), -1, _CHORD_RANK, chords),
        *((bar, -1, rank, token) for bar, rank, token in conductor),
        (notes["bar"][moved], number[moved], _POSITION_RANK, vocab.POSITION + notes["step"][moved]),
        (notes["bar"], number, _PITCH_RANK, vocab.PITCH + notes["pitch"]),
    ]
    for name, rank, first in (
        ("duration", _DURATION_RANK, vocab.DURATION - 1),
        ("velocity", _VELOCITY_RANK, vocab.VELOCITY),
    ):
        new = _differs(notes[name])
        groups.append((notes["bar"][new], number[new], rank, first + notes[name][new]))
    columns = [
        np.concatenate(column)
        for column in zip(*(map(np.atleast_1d, np.broadcast_arrays(*group)) for group in groups), strict=True)
    ]
    bar, note, rank, token = columns
    return token[np.lexsort((rank, note, bar))].astype(np.int32)


def _differs(values: np.ndarray) -> np.ndarray:
    """bool[N]: differs from the one before; the first always does."""
    return np.concatenate([[True], values[1:] != values[:-1]])


def _in_force(ids: np.ndarray, first: int, size: int, at: np.ndarray) -> np.ndarray:
    """int[]: the last token of a block up to each place, minus the block's first."""
    last = np.maximum.accumulate(np.where((ids >= first) & (ids < first + size), np.arange(len(ids)), 0))
    return ids[last[at]] - first


def bar_maps(tokens: TokenFields) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signature, tempo and chord, int32[bars] each, of the bars of well-formed tokens (one bar where there is no
    track).
    """
    tracks = np.flatnonzero((tokens.ids >= vocab.TRACK) & (tokens.ids < vocab.TEMPO))
    ids = tokens.ids[: tracks[1]] if len(tracks) > 1 else tokens.ids  # the first track says it
    chord_at = np.flatnonzero((ids >= vocab.CHORD) & (ids < vocab.POSITION))
    ends = np.append(chord_at[1:], len(ids))[: max(len(chord_at), 1)] - 1
    chords = ids[chord_at] - vocab.CHORD if len(chord_at) else np.zeros(1, np.int32)
    signature = _in_force(ids, vocab.SIGNATURE, vocab.N_SIGNATURES, ends)
    return signature, _in_force(ids, vocab.TEMPO, vocab.N_TEMPOS, ends), chords


def grid_song(tokens: TokenFields) -> tuple[GridSong, np.ndarray]:
    """The song and the chords int32[bars] of well-formed tokens, vectorised. Inverse of encode_song; for any other ids
    see decode.
    """
    ids = tokens.ids
    pitch = np.flatnonzero((ids >= vocab.PITCH) & (ids < vocab.TRACK))
    after = np.append(pitch[1:] - 1, len(ids) - 1)[: len(pitch)]  # a note's L and V stand before the next pitch
    notes = np.empty(len(pitch), GRID_NOTE)
    notes["bar"], notes["pitch"] = tokens.bar[pitch], ids[pitch] - vocab.PITCH
    notes["step"] = _in_force(ids, vocab.POSITION, vocab.N_POSITIONS, pitch)
    notes["duration"] = _in_force(ids, vocab.DURATION, vocab.N_DURATIONS, after) + 1
    notes["velocity"] = _in_force(ids, vocab.VELOCITY, vocab.N_VELOCITIES, after)
    track_starts = np.flatnonzero((ids >= vocab.TRACK) & (ids < vocab.TEMPO))
    of_track = np.searchsorted(track_starts, pitch, side="right") - 1
    tracks = [
        GridTrack(vocab.token_program(int(ids[start])), notes[of_track == number])
        for number, start in enumerate(track_starts)
    ]
    signature, tempo, chords = bar_maps(tokens)
    return GridSong(Bars(signature), tempo, tuple(tracks)), chords
