"""A given song comes back in its own time: its notes as they were, and new ones by its beats, or those found."""

import json
from dataclasses import replace

import numpy as np
import pytest

from configs import Constraints
from tests.played import aligned_as, played, shifted
from tests.rows import ids
from tests.scores import score_of
from tests.tokenizer.test_whole import made, notes_of, scale, tempos_of
from tokenizer.grid.align import Aligned, align
from tokenizer.grid.quantize import snap
from tokenizer.grid.song import TEMPO_MICROSECONDS
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.grid.time_map import TimeMap
from tokenizer.music.score import DRUMS, NOTE, Score, Track
from tokenizer.tokens import own_time
from tokenizer.tokens.encode import encode
from tokenizer.tokens.given import aligned_prompt, given_song
from tokenizer.tokens.own_time import OwnTime
from tokenizer.tokens.whole import whole_song

GRID_BEAT = 480


def with_pickup(bars: int = 6) -> tuple[Score, Aligned]:
    """A beat and a half before the first whole bar; its file calls that 3/8."""
    rows = [(48 * place, 40 + place % 9, 60 + place % 5, 80) for place in range(8 * bars)]
    score = score_of((0, rows), (33, [(0, 100, 40, 9)]), signatures=((0, 3, 8), (144, 4, 4)), ticks_per_beat=96)
    return score, align(score)


SONGS = {
    **{f"played {seed}": played(seed) for seed in range(2)},
    "late": shifted(17),
    "early": shifted(-17, "meter"),
    "pickup": with_pickup(),
}
WISHES = {
    "continued": Constraints(bars=9),
    "from bar 4 on": Constraints(keep_bars=3, bars=5),
    "higher from bar 5 on": Constraints(keep_bars=4, bars=5, transpose=3),
    "with two more": Constraints(add="bass,drums"),
    "lower with one more": Constraints(add="strings", transpose=-2),
}


def notes(score: Score) -> list[tuple]:
    """(program, note) of all tracks, sorted."""
    return sorted((track.program, note) for track in score.tracks for note in track.notes.tolist())


def in_measures(score: Score, aligned: Aligned, measures: int, semitones: int) -> list[tuple]:
    """Its notes that each by itself lie in so many first bars of 4/4 on the grid, 0: all, so many semitones higher."""
    kept = []
    for track, there in zip(score.tracks, aligned.score.tracks, strict=True):
        for note, moved in zip(track.notes.tolist(), there.notes, strict=True):
            alone = replace(aligned.score, tracks=(replace(there, notes=np.array([moved])),))
            if not measures or snap(alone).tracks[0].notes["onset_ticks"][0] < measures * 4 * GRID_BEAT:
                onset, duration, pitch, velocity = note
                kept.append((track.program, (onset, duration, pitch + semitones * (track.program != DRUMS), velocity)))
    return sorted(kept)


# ---------------------------------------------------------------- what was there


@pytest.mark.parametrize("tokens", [4000, 250])
@pytest.mark.parametrize("wanted", WISHES.values(), ids=WISHES)
@pytest.mark.parametrize("name", SONGS)
def test_the_notes_of_a_given_song_are_all_as_they_were_and_new_ones_come_beside_them(name, wanted, tokens):
    score, aligned = SONGS[name]
    whole, song, planned = made(aligned_prompt(score, aligned), wanted, tokens)
    result, kept = whole.score(song), in_measures(score, aligned, wanted.keep_bars, wanted.transpose)
    found = notes(result)
    if len(kept) > 100:
        assert (planned.left_out > 0) == (tokens == 250)
    assert len(found) > len(kept)
    for note in kept:
        found.remove(note)
    assert result.ticks_per_beat == score.ticks_per_beat


@pytest.mark.parametrize("name", SONGS)
def test_a_song_to_which_tracks_are_added_has_its_tracks_tempi_and_meters_to_the_last(name):
    score, aligned = SONGS[name]
    whole, song, _ = made(aligned_prompt(score, aligned), Constraints(add="48"), 4000)
    result = whole.score(song)
    of_given = [track for track in result.tracks if track.program != 48]
    sounding = [track for track in score.tracks if len(track.notes)]
    assert sorted(of_given, key=sounding.index) == sounding  # two of one program stay two
    assert [track.program for track in result.tracks] == [track.program for track in whole.on_grid(song).tracks]
    assert (result.tempos, result.signatures) == (score.tempos, score.signatures)


