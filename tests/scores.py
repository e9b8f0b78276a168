"""Scores: written out by hand (`score_of`), and Hypothesis strategies for odd ones (`scores`) and for ones that a MIDI
file can say exactly (`writable`).
"""

import numpy as np
from hypothesis import strategies as st

from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track

SIGNATURES = (
    (4, 4),
    (3, 4),
    (6, 8),
    (5, 4),
    (7, 8),
    (12, 8),
    (8, 4),
    (1, 8),
    (11, 8),
    (7, 16),
    (5, 2),
    (2, 2),
    (3, 32),
    (13, 16),
    (4, 2),
)


def score_of(*tracks, signatures=((0, 4, 4),), tempos=((0, 120),), ticks_per_beat=480) -> Score:
    """tracks: (program, [(onset, duration, pitch, velocity), ...]) in ticks; tempos: (tick, bpm)."""
    return Score(
        ticks_per_beat,
        tuple(Track(program, np.array(rows, NOTE)) for program, rows in tracks),
        tuple(Tempo(tick, round(60e6 / bpm)) for tick, bpm in tempos),
        tuple(Signature(*signature) for signature in signatures),
    )


@st.composite
def notes(draw, ticks_per_beat: int):
    """NOTE[1..12]: on, near and off the grid, early and late in the song, overlapping, of no and
    of endless duration.
    """
    bar = 4 * ticks_per_beat
    onset = st.one_of(
        st.integers(0, 9 * bar),
        st.builds(lambda b, s: b * bar + s * ticks_per_beat // 4, st.integers(0, 9), st.integers(0, 15)),
        # In the last 1/64 of a bar
        st.builds(lambda b, d: b * bar - d, st.integers(1, 9), st.integers(0, max(1, bar // 64))),
    )
    duration = st.one_of(st.integers(0, 2 * bar), st.just(0), st.integers(0, 100 * bar), st.just(ticks_per_beat // 4))
    row = st.tuples(
        onset, duration, st.integers(58, 62) | st.integers(0, 127), st.sampled_from((1, 127)) | st.integers(1, 127)
    )
    first_bar = draw(st.sampled_from((0, 0, 7)))
    rows = [(o + first_bar * bar, d, p, v) for o, d, p, v in draw(st.lists(row, min_size=1, max_size=12))]
    return np.array(rows, NOTE)


@st.composite
def scores(draw):
    ticks_per_beat = draw(st.sampled_from((24, 96, 120, 192, 384, 480, 960)) | st.integers(24, 960))
    bar = 4 * ticks_per_beat
    program = st.sampled_from((0, 0, 9, 15, 33, DRUMS, DRUMS)) | st.integers(0, 127)
    tracks = draw(st.lists(st.builds(Track, program, notes(ticks_per_beat)), max_size=4))
    change = st.integers(1, 12 * bar) | st.builds(lambda bars: bars * bar, st.integers(1, 12))
    tempo = st.integers(20, 300).map(lambda bpm: round(60e6 / bpm))
    tempos = {0: draw(tempo)} | draw(st.dictionaries(change, tempo, max_size=3))
    signatures = {0: draw(st.sampled_from(SIGNATURES))} | draw(
        st.dictionaries(change, st.sampled_from(SIGNATURES), max_size=3)
    )
    return Score(
        ticks_per_beat,
        tuple(tracks),
        tuple(Tempo(tick, tempos[tick]) for tick in sorted(tempos)),
        tuple(Signature(tick, *signatures[tick]) for tick in sorted(signatures)),
    )


@st.composite
def writable(draw):
    """Scores of up to 20 tracks that read(write(score)) gives back exactly:
    per track and pitch one note after another.
    """
    score = draw(scores())
    programs = draw(st.lists(st.integers(0, DRUMS), max_size=20))
    extra = tuple(Track(program, draw(notes(score.ticks_per_beat))) for program in programs)
    tracks = tuple(Track(track.program, _one_after_another(track.notes)) for track in (*score.tracks, *extra))
    tempos = tuple(
        t
        for i, t in enumerate(score.tempos)
        if not i or t.microseconds_per_beat != score.tempos[i - 1].microseconds_per_beat
    )
    return Score(score.ticks_per_beat, tracks, tempos, score.signatures)


def _one_after_another(notes: np.ndarray) -> np.ndarray:
    notes = notes[np.lexsort((notes["pitch"], notes["onset_ticks"]))]
    kept, free = [], {}
    for note in notes:
        if note["onset_ticks"] >= free.get(int(note["pitch"]), 0):
            free[int(note["pitch"])] = int(note["onset_ticks"] + max(1, note["duration_ticks"]))
            kept.append(note)
    return np.array(kept, NOTE)
