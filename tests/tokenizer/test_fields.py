"""Token fields: as drawn, and the same from the state machine and from its vectorised form."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import GOLDEN
from tests.rows import hidden_song, ids, random_song
from tokenizer import vocabulary as vocab
from tokenizer.tokens.fields import MASK_POSITIONS, START, chords_of, compute, harmonies, places, positions, time

NAMES = ("bar", "instrument", "kind", "onset", "span")


def pushed(tokens) -> dict[str, list[int]]:
    """Fields of each token from the state machine."""
    states, state = [], START
    for token in tokens:
        state = state.push(int(token))
        states.append(state)
    return {name: [int(getattr(state, name)) for state in states] for name in (*NAMES, "position", "place", "harmony")}


def test_fields_are_as_drawn():
    got = compute(ids("BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P60 L4 V20 T8 P64 Gmaj T0 P67 EOS"))
    assert got.bar.tolist() == [-1] * 5 + [0] * 7 + [1] * 3 + [-1]
    assert got.instrument.tolist() == [129] * 3 + [0] * 12 + [129]
    assert got.kind.tolist() == [-1] * 5 + [-1, 0, 1, 2, 3, 0, 1] + [-1, 0, 1] + [-1]
    assert got.onset.tolist() == [-1] * 5 + [-1, 1, 1, 1, 1, 2, 2] + [-1, 3, 3] + [-1]
    assert got.span.tolist() == [-1] * 5 + [0] * 7 + [1] * 3 + [-1]


def test_the_tokens_behind_v121s_are_of_the_kinds_of_those_before():
    got = compute(
        ids("BOS BPM_39 TS_5/4 #P0 SEP Cmaj T1/2 P60 L256 V20 L1+1/3 Cmaj BPM_-8 T1+1/3 P64 Gmaj TS_1/16 EOS")
    )
    assert got.kind.tolist() == [-1] * 6 + [0, 1, 2, 3, 2] + [-1, -1, 0, 1] + [-1] * 3
    assert got.onset.tolist() == [-1] * 6 + [1] * 5 + [-1, -1, 2, 2] + [-1] * 3
    assert got.bar.tolist() == [-1] * 5 + [0] * 6 + [1] * 4 + [2, 2, -1]
    assert got.span.tolist() == got.bar.tolist()


def test_hidden_bars_are_where_they_stand_and_are_counted_on_behind_unk():
    got = compute(ids("BOS #D SEP N T0 P36 N MASK N MASK N T4 P36 #P0 SEP N T0 P60 UNK #D SEP N T0 P38 N T4 P38 EOS"))
    assert got.bar.tolist() == [-1] * 3 + [0] * 3 + [1, 1, 2, 2] + [3] * 3 + [-1, -1, 0, 0, 0] + [-1] * 3 + [
        1, 1, 1, 2, 2, 2, -1
    ]  # fmt: skip
    assert got.instrument.tolist() == [129] + [128] * 12 + [0] * 5 + [129] + [128] * 8 + [129]
    assert got.kind[[7, 9, 18]].tolist() == [-1] * 3
    assert got.onset.tolist() == [-1] * 4 + [1, 1] + [-1] * 5 + [2, 2] + [-1] * 3 + [3, 3] + [-1] * 4 + [
        4, 4, -1, 5, 5, -1
    ]  # fmt: skip
    assert got.span.tolist() == [-1] * 3 + [0] * 3 + [1, 1, 2, 2] + [3] * 3 + [-1, -1, 4, 4, 4] + [-1] * 3 + [
        5, 5, 5, 6, 6, 6, -1
    ]  # fmt: skip


def test_hidden_bars_that_are_said_stand_where_they_stood():
    """Of each track; the bars behind a MASK stand behind what it takes."""
    of_drums, of_piano = "#D SEP N T0 P36 N MASK N MASK N P36", "#P0 SEP N MASK N MASK N T0 P60"
    said = "UNK #D SEP N T0 P38 N P38 UNK #P0 SEP N P61 N EOS"
    got = positions(ids(f"BOS {of_drums} {of_piano} {said}")).tolist()
    after, later = 8 + MASK_POSITIONS - 1, 8 + 2 * MASK_POSITIONS
    assert got[: 1 + 5] == list(range(6)) and got[6:8] == [6, 7] and got[8:10] == [after, after + 1]
    assert got[10:12] == [later, later + 1] and got[12:14] == [later + 2, later + 3]
    piano = later + 4  # its first chord
    assert got[14:16] == [piano, piano + 1] and got[21:29] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert got[29:] == list(range(piano - 3, piano + 4))


def test_a_token_has_the_place_that_was_said_last_in_its_bar():
    got = compute(ids("BOS #P0 SEP Cmaj T0 P60 L4 T8 P64 Gmaj T1+1/3 P67 #P40 SEP Cmaj T8 P72 Gmaj EOS"))
    assert places(got).tolist() == [-1] * 3 + [0] * 4 + [48, 48] + [0] + [8, 8] + [-1, -1] + [0, 48, 48, 0] + [-1]


def test_hidden_bars_have_places_when_they_are_said():
    got = compute(ids("BOS #D SEP N T4 P36 N MASK N T8 P36 UNK #D SEP N T2 P38 EOS"))
    assert places(got).tolist() == [-1] * 3 + [0, 24, 24] + [0, 0] + [0, 48, 48] + [-1] * 3 + [0, 12, 12, -1]


def test_what_sounds_together_has_one_time_however_far_apart_it_is_written():
    got = compute(ids("BOS #P0 SEP Cmaj T0 P60 L4 T8 P64 Gmaj T1+1/3 P67 #P40 SEP Cmaj T8 P72 Gmaj EOS"))
    said = time(got.bar, places(got)).tolist()
    assert said == [0] * 7 + [48, 48] + [96] + [104, 104] + [0, 0] + [0, 48, 48, 96] + [0]


def test_hidden_bars_have_the_time_that_they_have_in_the_song():
    got = compute(ids("BOS #D SEP N T4 P36 N MASK N T8 P36 UNK #D SEP N T2 P38 EOS"))
    said = time(got.bar, places(got)).tolist()
    assert said == [0] * 4 + [24, 24] + [96, 96] + [192, 240, 240] + [0] * 3 + [96, 108, 108, 0]


def test_a_token_has_the_chord_of_its_bar_and_those_four_and_eight_before_the_next_of_its_track():
    chords = ["Cmaj", "Amin", "Fmaj", "Gmaj", "N", "Emin", "Dmin", "Gmaj", "Cmaj"]
    song = f"BOS #P0 SEP {' T0 P60 '.join(chords)} #P40 SEP Amin T0 P72 EOS"
    names = ["none", *(vocab.NAMES[token] for token in np.flatnonzero(vocab.CLASS == vocab.Class.CHORD))]
    said = [[names[code] for code in codes] for codes in chords_of(harmonies(ids(song)))]
    for back, codes in zip((0, 3, 7), said, strict=True):
        of_bars = ["none"] * back + chords
        assert codes[:3] == ["none"] * 3
        for bar in range(len(chords) - 1):
            assert codes[3 + 3 * bar : 6 + 3 * bar] == [of_bars[bar]] * 3
    assert [codes[-4:-1] for codes in said] == [["Amin"] * 3, ["none"] * 3, ["none"] * 3]
    assert [codes[-1] for codes in said] == ["none"] * 3


def test_bars_restart_with_each_track_and_spans_and_onsets_go_on():
    got = compute(ids("BOS #D SEP N T0 P36 N #P0 SEP N T0 P60 EOS"))
    assert got.bar.tolist() == [-1, -1, -1, 0, 0, 0, 1, -1, -1, 0, 0, 0, -1]
    assert got.span.tolist() == [-1, -1, -1, 0, 0, 0, 1, -1, -1, 2, 2, 2, -1]
    assert got.onset.tolist() == [-1, -1, -1, -1, 1, 1, -1, -1, -1, -1, 2, 2, -1]
    assert got.instrument.tolist() == [129] + [128] * 6 + [0] * 5 + [129]


@settings(max_examples=300)
@given(
    st.lists(
        st.integers(0, vocab.SIZE - 1)
        | st.sampled_from(
            (0, 1, 2, 3, 4, 5, 6, 7, 223, 224, 239, 367, 368, 496, 530, 547, 611, 650, 680, 692, 703, 710, 720)
        ),
        max_size=60,
    )
)
def test_the_vectorised_form_equals_the_state_machine_on_any_ids(tokens):
    got, want = compute(np.array(tokens, np.int32)), pushed(tokens)
    for name in NAMES:
        assert getattr(got, name).tolist() == want[name], name
    assert positions(np.array(tokens, np.int32)).tolist() == want["position"]
    assert places(got).tolist() == want["place"]
    assert harmonies(np.array(tokens, np.int32)).tolist() == want["harmony"]


def test_the_vectorised_form_equals_the_state_machine_on_songs():
    for song in [*map(random_song, range(5)), *(hidden_song(seed)[1] for seed in range(3))]:
        got = {name: getattr(song, name).tolist() for name in NAMES}
        got |= {"position": positions(song.ids).tolist(), "place": places(song).tolist()}
        got |= {"harmony": harmonies(song.ids).tolist()}
        assert got == pushed(song.ids)


def test_fields_of_a_v121_song_are_v121s_but_for_the_silent_bars_it_left_out():
    path = GOLDEN / "twolayer_hot_aicha.npz"
    if not path.exists():
        return
    golden = np.load(path)
    got = compute(golden["token_ids"])
    for name, theirs in (("instrument", "instrument_ids"), ("kind", "token_type_ids"), ("onset", "note_ids")):
        assert np.array_equal(getattr(got, name), golden[theirs]), name
    assert np.array_equal(got.bar == -1, golden["chord_ids"] == -1)
    assert (got.bar <= golden["chord_ids"]).all()
