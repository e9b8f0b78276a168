"""Hidden bars in tokens: as drawn, and the same song as without."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rows import hidden_song, ids
from tests.scores import scores
from tokenizer import vocabulary as vocab
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import Hidden, encode, encode_song, grid_song

SONG = "BOS BPM_19 TS_4/4 #D SEP C T0 P36 L1 V25 C T0 P36 C BPM_20 T4 P38 C T0 P36 #P33 SEP C C T0 P40 L4 V20 EOS"
SHOWN = "BOS BPM_19 TS_4/4 #D SEP C T0 P36 L1 V25 C MASK C BPM_20 MASK C T0 P36 L1 V25 #P33 SEP C C T0 P40 L4 V20"
HIDDEN = f"{SHOWN} UNK #D SEP C T0 P36 L1 V25 C T4 P38 EOS"


def tokens(names: str) -> np.ndarray:
    return ids(names.replace(" C", " Cmaj"))


def test_hidden_bars_are_masks_and_are_said_at_the_end():
    song, chords = grid_song(encode(decode(tokens(SONG))))
    chords[:] = vocab.VALUE[vocab.ID["Cmaj"]]
    assert np.array_equal(encode_song(song, chords).ids, tokens(SONG))
    assert np.array_equal(encode_song(song, chords, Hidden(1, 3, (0,))).ids, tokens(HIDDEN))
    assert decode(tokens(HIDDEN)) == decode(tokens(SONG))


def test_a_track_of_which_all_is_hidden_is_there_up_to_its_last_hidden_bar():
    song, chords = grid_song(encode(decode(tokens(SONG))))
    chords[:] = vocab.VALUE[vocab.ID["Cmaj"]]
    hidden = encode_song(song, chords, Hidden(0, 4, (1,)))
    assert np.array_equal(
        hidden.ids[-19:], tokens("#P33 SEP C MASK C MASK C MASK C MASK UNK #P33 SEP C C T0 P40 L4 V20 C C EOS")[-19:]
    )
    assert decode(hidden.ids) == decode(tokens(SONG))


def test_songs_with_hidden_bars_are_the_same_songs():
    for seed in range(12):
        plain, hidden = hidden_song(seed)
        assert decode(hidden.ids) == decode(plain.ids)
        (song, chords), (same, same_chords) = grid_song(plain), grid_song(hidden)
        assert np.array_equal(chords, same_chords) and encode_song(same, same_chords) == encode_song(song, chords)


@settings(max_examples=50)
@given(scores(), st.integers(0, 7), st.integers(1, 8), st.integers(0, 255))
def test_any_score_is_the_same_with_bars_hidden(score, first, bars, which):
    plain = encode(score)
    song, chords = grid_song(plain)
    stop = min(first + bars, len(song.bars))
    of_track = [(track.notes["bar"] >= first) & (track.notes["bar"] < stop) for track in song.tracks]
    tracks = tuple(number for number, has in enumerate(of_track) if has.any() and which >> (number % 8) & 1)
    assert decode(encode_song(song, chords, Hidden(first, stop, tracks)).ids) == decode(plain.ids)


def test_what_is_said_of_no_hidden_bar_is_a_track_of_its_own_and_a_mask_outside_bars_means_nothing():
    song = ids("BOS BPM_19 TS_4/4 #P0 SEP MASK Cmaj T0 P60 L4 V20 UNK #P33 SEP Cmaj T0 P40 EOS")
    assert [(track.program, len(track.notes)) for track in decode(song).tracks] == [(33, 1), (0, 1)]
