"""What becomes of a song on the grid is counted as it is heard."""

from itertools import groupby

import pytest
from hypothesis import given, settings

from tests.scores import score_of, scores
from tokenizer.grid.changes import Changes, changes, longest_silence
from tokenizer.grid.quantize import on_grid, quantize
from tokenizer.grid.tempo_map import own_tempos
from tokenizer.music.score import DRUMS, Score

BAR = 1920
MOVED_MS = 20.0


def changed(score: Score) -> Changes:
    found = on_grid(score)
    return changes(score, found, own_tempos(score, found.layout), MOVED_MS)


def seconds_of(score: Score, tick: int) -> float:
    """By the tempo map, change by change."""
    ends = [*(tempo.tick for tempo in score.tempos[1:]), tick]
    return sum(
        max(min(end, tick) - tempo.tick, 0) * tempo.microseconds_per_beat / score.ticks_per_beat / 1e6
        for tempo, end in zip(score.tempos, ends, strict=True)
    )


@settings(max_examples=40)
@given(scores())
def test_every_note_is_there_or_accounted_for(score):
    """Against plain loops over the notes of each pitch of each track."""
    if not any(len(track.notes) for track in score.tracks):
        return
    found = changed(score)
    song = quantize(score)
    twice, sounding, last = 0, 0.0, 0
    for track in score.tracks:
        rows = sorted((int(n["pitch"]), int(n["onset_ticks"]), int(n["duration_ticks"])) for n in track.notes)
        for _, of_pitch in groupby(rows, key=lambda row: row[0]):
            struck = [(onset, onset + duration) for _, onset, duration in of_pitch]
            for (onset, end), after in zip(struck, [*(onset for onset, _ in struck[1:]), None], strict=True):
                twice += onset == after
                until = end if after is None else min(end, after)
                sounding += (track.program != DRUMS) * (seconds_of(score, until) - seconds_of(score, onset))
                last = max(last, onset if track.program == DRUMS else end)
    assert found.notes == sum(len(track.notes) for track in score.tracks)
    assert found.notes_out == sum(len(track.notes) for track in song.tracks)
    assert found.doubles == twice and found.merged == found.notes - twice - found.notes_out >= 0
    assert found.sounding_seconds == pytest.approx(sounding, abs=2e-3)
    assert found.seconds == pytest.approx(seconds_of(score, last), abs=2e-3)
    assert 0 <= found.cut_seconds <= found.sounding_seconds + 1e-2


@settings(max_examples=20)
@given(scores())
def test_a_song_on_the_grid_changes_in_nothing(score):
    snapped = quantize(score).to_score()
    if not snapped.tracks:
        return
    found = changed(snapped)
    assert (found.doubles, found.merged, found.moved, found.moved_ms_sum, found.cut, found.meters) == (0,) * 5 + ((),)
    assert found.notes == found.notes_out and found.seconds == found.seconds_out


def test_the_same_note_twice_is_told_apart_from_two_strikes_that_meet():
    twice, strikes = (0, 240, 60, 80), [(480, 30, 62, 80), (490, 30, 62, 80), (480, 30, 64, 80)]
    found = changed(score_of((0, [twice, twice, *strikes]), (0, [twice])))
    assert (found.notes, found.doubles, found.merged, found.notes_out) == (6, 1, 1, 4)


def test_a_note_is_moved_by_the_clock_not_by_the_beat():
    """24 ticks of 480 are 25 ms at 120 BPM and 10 ms at 300."""
    notes = [(0, 120, 60, 80), (480 + 24, 120, 62, 80)]
    for bpm, moved in ((120, 1), (300, 0)):
        found = changed(score_of((0, notes), tempos=((0, bpm),)))
        assert found.moved == moved
        assert found.moved_ms_sum == pytest.approx(60e3 / bpm * 24 / 480, abs=0.01)


def test_a_tempo_that_changes_moves_no_note_that_is_on_the_grid():
    notes = [(beat * 96, 48, 60, 80) for beat in range(12)]
    found = changed(score_of((0, notes), tempos=((0, 120), (96, 33), (384, 211)), ticks_per_beat=96))
    assert found.moved_ms_sum == pytest.approx(0, abs=0.1) and found.seconds == pytest.approx(found.seconds_out)


def test_a_long_note_loses_what_comes_after_sixteen_bars():
    drone, short = (0, 20 * BAR, 60, 80), (19 * BAR, BAR, 62, 80)
    found = changed(score_of((0, [drone, short])))
    assert (found.cut, found.cut_seconds, found.sounding_seconds) == (1, 8.0, 42.0)
    assert changed(score_of((0, [(0, 16 * BAR, 60, 80), short]))).cut == 0
    found = changed(score_of((0, [drone, (4 * BAR, BAR, 60, 80)])))
    assert found.cut == 0, "struck again, it is heard no longer"


