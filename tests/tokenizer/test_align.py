"""tokenizer.align: what lies on its grid stays as it is; what does not comes to it as a whole, or by the beats that are
heard.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from tests import SONGS
from tests.scores import scores
from tests.tokenizer.band import band
from tests.tokenizer.beat_measures import beats_of, f_measure, onset_seconds
from tests.tokenizer.retime import retimed
from tokenizer import align, read, snap
from tokenizer.grid import performance
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music.score import DRUMS, LATEST, NOTE, Score, Signature, Tempo, Track

SCORE_FOLDERS = ("cc0", "easyrpg", "freedoom", "simutrans", "orchestra", "quartets", "lieder")


def moved(score: Score, ticks: int) -> Score:
    """All notes so many ticks later."""
    tracks = []
    for track in score.tracks:
        notes = track.notes.copy()
        notes["onset_ticks"] += ticks
        tracks.append(Track(track.program, notes))
    return replace(score, tracks=tuple(tracks))


def onsets(score: Score) -> np.ndarray:
    return np.concatenate([track.notes["onset_ticks"] for track in score.tracks])


def seconds(score: Score) -> np.ndarray:
    return np.concatenate(onset_seconds(score))


# ---------------------------------------------------------------- scores


@settings(max_examples=60, deadline=None)
@given(scores())
def test_a_score_on_the_grid_is_returned_bit_for_bit(score):
    on_grid = snap(score)
    aligned = align(on_grid)
    if aligned.kind != "pickup":
        assert aligned.kind == "none" and aligned.score is on_grid and aligned.time is None


@pytest.mark.parametrize("folder", SCORE_FOLDERS)
def test_real_scores_are_returned_bit_for_bit_but_for_their_pickups(folder):
    for path in sorted((SONGS / folder).glob("*.mid"))[::9]:
        score = read(path)
        aligned = align(score)
        assert aligned.kind in ("none", "pickup"), path
        assert (aligned.score is score) == (aligned.kind == "none"), path


def test_a_score_without_notes_is_as_it_is():
    empty = Score(480, (), (Tempo(0, 500_000),), (Signature(0, 4, 4),))
    assert align(empty).kind == "none" and align(empty).score is empty


@pytest.mark.parametrize(
    ("first", "then", "silence"), [((1, 4), (4, 4), 3), ((1, 8), (6, 8), 2.5), ((3, 8), (2, 2), 2.5)]
)
def test_a_pickup_becomes_a_whole_measure_with_silence_in_front(first, then, silence):
    begins = int(480 * 4 * first[0] / first[1])
    score = replace(band(8), signatures=(Signature(0, *first), Signature(begins, *then)))
    aligned = align(score)
    assert aligned.kind == "pickup" and aligned.shift_beats == silence
    assert aligned.score.signatures == (Signature(0, *then),)
    assert np.array_equal(onsets(aligned.score), onsets(score) + int(480 * silence))


def test_changes_of_tempo_and_meter_move_along_with_a_pickup():
    changes = (Signature(0, 1, 4), Signature(480, 4, 4), Signature(480 * 9, 3, 4))
    tempos = (Tempo(0, 500_000), Tempo(960, 400_000))
    aligned = align(replace(band(8), signatures=changes, tempos=tempos)).score
    assert aligned.signatures == (Signature(0, 4, 4), Signature(480 * 12, 3, 4))
    assert aligned.tempos == (Tempo(0, 500_000), Tempo(960 + 3 * 480, 400_000))


@pytest.mark.parametrize(
    "signatures", [((0, 2, 4), (1920, 4, 4)), ((0, 4, 4), (1920, 3, 4)), ((0, 4, 4), (1920, 1, 4), (2400, 4, 4))]
)
def test_a_first_measure_that_is_whole_is_no_pickup(signatures):
    score = replace(band(8), signatures=tuple(Signature(*change) for change in signatures))
    assert align(score).kind == "none"


def test_a_short_measure_in_which_nothing_begins_is_no_pickup():
    score = replace(moved(band(8), 480), signatures=(Signature(0, 1, 4), Signature(480, 4, 4)))
    assert align(score).kind == "none" and align(score).score is score


@pytest.mark.parametrize("latest", [2**40, LATEST - 2**20])
def test_a_pickup_before_a_note_in_the_far_future_overflows_nothing(latest):
    score = replace(band(2), signatures=(Signature(0, 1, 4), Signature(480, 4, 4)))
    notes = score.tracks[0].notes.copy()
    notes["onset_ticks"][-1] = latest
    aligned = align(replace(score, tracks=(Track(0, notes),)))
    assert aligned.kind == "pickup" and onsets(aligned.score).max() == latest + 3 * 480


# ---------------------------------------------------------------- to a click


@pytest.mark.parametrize("late", [-25, 25, 40])
def test_a_song_beside_its_grid_comes_to_it_by_one_shift(late):
    score = moved(band(16), 1920 + late)
    aligned = align(score)
    assert aligned.kind == "shift"
    assert np.array_equal(onsets(aligned.score), onsets(score) - late)
    assert aligned.score.signatures == score.signatures


@pytest.mark.parametrize("late", [0, 120, 240, 1000, -130])
def test_beats_that_are_called_measures_get_measures(late):
    score = replace(moved(band(16, drums=False), 1920 + late), signatures=(Signature(0, 1, 4),))
    aligned = align(score)
    assert aligned.kind == "meter"
    assert aligned.score.signatures == (Signature(0, 4, 4),)
    assert np.ptp(onsets(aligned.score) - onsets(band(16, drums=False))) == 0
    first = onsets(aligned.score).min()
    assert first % 1920 == 0 and first < 1920


def test_beats_a_sixteenth_beside_the_grid_are_not_meant():
    score = moved(band(16, drums=False), 120)
    aligned = align(score)
    assert aligned.kind == "meter" and onsets(aligned.score).min() % 1920 == 0


def test_a_meter_that_begins_between_two_beats_is_left_where_it_is():
    score = replace(band(16), signatures=(Signature(0, 4, 4), Signature(9 * 480 + 100, 4, 4)))
    assert align(score).kind == "none" and align(score).score is score


def test_a_meter_of_three_is_heard():
    score = replace(moved(band(16, meter=3, drums=False), 480), signatures=(Signature(0, 1, 4),))
    aligned = align(score)
    assert aligned.score.signatures == (Signature(0, 3, 4),)
    assert onsets(aligned.score).min() % (3 * 480) == 0


# ---------------------------------------------------------------- freely


@pytest.fixture(scope="module")
def performed():
    return retimed(band(40), 3)


def test_the_beats_of_a_performance_are_found(performed):
    aligned = align(performed.score)
    assert aligned.kind == "beats"
    found, lines = beats_of(performed.score, aligned)
    assert f_measure(performed.beats, found, seconds(performed.score)) > 0.95
    assert f_measure(performed.downbeats, lines, seconds(performed.score)) > 0.9
    assert aligned.score.signatures == (Signature(0, 4, 4),)


def test_notes_are_never_moved_against_each_other(performed):
    aligned = align(performed.score)
    before, after = seconds(performed.score), seconds(aligned.score)
    coarsest = 0.6 / performed.score.ticks_per_beat + 0.6 / aligned.score.ticks_per_beat
    assert np.ptp(after - before) <= coarsest
    order = np.argsort(onsets(performed.score), kind="stable")
    assert (np.diff(onsets(aligned.score)[order]) >= 0).all()
    same = np.diff(onsets(performed.score)[order]) == 0
    assert (np.diff(onsets(aligned.score)[order])[same] == 0).all()


def test_ends_move_as_onsets_do(performed):
    aligned = align(performed.score)
    for before, after in zip(performed.score.tracks, aligned.score.tracks, strict=True):
        ends = before.notes["onset_ticks"] + before.notes["duration_ticks"]
        assert np.array_equal(aligned.time.there(ends), after.notes["onset_ticks"] + after.notes["duration_ticks"])


def test_what_is_aligned_stays_as_it_is(performed):
    for score in (performed.score, moved(band(16), 1920 + 30), replace(band(16), signatures=(Signature(0, 1, 4),))):
        once = align(score)
        assert once.kind != "none"
        assert align(once.score).kind == "none"


def test_a_performance_at_another_speed_of_the_clock_has_the_same_beats(performed):
    """The file's own tempo says nothing: the same seconds in other ticks."""
    doubled = replace(
        performed.score,
        tracks=tuple(Track(track.program, _scaled(track.notes, 2)) for track in performed.score.tracks),
        tempos=(Tempo(0, 250_000),),
    )
    ours, others = (beats_of(score, align(score))[0] for score in (performed.score, doubled))
    assert len(ours) == len(others) and np.abs(ours - others).max() < 0.01


