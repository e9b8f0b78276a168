"""Songs of a few notes whose features are counted by hand."""

import numpy as np

from jax_impl.evaluation.notes import Notes, notes_of
from tests.scores import score_of
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import GridSong

BAR = 1920  # ticks of a measure of 4/4
SCALE = (60, 62, 64, 65, 67, 69, 71)  # C major


def song_of(*tracks, signatures=((0, 4, 4),), **more) -> GridSong:
    """tracks: (program, [(onset, duration, pitch), ...]) in ticks, 480 a beat; see tests.scores.score_of."""
    loud = [(program, [(*row, 80) for row in rows]) for program, rows in tracks]
    return quantize(score_of(*loud, signatures=signatures, **more))


def notes(*tracks, **more) -> Notes:
    """The notes of such a song."""
    return notes_of(song_of(*tracks, **more))


def line(pitches, each: int = 480, length: int | None = None) -> list[tuple[int, int, int]]:
    """Notes one after another."""
    return [(number * each, length or each, pitch) for number, pitch in enumerate(pitches)]


def chord_song(chords: list[tuple[int, ...]]) -> GridSong:
    """A measure of 4/4 for each chord, its pitches held throughout."""
    rows = [(bar * BAR, BAR, pitch) for bar, pitches in enumerate(chords) for pitch in pitches]
    return song_of((0, np.array(rows).tolist()))