@pytest.mark.parametrize(("sixteenths", "cut"), [(64.4, 0), (64.5, 1), (66, 1), (79, 0)])
def test_a_note_is_cut_that_is_half_a_sixteenth_longer_than_said(sixteenths, cut):
    """Between 64 sixteenths and 80 there is no duration; one that is said longer than it was loses nothing."""
    found = changed(score_of((0, [(0, int(sixteenths * 120), 60, 80)])))
    assert (found.cut, found.cut_seconds) == (cut, pytest.approx(cut * (sixteenths - 64) / 8, abs=1e-3))


def test_a_stroke_of_a_drum_has_no_end_that_could_be_cut():
    found = changed(score_of((0, [(0, BAR, 60, 80)]), (DRUMS, [(0, 99 * BAR, 36, 80)])))
    assert (found.cut, found.seconds, found.seconds_out, found.sounding_seconds) == (0, 2.0, 2.0, 2.0)


def test_seconds_are_those_of_the_own_tempo_map():
    """A beat of 20 BPM among those of 120, which no token says."""
    notes = [(beat * 480, 480, 60, 80) for beat in range(16)]
    found = changed(score_of((0, notes), tempos=((0, 120), (960, 20), (1440, 120))))
    assert found.seconds == found.seconds_out == 15 * 0.5 + 3
    assert (found.slowest_bpm, found.fastest_bpm) == (20, 120)


def test_tempi_after_the_last_note_are_not_told():
    assert changed(score_of((0, [(0, 480, 60, 80)]), tempos=((0, 120), (480, 5)))).slowest_bpm == 120


@pytest.mark.parametrize(
    ("notes", "silence"),
    [
        ([(0, BAR, 60, 80)], (0, 0, 0)),
        ([(3 * BAR, BAR, 60, 80)], (1, 3, 1)),
        ([(0, BAR, 60, 80), (BAR, 1, 60, 80), (9 * BAR, 1, 60, 80), (9 * BAR, 1, 62, 80)], (3, 7, 2)),
        ([(0, 3 * BAR, 60, 80), (3 * BAR, BAR, 60, 80)], (0, 0, 0)),
        ([(0, 3 * BAR + 1, 60, 80), (5 * BAR, BAR, 60, 80)], (4, 2, 1)),
    ],
)
def test_the_longest_silence_is_found_whatever_track_plays(notes, silence):
    assert longest_silence(quantize(score_of((0, notes)))) == silence
    assert longest_silence(quantize(score_of(*((program, [note]) for program, note in enumerate(notes))))) == silence


@pytest.mark.parametrize("meter", [(5, 4), (9, 8), (4, 2), (3, 16)])
def test_silence_is_counted_in_measures(meter):
    measure = BAR * meter[0] // meter[1]
    notes = [(0, 60, 60, 80), (3 * measure, 60, 60, 80), (5 * measure - 120, 60, 62, 80)]
    assert longest_silence(quantize(score_of((0, notes), signatures=((0, *meter),)))) == (2, 2, 2)


@pytest.mark.parametrize(
    ("signatures", "words"),
    [
        (((0, 4, 4),), ()),
        (((0, 3, 4), (1440, 4, 4)), ()),
        (((0, 5, 4),), ()),
        (((0, 3, 16), (360, 9, 16), (1440, 4, 4)), ()),
        (((0, 1, 32), (60, 4, 4)), ("1/32: 1 bar written as 1 of 1/16",)),
        (((0, 4, 4), (60, 4, 4)), ()),
        (((0, 11, 8),), ("11/8: 2 bars written as 2 of 4/4, 2 of 3/8",)),
        (((0, 10, 8),), ("10/8: 3 bars written as 3 of 5/4",)),
        (((0, 17, 16),), ("17/16: 3 bars written as 3 of 4/4, 2 of 1/16",)),
    ],
)
def test_bars_that_no_token_says_are_told(signatures, words):
    notes = [(tick, 240, 60, 80) for tick in range(0, 5280, 240)]
    assert changed(score_of((0, notes), signatures=signatures)).meters == words


def test_a_change_of_meter_that_cannot_be_where_it_is_is_told():
    notes = [(tick, 120, 60, 80) for tick in range(0, 4 * BAR, 480)]
    (bar, moved) = changed(score_of((0, notes), signatures=((0, 4, 4), (BAR, 23, 32), (BAR + 1380, 4, 4)))).meters
    assert bar == "23/32: 1 bar written as 1 of 6/8" and moved.endswith("moved to the nearest one: 1")
