"""HID text: a song survives it, v1.2.1's grammar is kept to the letter, and what is no song is named by its line."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from tests.scores import score_of, scores
from tokenizer.grid.song import HID_RANK
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.encode import Hidden
from tokenizer.tokens.text import TextError, from_text, read, to_text

TEXT = """\
H 2 480 Q
T B0 T0 120
T B1 T8 92
TS B0 T0 4/4
CHORDS 0:Cmaj 2:C5

#D
B0 T0 P36 L1 V25
P42
T4 P38 V16
B2 T0 P36

#P48
B0 T0 P60 L16 V20
P64
P67
B2 T0 P60

"""
LOSSLESS = """\
H 2 480 1920
T B0 T0 120.00
T B1 T965 91.9998
TS B0 T0 4/4
CHORDS 0:Cmaj 2:C5

#D
B0 T3 P36 L100 V101
P42
T470 P38 V64
B2 T0 P36

#P48
B0 T0 P60 L1900 V80
P64
P67
B2 T0 P60

"""


def song() -> Score:
    """What both texts say, one to the tick."""
    drums = np.array([(3, 100, 36, 101), (3, 100, 42, 101), (470, 100, 38, 64), (3840, 100, 36, 64)], NOTE)
    strings = np.array([(0, 1900, 60, 80), (0, 1900, 64, 80), (0, 1900, 67, 80), (3840, 1900, 60, 80)], NOTE)
    tempos = (Tempo(0, 500_000), Tempo(1920 + 965, 652_175))
    return Score(480, (Track(48, strings), Track(DRUMS, drums)), tempos, (Signature(0, 4, 4),))


def in_hid_order(score: Score) -> Score:
    return replace(
        score,
        tracks=tuple(sorted((t for t in score.tracks if len(t.notes)), key=lambda track: HID_RANK[track.program])),
    )


def test_the_text_is_the_drawing():
    assert to_text(song(), lossless=False) == TEXT
    assert to_text(song(), lossless=True) == LOSSLESS


def test_text_to_the_tick_is_the_song():
    assert from_text(LOSSLESS) == in_hid_order(song())


def test_text_on_the_grid_is_the_song_on_v121s_grid():
    score = from_text(TEXT)
    assert score.ticks_per_beat == 480 and score.signatures == (Signature(0, 4, 4),)
    assert score.tempos == (Tempo(0, 500_000), Tempo(1920 + 960, 652_174))
    drums, strings = (track.notes.tolist() for track in score.tracks)
    assert drums == [(0, 120, 36, 102), (0, 120, 42, 102), (480, 120, 38, 66), (3840, 120, 36, 66)]
    assert strings == [(0, 1920, 60, 82), (0, 1920, 64, 82), (0, 1920, 67, 82), (3840, 1920, 60, 82)]
    assert to_text(score, lossless=False) == TEXT


def test_several_notes_may_share_a_line_and_chords_may_be_missing():
    lines = TEXT.replace("\nP42\nT4 P38 V16", " P42 T4 P38 V16").replace("CHORDS 0:Cmaj 2:C5\n", "")
    assert from_text(lines) == from_text(TEXT)


def test_bars_are_as_long_as_the_first_signature_says_and_the_last_position_holds_what_rounds_past_it():
    notes = np.array([(1439, 90, 60, 64), (1440, 90, 60, 64)], NOTE)
    score = Score(480, (Track(0, notes),), (Tempo(0, 500_000),), (Signature(0, 3, 4), Signature(1440, 4, 4)))
    text = to_text(score, lossless=False)
    assert "TS B0 T0 3/4\nTS B1 T0 4/4\n" in text and "B0 T15 P60 L1 V16\nB1 T0 P60\n" in text
    assert [note[0] for note in from_text(text).tracks[0].notes.tolist()] == [1350, 1440]


def test_a_beat_too_coarse_for_sixteen_positions_is_made_finer():
    text = "H 1 24 Q\nTS B0 T0 7/8\n\n#P0\nB1 T3 P60 L2 V3\n"
    score = from_text(text)  # a bar is 84 of its ticks, a position 5.25
    assert score.ticks_per_beat == 96 and score.tracks[0].notes.tolist() == [(336 + 63, 42, 60, 14)]


def has_positions(score) -> bool:
    """Whether the text's bar, the first signature's, is a whole number of ticks and holds 16 of them."""
    ticks, rest = divmod(4 * score.ticks_per_beat * score.signatures[0].numerator, score.signatures[0].denominator)
    return ticks >= 16 and not rest


@settings(max_examples=100, deadline=None)
@given(scores())
def test_any_song_survives_the_text_to_the_tick(score):
    score = in_hid_order(score)
    sort = lambda track: replace(track, notes=track.notes[np.argsort(track.notes["onset_ticks"], kind="stable")])
    score = replace(score, tracks=tuple(map(sort, score.tracks)))
    assert from_text(to_text(score, lossless=True)) == score


@pytest.mark.parametrize("ticks_per_beat", [480, 24, 7, 1])
@pytest.mark.parametrize("meter", [(1, 16), (5, 16), (1, 32), (17, 16), (5, 4), (4, 4)])
def test_rhythms_of_any_beat_and_bars_of_any_length_survive_to_the_tick(ticks_per_beat, meter):
    """Triplets, thirty-seconds and a note of 20 bars, behind a pickup; where a bar has no whole ticks too."""
    beat = ticks_per_beat
    rows = [(beat + i * beat // of, 1 + i * beat, 60, 80) for of in (3, 8, 6) for i in range(of)]
    rows = [
        (0, 80 * beat, 40, 80),
        *((onset, length, 48 + i, 80) for i, (onset, length, *_) in enumerate(sorted(rows))),
    ]
    score = score_of((0, rows), signatures=((0, *meter), (beat, 7, 8)), ticks_per_beat=beat)
    text = to_text(score, lossless=True)
    assert from_text(text) == score
    assert ("CHORDS" in text) == (meter[0] * beat * 4 // meter[1] >= 16)


def test_a_bar_of_fewer_ticks_than_positions_has_no_short_form():
    with pytest.raises(TextError, match="a bar of 6 ticks has no 16 positions; only the lossless form says this song"):
        to_text(score_of(signatures=((0, 1, 16),), ticks_per_beat=24), lossless=False)


@settings(max_examples=100, deadline=None)
@given(scores().filter(has_positions))
def test_what_is_on_the_texts_grid_stays_there(score):
    once = from_text(to_text(score, lossless=False))
    assert from_text(to_text(once, lossless=False)) == once
    assert sum(len(track.notes) for track in once.tracks) == sum(len(track.notes) for track in score.tracks)


def test_real_songs_survive_both_forms(songs):
    for score in map(in_hid_order, map(midi.read, songs[::3])):
        assert from_text(to_text(score, lossless=True)) == score
        once = from_text(to_text(score, lossless=False))
        assert from_text(to_text(once, lossless=False)) == once


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("H 2 480 Q\n", ""), r"line 1: expected H TRACKS"),
        (("H 2 480 Q", "H 2 480"), r"line 1: expected H TRACKS"),
        (("H 2", "H 3"), r"announces 3 tracks, there are 2"),
        (("H 2 480", "H 2 0"), r"line 1: MIDI has 1 to 32767"),
        (("T B1 T8 92", "T B1 T8 0"), r"line 3: a tempo of 0"),
        (("TS B0 T0 4/4", "TS B0 T0 4/5"), r"line 4: 4/5 is no time signature"),
        (("#P48", "#P128"), r"line 13: program 128"),
        (("#D\n", ""), r"line 7: 'B0 T0 P36 L1 V25' before any track"),
        (("B0 T0 P36 L1 V25", "B0 T0 Q36 L1 V25"), r"line 8: 'Q36' is none of"),
        (("B0 T0 P36 L1 V25", "B0 T16 P36 L1 V25"), r"line 8: T16 is not within T0 to T15"),
        (("B0 T0 P36 L1 V25", "T0 P36 L1 V25"), r"line 8: P36 before any B"),
        (("B2 T0 P36", "B2 P36"), r"line 11: P36 before any T"),
        (("B0 T0 P36 L1 V25", "B0 T0 P36 V25"), r"must say both L and V"),
        (("B0 T0 P36 L1 V25", "B0 T0 L1 P36 V25"), r"line 8: L1 before any note"),
    ],
)
def test_what_is_no_song_is_named_by_its_line(change, message):
    with pytest.raises(TextError, match=message) as error:
        from_text(TEXT.replace(*change, 1), "a.txt")
    assert str(error.value).startswith("a.txt")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe")
    for name, message in (("x.txt", "not UTF-8 text"), ("none.txt", "No such file"), (".", "Is a directory")):
        with pytest.raises(TextError, match=message):
            read(tmp_path / name)
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    with pytest.raises(TextError, match="no song in HID text"):
        read(tmp_path / "empty.txt")
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    assert read(tmp_path / "a.txt") == from_text(TEXT)


@pytest.mark.parametrize("lossless", [False, True])
def test_hidden_bars_are_said_behind_all_tracks_and_the_song_is_the_same(lossless):
    hidden = Hidden(1, 3, (0, 1))
    for seed in range(3):
        score = compose(seed)
        text = to_text(score, lossless, hidden)
        assert text.count("MASK") == 4 and text.count("UNK") == 2
        assert from_text(text) == from_text(to_text(score, lossless))


def test_a_hidden_bar_looks_so():
    text = to_text(from_text(TEXT), False, Hidden(0, 1, (0,)))
    shown, said = text.split("UNK #D\n")
    assert "#D\nB0 MASK\n" in shown and said.startswith("B0 T")


@pytest.mark.parametrize(
    ("line", "said"),
    [("UNK #P99", "the next track that has a MASK"), ("MASK", "MASK before any B says where it is")],
)
def test_hidden_bars_that_are_none_are_named(line, said):
    with pytest.raises(TextError, match=said):
        from_text(TEXT.replace("\n#D\n", f"\n#D\n{line}\n", 1))
