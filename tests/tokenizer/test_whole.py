"""The whole song that a user gets: the given one as it was, and what is new, whatever part the model saw."""

import numpy as np
import pytest

from configs import Constraints
from tests.rows import ids
from tests.scores import score_of
from tests.tokenizer.test_plan import of_tracks, written
from tokenizer import vocabulary as vocab
from tokenizer.grid.quantize import snap
from tokenizer.grid.song import TEMPO_MICROSECONDS
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS, Score
from tokenizer.tokens import grammar, plan
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.given import given_song
from tokenizer.tokens.parts import InParts
from tokenizer.tokens.whole import Whole, whole_song

BAR, BEAT = 1920, 480
MODEL_BARS = 64


def made(prompt, wanted: Constraints, tokens: int, density: int = 12) -> tuple[Whole, np.ndarray, plan.Planned]:
    """What makes the song whole, and tokens of a writer that stands in for a model."""
    given = given_song(prompt, wanted)
    if wanted.add:
        parts = InParts.of(given, wanted, plan.Room(tokens, tokens // 4), MODEL_BARS, vocab.SIZE)
        so_far = parts.begun()
        for part in parts.parts:
            planned = plan.Planned(parts.plan(so_far, part), 0, [])
            so_far = parts.with_written(so_far, part, written(planned.plan, [density] * 20)[0])
        return whole_song(given, 0, wanted), parts.ids(so_far), planned
    planned = plan.make_plan(given, wanted, tokens, tokens // 4, MODEL_BARS, vocab.SIZE)
    song, _ = written(planned.plan, [density] * 20)
    return whole_song(given, planned.left_out, wanted), song, planned


def scale(bars: int, **more) -> Score:
    """A flute in every bar, drums in the first two, a bass from the third on; each on its own pitches."""
    flute = [(bar * BAR + BEAT * beat, 240, 60 + beat, 90) for bar in range(bars) for beat in range(4)]
    drums = [(bar * BAR, 120, 36, 100) for bar in range(2)]
    bass = [(bar * BAR, 480, 40, 80) for bar in range(2, bars)]
    return score_of((73, flute), (DRUMS, drums), (33, bass), **more)


def notes_of(score: Score, program: int) -> list[tuple]:
    return [note for track in score.tracks if track.program == program for note in track.notes.tolist()]


# ---------------------------------------------------------------- notes, meters, chords


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        (compose(0), Constraints(keep_bars=6, bars=9)),
        (compose(1), Constraints(keep_bars=5, bars=8, transpose=2, chords="C F")),
        (score_of((0, [(0, 480, 60, 90), (BAR, 480, 64, 90)])), Constraints(add="strings,drums,piano")),
        (None, Constraints(instruments="drums,bass", bars=4, meter="3/4")),
    ],
)
def test_a_song_that_the_model_saw_as_a_whole_is_what_its_tokens_say(prompt, wanted):
    tokens = None if prompt is None else encode(prompt).ids
    whole, song, planned = made(tokens, wanted, 20000)
    score = decode(song)
    assert planned.left_out == 0 and whole.score(song) == score
    kind = grammar.CLASS[song]
    said = song[(np.cumsum(kind == grammar.TRACK) == 1) & (kind == grammar.CHORD)]
    assert whole.chords(song) == [vocab.NAMES[token] for token in said]


@pytest.mark.parametrize("transpose", [0, 3])
def test_a_continued_song_is_all_there_and_new_bars_follow_its_last(transpose):
    wanted = Constraints(keep_bars=16, bars=18, transpose=transpose)
    whole, song, planned = made(scale(20), wanted, 200)
    seen = 16 - planned.left_out
    assert 2 < seen < 14 and len(of_tracks(song)) == 2  # the drums are silent in what the model sees
    score, written_alone = whole.score(song), decode(song)
    for program in (DRUMS, 33, 73):
        kept = [
            (onset, duration, pitch + (transpose if program != DRUMS else 0), velocity)
            for onset, duration, pitch, velocity in notes_of(scale(20), program)
            if onset < 16 * BAR
        ]
        new = [
            (onset + planned.left_out * BAR, *rest)
            for onset, *rest in notes_of(written_alone, program)
            if onset >= seen * BAR
        ]
        assert notes_of(score, program) == kept + new
        assert bool(new) == (program != DRUMS)
    assert max(note[0] for track in score.tracks for note in track.notes.tolist()) // BAR == 17
    on_grid = whole.on_grid(song)
    assert snap(on_grid).tracks == on_grid.tracks and len(whole.chords(song)) == 18


def test_an_accompanied_song_is_all_there_and_the_new_tracks_play_in_all_of_it():
    """Written in parts, for the model has no room for it."""
    wanted = Constraints(add="strings,33")
    whole, song, _ = made(scale(20), wanted, 260)
    score = whole.score(song)
    assert [track.program for track in score.tracks] == [DRUMS, 33, 33, 48, 73]
    of_given = {0: 1, 1: 2, 4: 0}
    for number, same in of_given.items():
        assert score.tracks[number] == scale(20).tracks[same]
    for number in (2, 3):
        assert score.tracks[number].notes["onset_ticks"].min() < 2 * BAR
        assert 18 * BAR < score.tracks[number].notes["onset_ticks"].max() < 20 * BAR


def test_new_bars_that_change_meter_do_so_after_all_given_bars():
    flute = [(bar * BAR, 240, 60, 90) for bar in range(4)]
    score, wanted = score_of((73, flute), signatures=((0, 4, 4), (3 * BAR, 3, 4))), Constraints(bars=6)
    whole = whole_song(given_song(score, wanted), 2, wanted)
    song = ids("BOS BPM_19 TS_4/4 #P73 SEP Cmaj T0 P60 L2 V22 Cmaj TS_3/4 T0 P60 Gmaj T0 P62 Gmaj TS_2/4 T0 P62 EOS")
    said = [(s.tick, s.numerator, s.denominator) for s in whole.score(song).signatures]
    assert said == [(0, 4, 4), (3 * BAR, 3, 4), (3 * BAR + 2 * 1440, 2, 4)]
    assert [onset for onset, *_ in notes_of(whole.score(song), 73)][4:] == [3 * BAR + 1440, 3 * BAR + 2880]
    assert whole.chords(song)[4:] == ["Gmaj", "Gmaj"]


def test_a_given_note_that_the_model_does_not_see_is_not_cut_short_by_a_new_one():
    flute = [(bar * BAR, 240, 60, 90) for bar in range(16)]
    score = score_of((73, [*flute, (14 * BAR, 4 * BAR, 72, 90)]))
    given = given_song(score, Constraints(bars=18))
    whole = whole_song(given, 15, Constraints(bars=18))
    song = ids("BOS BPM_19 TS_4/4 #P73 SEP Cmaj T0 P60 L2 V22 Cmaj T0 P60 P72 Cmaj T0 P60 Cmaj T0 P72 EOS")
    kept = notes_of(score, 73)
    new = notes_of(whole.score(song), 73)[len(kept) :]
    assert notes_of(whole.score(song), 73)[: len(kept)] == kept and (14 * BAR, 4 * BAR, 72, 90) in kept
    assert [(onset // BAR, pitch) for onset, _, pitch, _ in new] == [(16, 60), (17, 60), (18, 72)]


@pytest.mark.parametrize("wanted", [Constraints(bars=18), Constraints(add="strings")])
def test_any_beginning_of_the_tokens_makes_the_song_so_far(wanted):
    whole, song, _ = made(scale(16), wanted, 250)
    given = {track.program: track.notes.tolist() for track in scale(16).tracks}
    for length in range(1, len(song), 3):
        score = whole.score(song[:length])
        for track in score.tracks:
            kept = given.get(track.program, [])
            assert track.notes.tolist()[: len(kept)] == kept
        assert {track.program for track in score.tracks} >= set(given)


# ---------------------------------------------------------------- tempo


def tempo_name(tempo: int) -> str:
    return vocab.NAMES[vocab.TOKEN[vocab.Class.TEMPO][tempo]]


def tempos_of(score: Score) -> list[tuple[int, int]]:
    return [(tempo.tick, tempo.microseconds_per_beat) for tempo in score.tempos]


def test_the_tempo_that_is_asked_for_is_the_tempo_of_the_song():
    for bpm in (120, 97.3, 40, 250, 10, 400, 700):
        whole, song, _ = made(None, Constraints(tempo=bpm, instruments="bass", bars=2), 500)
        assert tempos_of(whole.score(song)) == [(0, round(60e6 / bpm))]


@pytest.mark.parametrize("wanted", [Constraints(bars=18), Constraints(keep_bars=10, bars=12), Constraints(add="48")])
def test_given_bars_have_their_own_tempo_and_last_as_long_as_they_did(wanted):
    tempos = ((0, 10), (2 * BAR + 77, 120), (9 * BAR, 301.7), (16 * BAR + BEAT, 200))
    score = scale(16, tempos=tempos)
    whole, song, _ = made(score, wanted, 250)
    result, end = whole.score(song), (wanted.keep_bars or 16) * BAR
    own = [(tick, round(60e6 / bpm)) for tick, bpm in tempos[:3]]
    assert [tempo for tempo in tempos_of(result) if tempo[0] < end] == own
    assert ((16 * BAR + BEAT, 300_000) in tempos_of(result)) == bool(wanted.add)  # of no bar that is given
    ticks = np.arange(0, end, 100)
    there, here = (seconds_at(song.tempos, 480, ticks) for song in (score, result))
    np.testing.assert_array_equal(here, there)


def test_new_bars_go_on_in_the_last_tempo_until_the_model_says_another_and_when_it_returns():
    score = score_of((0, [(bar * BAR, 480, 60, 90) for bar in range(4)]), tempos=((0, 120), (3 * BAR, 100)))
    wanted = Constraints(bars=8)
    whole = whole_song(given_song(score, wanted), 2, wanted)
    own, other = vocab.tempo_bin(100), vocab.tempo_bin(150)
    bar = "Cmaj {} T0 P62"
    new = [bar.format(tempo) for tempo in ("", f"{tempo_name(other)}", "", f"{tempo_name(own)}")]
    given = f"Cmaj T0 P60 L4 V22 Cmaj {tempo_name(own)} T0 P60"
    song = ids(f"BOS {tempo_name(vocab.tempo_bin(120))} TS_4/4 #P0 SEP {given} {' '.join(new)} EOS")
    assert tempos_of(whole.score(song)) == [
        (0, 500_000),
        (3 * BAR, 600_000),
        (5 * BAR, int(TEMPO_MICROSECONDS[other])),
        (7 * BAR, 600_000),
    ]


def test_a_bar_of_the_song_has_its_own_part_of_the_tempo_map():
    wanted = Constraints(bars=18)
    whole = whole_song(given_song(scale(16, tempos=((0, 120), (BAR + 480, 60))), wanted), 9, wanted)
    said = [
        [
            (t.tick, t.microseconds_per_beat)
            for t in whole.tempos(bar * BAR, (bar + 1) * BAR, [(0, vocab.tempo_bin(150))])
        ]
        for bar in (0, 1, 2, 16)
    ]
    other = int(TEMPO_MICROSECONDS[vocab.tempo_bin(150)])
    assert said == [[(0, 500_000)], [(0, 500_000), (480, 1_000_000)], [(0, 1_000_000)], [(0, other)]]


# ---------------------------------------------------------------- long measures


def test_a_song_in_five_four_that_goes_on_in_four_four_is_all_there_and_has_a_chord_a_measure():
    """Though its last note begins in the first part of its last measure, and the model does not see its first one."""
    long = 5 * BEAT
    flute = [(bar * long + tick, 160, 60 + bar, 90) for bar in range(4) for tick in (0, 160, 2240)]
    score = score_of((73, [*flute, (0, 16 * BAR, 50, 90), (4 * long, 120, 60, 90)]), signatures=((0, 5, 4),))
    wanted = Constraints(bars=8)
    given = given_song(score, wanted)
    assert (given.measures, len(given), len(given_song(score, Constraints(add="bass")))) == (5, 10, 9)
    whole = whole_song(given, 2, wanted)
    assert (whole.measures_left_out, whole.first_tick, whole.end_tick) == (1, long, 5 * long)
    bars = ["Cmaj T0 P61 L1 V22 Cmaj"] + ["Cmaj Cmaj"] * 2 + ["Cmaj T0 P60 Cmaj"]
    new = ["Fmaj TS_4/4 T0 P62 L2", "Gmaj T15+1/2 P63", "Amin TS_5/4 T0 P62 Dmin T1/2 P50 P62"]
    song = ids(f"BOS BPM_19 TS_5/4 #P73 SEP {' '.join([*bars, *new])} EOS")
    assert grammar.errors([song]) == [None]
    kept, found = notes_of(score, 73), notes_of(whole.score(song), 73)
    assert found[: len(kept)] == kept and (0, 256 * 120, 50, 90) in kept
    line = 5 * long
    last = line + 2 * BAR
    assert [note[0] for note in found[len(kept) :]] == [line, line + BAR + 1860, last, last + 3 * BEAT + 60]
    assert [note[2] for note in found[len(kept) :]] == [62, 63, 62, 62]  # no P50, which still sounds
    assert [(s.tick, s.numerator) for s in whole.score(song).signatures] == [(0, 5), (line, 4), (last, 5)]
    chords = whole.chords(song)
    assert len(chords) == 8 and chords[5:] == ["Fmaj", "Gmaj", "Amin Dmin"]
