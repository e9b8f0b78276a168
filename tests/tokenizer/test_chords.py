"""A bar gets the chord that is played in it: every label, every root, every inversion."""

import numpy as np
import pytest

from tokenizer.grid.chords import TONES, bar_chords
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.vocabulary import NAMES, QUALITIES, ROOTS, TOKEN, Class

SAME_TONES_ELSEWHERE = {"aug", "dim7", "6", "min7", "min6", "hdim7", "sus2", "sus4"}  # named by their bass


def label(*bars: list[tuple[int, int, int]], program: int = 0) -> list[str]:
    """Names of the chords of 4/4 bars of (onset step, duration steps, pitch)."""
    rows = [
        (1920 * bar + 120 * onset, 120 * duration, pitch, 80)
        for bar, notes in enumerate(bars)
        for onset, duration, pitch in notes
    ]
    score = Score(480, (Track(program, np.array(rows, NOTE)),), (Tempo(0, 500_000),), (Signature(0, 4, 4),))
    return [NAMES[TOKEN[Class.CHORD][chord]] for chord in bar_chords(score, 1920 * np.arange(len(bars) + 1))]


def held(pitches: list[int]) -> list[tuple[int, int, int]]:
    return [(0, 16, pitch) for pitch in pitches]


@pytest.mark.parametrize("quality", QUALITIES)
def test_every_label_of_every_root_is_found_when_played_in_root_position(quality):
    bars = [held([48 + root + tone for tone in TONES[quality]]) for root in range(12)]
    assert label(*bars) == [root + quality for root in ROOTS]


@pytest.mark.parametrize(
    "quality", [q for q in QUALITIES if q not in SAME_TONES_ELSEWHERE and q not in ("9", "maj9", "min9")]
)
def test_inversions_keep_the_root(quality):
    for inversion in range(1, len(TONES[quality])):
        pitches = [60 + tone - 12 * (index >= inversion) for index, tone in enumerate(TONES[quality])]
        assert label(held(pitches)) == ["C" + quality], inversion


@pytest.mark.parametrize(
    ("pitches", "name"),
    [((48, 52, 55, 57), "C6"), ((45, 48, 52, 55), "Amin7"), ((48, 50, 55), "Csus2"), ((43, 48, 50), "Gsus4")],
)
def test_the_bass_names_chords_of_the_same_tones(pitches, name):
    assert label(held(list(pitches))) == [name]


def test_a_bar_without_pitched_notes_has_no_chord():
    assert label(held([48, 52, 55]), []) == ["Cmaj", "N"]
    assert label(held([48, 52, 55]), program=DRUMS) == ["N"]


def test_a_note_counts_in_every_bar_it_sounds_in():
    notes = [(0, 32, pitch) for pitch in (45, 48, 52)]
    assert label(notes, []) == ["Amin", "Amin"]


def test_passing_notes_do_not_change_the_chord():
    assert label([*held([48, 52, 55]), (2, 1, 62), (7, 1, 65), (14, 1, 69)]) == ["Cmaj"]
