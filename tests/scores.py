"""Scores: written out by hand (`score_of`), and Hypothesis strategies for odd ones (`scores`) and for ones that a MIDI
file can say exactly (`writable`).
"""

from fractions import Fraction
from functools import cache

import numpy as np
from hypothesis import strategies as st

from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track

# Said by one token, of one part and of two; a whole number of sixteenths, and not; longer than any
SIGNATURES = ((4, 4), (3, 4), (6, 8), (7, 8), (2, 2), (1, 8), (1, 16), (7, 16), (9, 16), (13, 16), (15, 16))
SIGNATURES += ((5, 4), (6, 4), (7, 4), (9, 8), (12, 8), (3, 2), (4, 2))
SIGNATURES += ((8, 4), (10, 8), (11, 8), (17, 16), (5, 2), (3, 32))
PICKUPS = ((1, 16), (3, 16), (5, 16), (1, 8), (1, 32))  # before the first whole measure, by a signature of their own

# Notes of a quarter: sixteenths, triplets, thirty-seconds, triplets of sixteenths, and 3 against 4 over a beat
RHYTHMS = (4, 3, 8, 6, 12)


def score_of(*tracks, signatures=((0, 4, 4),), tempos=((0, 120),), ticks_per_beat=480) -> Score:
    """tracks: (program, [(onset, duration, pitch, velocity), ...]) in ticks; tempos: (tick, bpm)."""
    return Score(
        ticks_per_beat,
        tuple(Track(program, np.array(rows, NOTE)) for program, rows in tracks),
        tuple(Tempo(tick, round(60e6 / bpm)) for tick, bpm in tempos),
        tuple(Signature(*signature) for signature in signatures),
    )


@cache
def _rows(ticks_per_beat: int):
    """Strategy for lists of (onset, duration, pitch, velocity)."""
    beat, bar = ticks_per_beat, 4 * ticks_per_beat
    of_a_beat = st.tuples(st.sampled_from(RHYTHMS), st.integers(1, 36)).map(lambda drawn: drawn[1] * beat // drawn[0])
    onset = st.one_of(
        st.integers(0, 9 * bar),
        st.tuples(st.integers(0, 36), of_a_beat).map(lambda drawn: drawn[0] * beat + drawn[1]),
        # In the last 1/64 of a bar
        st.tuples(st.integers(1, 9), st.integers(0, max(1, bar // 64))).map(lambda drawn: drawn[0] * bar - drawn[1]),
    )
    longer = st.integers(4, 18).map(lambda bars: bars * bar)
    duration = st.one_of(st.integers(0, 2 * bar), of_a_beat, st.just(0), st.integers(0, 100 * bar), longer)
    pitch, velocity = st.integers(58, 62) | st.integers(0, 127), st.sampled_from((1, 127)) | st.integers(1, 127)
    return st.lists(st.tuples(onset, duration, pitch, velocity), min_size=1, max_size=12)


_RUNS = st.tuples(
    st.sampled_from(RHYTHMS), st.integers(0, 20), st.integers(1, 12), st.integers(1, 3), st.sampled_from(RHYTHMS)
)


@st.composite
def notes(draw, ticks_per_beat: int):
    """NOTE[1..12]: on, near and off the grid, early and late in the song, overlapping, of no and
    of endless duration; or a run of one rhythm.
    """
    beat = ticks_per_beat
    if draw(st.booleans()):
        rhythm, start, count, pitches, held = draw(_RUNS)
        rows = [(start * beat + i * beat // rhythm, beat // held, 60 + i % pitches, 80) for i in range(count)]
    else:
        first = draw(st.sampled_from((0, 0, 28)))  # beat
        rows = [(onset + first * beat, *rest) for onset, *rest in draw(_rows(ticks_per_beat))]
    return np.array(rows, NOTE)


_CHANGES = st.lists(
    st.tuples(st.sampled_from(SIGNATURES), st.integers(0, 4), st.integers(1, 3), st.integers(1, 48 * 24)), max_size=3
)


@st.composite
def signatures(draw, ticks_per_beat: int) -> tuple[Signature, ...]:
    """A map: with or without a pickup; changes where a measure begins, where a beat does, or anywhere."""
    found, tick = {}, 0
    if draw(st.integers(0, 3)) == 0:
        found[0] = draw(st.sampled_from(PICKUPS))
        tick = _ticks(found[0], ticks_per_beat)
    found[tick] = draw(st.sampled_from(SIGNATURES))
    for signature, where, measures, anywhere in draw(_CHANGES):
        tick = max(found) + _ticks(found[max(found)], ticks_per_beat) * measures
        if where > 2:
            tick = anywhere * ticks_per_beat // 24 if where == 3 else anywhere // 24 * ticks_per_beat + ticks_per_beat
        found[tick] = signature
    return tuple(Signature(tick, *found[tick]) for tick in sorted(found))


def _ticks(signature: tuple[int, int], ticks_per_beat: int) -> int:
    """Of a measure, rounded where they are not whole."""
    return max(round(Fraction(4 * signature[0] * ticks_per_beat, signature[1])), 1)


@st.composite
def scores(draw):
    ticks_per_beat = draw(st.sampled_from((24, 96, 120, 192, 384, 480, 960)) | st.integers(24, 960))
    bar = 4 * ticks_per_beat
    program = st.sampled_from((0, 0, 9, 15, 33, DRUMS, DRUMS)) | st.integers(0, 127)
    tracks = draw(st.lists(st.builds(Track, program, notes(ticks_per_beat)), max_size=4))
    change = st.integers(1, 12 * bar) | st.builds(lambda bars: bars * bar, st.integers(1, 12))
    tempo = st.integers(20, 450).map(lambda bpm: round(60e6 / bpm))
    tempos = {0: draw(tempo)} | draw(st.dictionaries(change, tempo, max_size=3))
    return Score(
        ticks_per_beat,
        tuple(tracks),
        tuple(Tempo(tick, tempos[tick]) for tick in sorted(tempos)),
        draw(signatures(ticks_per_beat)),
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