def _scaled(notes: np.ndarray, by: int) -> np.ndarray:
    out = notes.copy()
    out["onset_ticks"] *= by
    out["duration_ticks"] *= by
    return out


def noise(seed: int) -> Score:
    """Notes at any time."""
    rng = np.random.default_rng(seed)
    notes = np.zeros(400, NOTE)
    notes["onset_ticks"] = np.sort(rng.integers(0, 80 * 960, 400))
    notes["duration_ticks"], notes["velocity"] = rng.integers(20, 2000, 400), rng.integers(20, 120, 400)
    notes["pitch"] = rng.integers(30, 90, 400)
    return Score(480, (Track(0, notes),), (Tempo(0, 500_000),), (Signature(0, 4, 4),))


@pytest.mark.parametrize("seed", range(4))
def test_what_has_no_beat_is_off_the_grid(seed):
    assert align(noise(seed)).kind == "off_grid"


def test_a_song_of_many_hours_is_not_listened_to():
    score = noise(0)
    notes = score.tracks[0].notes.copy()
    notes["onset_ticks"] *= 61
    aligned = align(replace(score, tracks=(Track(0, notes),)))
    assert aligned.kind == "off_grid" and aligned.confidence == 0


@pytest.mark.parametrize(("ticks_per_beat", "bpm", "apart"), [(480, 120, 3), (17, 4, 1)])
def test_beats_that_no_file_could_say_are_not_found(ticks_per_beat, bpm, apart):
    """A glissando of half a second after a silence; ticks that are longer than beats."""
    notes = np.zeros(40, NOTE)
    notes["onset_ticks"] = 4001 + apart * np.arange(40) + np.arange(40) // 7
    notes["duration_ticks"], notes["pitch"], notes["velocity"] = 1, 40 + np.arange(40), 90
    score = Score(ticks_per_beat, (Track(0, notes),), (Tempo(0, round(60e6 / bpm)),), (Signature(0, 4, 4),))
    aligned = align(score)
    assert aligned.score.ticks_per_beat > 0 and onsets(aligned.score).min() >= 0
    assert performance.find(score) is None