@pytest.mark.parametrize("wanted", WISHES.values(), ids=WISHES)
def test_a_song_that_lies_on_its_grid_comes_back_as_it_was_read_and_its_tokens_as_they_say(wanted):
    """Loudness and lengths too, which the grid has in steps."""
    score = scale(6)
    assert align(score).kind == "none" and notes(snap(score)) != notes(score)
    whole, song, _ = made(aligned_prompt(score, align(score)), wanted, 400)
    of_tokens, same, _ = made(encode(score).ids, wanted, 400)
    assert np.array_equal(song, same) and of_tokens.score(song) == of_tokens.on_grid(song)
    assert of_tokens.on_grid(song).tracks == whole.on_grid(song).tracks
    found, new = notes(whole.score(song)), notes(whole.on_grid(song))
    for note in in_measures(score, Aligned(score, "none"), wanted.keep_bars, wanted.transpose):
        found.remove(note)
    for note in notes(whole.given.song.to_score()):
        new.remove(note)
    assert found == new != []


def test_what_lies_on_the_grid_after_the_kept_bars_is_not_kept_though_it_was_played_before_them():
    time = TimeMap(np.array([0, 700]), np.array([0, 480]))
    rows = [(700 * beat, 100, 60 + beat % 4, 90) for beat in range(16)]
    rows[8] = (700 * 8 - 15, 100, 72, 90)  # of the third bar, early
    score = score_of((0, rows))
    given = given_song(aligned_prompt(score, aligned_as(score, "beats", time, 480)), Constraints(keep_bars=2))
    assert given.own.score.tracks[0].notes.tolist() == rows[:8]


def test_changes_that_the_file_has_after_the_given_bars_are_not_those_of_new_bars():
    score, aligned = played(0)
    given = given_song(aligned_prompt(score, aligned), Constraints(keep_bars=1))
    assert given.own.score.tempos == score.tempos[:1]
    given = given_song(aligned_prompt(score, aligned), Constraints())
    assert given.own.score.tempos == score.tempos[:2]


# ---------------------------------------------------------------- what is new


@pytest.mark.parametrize("seed", range(3))
def test_a_new_note_on_a_beat_is_where_the_beat_was_found(seed):
    score, aligned = played(seed)
    on_beats = np.array([(GRID_BEAT * beat, GRID_BEAT, 60, 90) for beat in range(24)], NOTE)
    own = given_song(aligned_prompt(score, aligned), Constraints(add="48")).own
    result = own.with_new([(None, Track(48, on_beats))], [], [])
    found, beats = np.array(notes_of(result, 48)), aligned.time.source
    assert np.abs(found[:, 0] - beats[:24]).max() <= 1 and np.abs(found[:, :2].sum(1) - beats[1:25]).max() <= 1


def test_between_two_beats_and_past_the_last_new_notes_are_spread_evenly():
    """The last given bar ends in the middle of what was found; new ones are as long as its last beat."""
    score, aligned = played(1)
    own = given_song(aligned_prompt(score, aligned), Constraints(keep_bars=3)).own
    knots = aligned.time.source
    np.testing.assert_allclose(
        own.back(np.arange(0, 12 * 480, 120)), np.interp(np.arange(0, 12, 0.25), np.arange(len(knots)), knots), atol=1
    )
    last = knots[12] - knots[11]
    assert own.back(480 * np.arange(12, 40)).tolist() == [knots[12] + last * beat for beat in range(28)]


def test_a_tempo_that_is_written_for_new_bars_is_that_of_the_music_whatever_the_file_calls_a_beat():
    score, aligned = played(2, bars=3)
    wanted = Constraints(bars=5)
    whole = whole_song(given_song(aligned_prompt(score, aligned), wanted), 1, wanted)
    song = ids(
        "BOS BPM_19 TS_4/4 #D SEP Cmaj T0 P36 L2 V20 Cmaj T0 P36 Cmaj BPM_10 T0 P36 T4 P36 Cmaj TS_3/4 T0 P36 EOS"
    )
    result = whole.score(song)
    first, second = notes_of(result, DRUMS)[-3:-1]
    seconds = seconds_at(result.tempos, result.ticks_per_beat, np.array([first[0], second[0]]))
    (*_, other) = whole.on_grid(song).tempos
    assert other.microseconds_per_beat in TEMPO_MICROSECONDS and other.tick == 3 * 4 * GRID_BEAT
    assert np.diff(seconds)[0] == pytest.approx(other.microseconds_per_beat / 1e6, rel=2e-3)
    (*_, last) = result.signatures
    assert (last.tick, last.numerator) == (int(whole.given.own.back(np.array(4 * 4 * GRID_BEAT))), 3)
    assert tempos_of(result)[:2] == tempos_of(score)[:2] and len(result.tempos) == 3


