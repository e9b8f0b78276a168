"""What --fill asks for, and what it cannot."""

import pytest

from configs import Constraints, InputError
from tests.rows import ids
from tokenizer.tokens.encode import Hidden
from tokenizer.tokens.given import given_song
from tokenizer.tokens.names import chords

BAR = "T0 P60 L4 V20"
TRACKS = ("#D", "#P33", "#P38", "#P0", "#P0", "#P48")


def song(meter: str = "4/4", bars: int = 8):
    """A song of these tracks, each with a note in every bar."""
    tracks = [" ".join([f"{name} SEP Cmaj {BAR}", *["Cmaj T0 P60"] * (bars - 1)]) for name in TRACKS]
    return ids(f"BOS BPM_19 TS_{meter} {' '.join(tracks)} EOS")


def hidden(fill: str, **others) -> Hidden:
    return given_song(song(**others), Constraints(fill=fill)).hidden


@pytest.mark.parametrize(
    ("fill", "asked"),
    [
        ("3-4", Hidden(2, 4, (0, 1, 2, 3, 4, 5))),
        ("8", Hidden(7, 8, (0, 1, 2, 3, 4, 5))),
        ("drums", Hidden(0, 8, (0,))),
        ("bass:3-4", Hidden(2, 4, (1, 2))),  # what people call a bass
        ("Synth Bass 1:3-4", Hidden(2, 4, (2,))),  # a name
        ("38:3-4", Hidden(2, 4, (2,))),
        ("#4:3-4, strings:3 - 4", Hidden(2, 4, (3, 5))),
        ("piano:1-2", Hidden(0, 2, (3, 4))),
        ("synth:3-4", Hidden(2, 4, (2,))),  # a part of names
    ],
)
def test_bars_count_from_one_and_instruments_go_by_what_they_are_called(fill, asked):
    assert hidden(fill) == asked


def test_bars_are_measures_however_long():
    assert hidden("2-3", meter="5/4") == Hidden(2, 6, (0, 1, 2, 3, 4, 5))
    assert hidden("4", meter="5/4") == Hidden(6, 8, (0, 1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        ("9", "the given song has 8 bars; --continue adds"),
        ("0-2", "bars count from 1"),
        ("4-2", "bars count from 1"),
        ("bass:x", "'x' in 'bass:x' are no bars"),
        (":3", "name the instrument before the colon"),
        (",", "name bars or instruments"),
        ("tuba:3", "has no tuba; its tracks are #1 Drums, #2 Fingered Bass, "),
        ("violin:3", "has no violin; its tracks are"),  # nor do strings say so
        ("#7", "has no #7; its tracks are"),
        ("bass:1-2,drums:3-4", "bass in bars 1-2 and drums in bars 3-4; one range of bars at a time"),
        ("bass,drums:3-4", "bass in bars 1-8 and drums in bars 3-4"),
        ("bass:1-2,#2:3-4", "#2 Fingered Bass is asked for twice"),
    ],
)
def test_what_cannot_be_is_said(fill, message):
    with pytest.raises(InputError, match="--fill") as error:
        hidden(fill)
    assert message in str(error.value)


def test_there_is_a_limit_to_how_many_tracks_are_hidden():
    tracks = " ".join([f"#P0 SEP Cmaj {BAR}"] * 33)
    with pytest.raises(InputError, match="--fill 1: that is 33 tracks; at most 32 at a time"):
        given_song(ids(f"BOS BPM_19 TS_4/4 {tracks} EOS"), Constraints(fill="1"))


def test_chords_that_are_asked_for_begin_with_the_first_hidden_bar_and_leave_the_others():
    given = given_song(song(), Constraints(fill="3-5", chords="G Am"))
    (c,), (g, am) = chords("C", "--chords"), chords("G Am", "--chords")
    assert given.chords.tolist() == [c, c, g, am, g, c, c, c]


@pytest.mark.parametrize(
    "others", [{"add": "bass"}, {"keep_bars": 2}, {"instruments": "bass"}, {"tempo": 90.0}, {"meter": "3/4"}]
)
def test_what_does_not_go_with_it_is_refused(others):
    with pytest.raises(InputError, match=f"--{next(iter(others)).replace('_', '-')}"):
        given_song(song(), Constraints(fill="3-4", **others))
    with pytest.raises(InputError, match="--fill needs a given song: --song FILE"):
        given_song(None, Constraints(fill="3-4"))