def test_drums_alone_have_beats_too():
    drums = tuple(track for track in band(40).tracks if track.program == DRUMS)
    truth = retimed(replace(band(40), tracks=drums), 5)
    found, _ = beats_of(truth.score, align(truth.score))
    assert f_measure(truth.beats, found, seconds(truth.score)) > 0.9


def test_times_of_found_beats_are_those_of_the_tempo_map(performed):
    """A quarter note of the aligned score lasts as long as the beat that was found."""
    aligned = align(performed.score)
    ticks = aligned.time.aligned
    lasts = np.diff(seconds_at(aligned.score.tempos, aligned.score.ticks_per_beat, ticks))
    true = np.diff(seconds_at(performed.score.tempos, performed.score.ticks_per_beat, aligned.time.source))
    np.testing.assert_allclose(lasts, true, atol=1e-6)
    assert performance.FEWEST <= len(ticks)


@pytest.mark.parametrize("seed", range(6))
def test_who_begins_a_little_before_the_beat_begins_with_it(seed):
    truth = retimed(band(24), seed)
    tracks = list(truth.score.tracks)
    notes = tracks[0].notes.copy()
    notes["onset_ticks"][notes["onset_ticks"].argmin()] -= 12
    aligned = align(replace(truth.score, tracks=(Track(tracks[0].program, notes), *tracks[1:])))
    assert aligned.kind == "beats" and onsets(aligned.score).min() < 4 * aligned.score.ticks_per_beat