def test_a_note_that_its_player_held_longer_than_the_grid_says_is_not_cut_short_by_a_new_one():
    time = TimeMap(np.array([0, 700]), np.array([0, 480]))
    rows = [(700 * beat, 300, 60, 90) for beat in range(16)]
    for late, is_kept in ((0, True), (1, False)):
        held = (700 * 12, 700 * 4 + late, 72, 90)
        score = score_of((0, [*rows, held]))
        wanted = Constraints(bars=5)
        given = given_song(aligned_prompt(score, aligned_as(score, "beats", time, 480)), wanted)
        whole = whole_song(given, 3, wanted)
        song = ids("BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P60 L2 V22 Cmaj T0 P72 P74 T4 P72 EOS")
        found = notes_of(whole.score(song), 0)
        assert held in found
        assert [note[:3:2] for note in found[17:]] == [(700 * 16, 72)] * is_kept + [(700 * 16, 74), (700 * 17, 72)]
        assert {note[0] for note in notes_of(whole.on_grid(song), 0)[17:]} == {480 * 16, 480 * 17}


def test_the_first_tick_from_which_a_pitch_is_free_is_found_exactly():
    random = np.random.default_rng(0)
    for seed in range(3):
        own = given_song(aligned_prompt(*played(seed)), Constraints()).own
        ends = random.integers(0, 60_000, 128)
        found = own.earliest(ends, 5760)
        assert (own.back(found) >= ends).all() and found.min() == 5760
        later = found > 5760
        assert 20 < later.sum() < 128 and (own.back(found - 1) < ends)[later].all()


def test_nothing_new_is_before_the_file_begins():
    """A pickup is filled up with five eighths that the file does not have."""
    score, aligned = with_pickup()
    assert aligned.kind == "pickup"
    wanted = Constraints(add="48")
    whole = whole_song(given_song(aligned_prompt(score, aligned), wanted), 0, wanted)
    of_given = "#P33 SEP Cmaj T10 P40 #P0 SEP Cmaj T10 P60"
    song = ids(
        f"BOS BPM_19 TS_4/4 {of_given} #P48 SEP Cmaj T0 P60 L8 V20 P62 L16 T9 P64 L4 T10 P65 T12 P66 Cmaj P67 EOS"
    )
    new = [(onset, onset + duration, pitch) for onset, duration, pitch, _ in notes_of(whole.score(song), 48)]
    assert new == [(0, 72, 64), (0, 96, 65), (48, 144, 66), (144, 240, 67)]
    score, aligned = shifted(-17)
    first = given_song(aligned_prompt(score, aligned), wanted).own._placed(whole.on_grid(song).tracks[-1].notes[:1])
    assert first[["onset_ticks", "duration_ticks"]].tolist() == [(0, 175)]  # of 192, 17 earlier


def test_a_short_measure_that_the_grid_itself_fills_up_is_before_the_file_too():
    """A quarter of 96 ticks; the measure in front is five sixty-fourths long, and two sixteenths on the grid."""
    score = score_of((0, [(30, 96, 60, 90)]), signatures=((0, 1, 8), (30, 4, 4)), ticks_per_beat=96)
    own = aligned_prompt(score, Aligned(score, "shift", time=TimeMap.shifted(0))).own
    assert own.back(np.array([0, 85, 90, 240, 720])).tolist() == [-18, -1, 0, 30, 126]


# ---------------------------------------------------------------- kept as JSON


@pytest.mark.parametrize("name", SONGS)
def test_its_own_time_is_the_same_again_from_its_json(name):
    own = aligned_prompt(*SONGS[name]).own
    again = own_time.of_json(json.loads(json.dumps(own_time.to_json(own))), None, None)
    assert isinstance(again, OwnTime) and again.score == own.score
    ticks = np.arange(-5000, 50_000, 7)
    assert np.array_equal(again.back(ticks), own.back(ticks))
    assert own_time.to_json(again.first(2).until(3840)) == own_time.to_json(own.first(2).until(3840))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("knots", {"source": [0, 5, 5], "aligned": [0, 5, 6]}),
        ("knots", {}),
        ("bars", ["a"]),
        ("tempos", [[0]]),
        ("tracks", 3),
    ],
)
def test_json_of_no_song_is_refused(part, value):
    values = own_time.to_json(aligned_prompt(*played(0)).own)
    with pytest.raises((ValueError, KeyError, TypeError)):
        own_time.of_json(values | {part: value}, None, None)
