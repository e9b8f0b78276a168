"""What counts of what training shows: nothing that a cut made or that the form says, and all else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scores import score_of, scores
from tokenizer import vocabulary as vocab
from tokenizer.music.composer import compose
from tokenizer.tokens.crop import window
from tokenizer.tokens.encode import Hidden, encode, grid_song
from tokenizer.tokens.example import Example, cut_ends, example, known_chords, whole
from tokenizer.tokens.fields import KIND_PITCH, TokenFields
from tokenizer.vocabulary import Class


def said(shown: Example) -> str:
    """Tokens by name, every chord as *, what does not count in brackets."""
    name = lambda token: "*" if vocab.CLASS[token] == Class.CHORD else vocab.NAMES[token]
    pairs = zip(shown.tokens.ids, shown.loss_mask, strict=True)
    return " ".join(name(token) if counts else f"({name(token)})" for token, counts in pairs)


@pytest.fixture(scope="module")
def band() -> TokenFields:
    """Six bars: drums, which have all of them, a bass in bars 0 and 5, strings in 0 and 1, a lead in bar 4."""
    bars = {128: range(6), 33: (0, 5), 48: (0, 1), 80: (4,)}
    return encode(score_of(*((program, [(1920 * bar, 480, 60, 80) for bar in at]) for program, at in bars.items())))


NOTE, MORE = "* T0 P60 L4 V20", "* T0 P60"
HEAD = "BOS BPM_19 TS_4/4"


def test_a_whole_song_counts(band):
    assert "(" not in said(whole(band)) and "(" not in said(example(window(band, 0, 6)))


def test_what_only_the_cut_ended_does_not_count(band):
    """The bass goes on behind bar 1, the strings do not; the lead comes later, and is not in the window."""
    assert said(example(window(band, 0, 3))) == (
        f"{HEAD} #D SEP {NOTE} {MORE} {MORE} (#P33) SEP {NOTE} (#P48) SEP {NOTE} {MORE} (EOS)"
    )


def test_what_comes_behind_a_cut_end_is_known_to_come_unless_bars_are_hidden(band):
    def behind_cuts(shown: Example) -> list[str]:
        return [vocab.NAMES[token] for token in shown.tokens.ids[cut_ends(shown)]]

    assert behind_cuts(example(window(band, 0, 3))) == ["#P33", "#P48", "EOS"]
    assert behind_cuts(example(window(band, 0, 3).in_order(np.array([1, 2, 0])))) == ["#P48", "EOS"]
    assert behind_cuts(example(window(band, 3, 3))) == behind_cuts(whole(band)) == []
    assert behind_cuts(example(window(band, 0, 3), Hidden(1, 2, (0, 2)))) == ["#P33", "#P48"]


def test_chords_are_known_but_in_the_first_track(band):
    for song in (band, shown_with_hidden_bars(band)):
        known, seen = known_chords(song.ids), 0
        for token, is_known in zip(song.ids, known, strict=True):
            seen += vocab.CLASS[token] == Class.TRACK
            assert is_known == (vocab.CLASS[token] == Class.CHORD and seen > 1)
        assert known.sum() > 6


def shown_with_hidden_bars(song: TokenFields) -> TokenFields:
    return example(window(song, 0, 6), Hidden(1, 3, (0,))).tokens


def test_the_last_window_ends_as_the_song_does(band):
    assert said(example(window(band, 3, 3))) == (
        f"{HEAD} #D SEP {NOTE} {MORE} {MORE} #P33 SEP * * {NOTE} #P80 SEP * {NOTE} EOS"
    )


def test_a_track_that_became_the_first_goes_on_with_the_song():
    """It has the bars of the song, and it was the window that ended these."""
    song = encode(score_of((128, [(3840, 480, 40, 80)]), (33, [(0, 480, 60, 80)]), (48, [(0, 480, 60, 80)])))
    cut = window(song, 0, 1)
    assert said(example(cut)) == f"{HEAD} #P33 SEP {NOTE} (#P48) SEP {NOTE} (EOS)"
    assert said(example(cut.in_order(np.array([1, 0])))) == f"{HEAD} #P48 SEP {NOTE} (#P33) SEP {NOTE} (EOS)"


def test_in_another_order_ends_are_still_those_of_the_tracks(band):
    assert said(example(window(band, 0, 3).in_order(np.array([1, 2, 0])))) == (
        f"{HEAD} #P33 SEP {NOTE} * * (#P48) SEP {NOTE} {MORE} #D SEP {NOTE} {MORE} {MORE} (EOS)"
    )


def test_hidden_bars_end_with_their_section_and_mask_is_no_target(band):
    """Drums and strings in bar 1: what stands behind them counts; behind what is shown of the bass it does not."""
    shown = example(window(band, 0, 3), Hidden(1, 2, (0, 2)))
    assert said(shown) == (
        f"{HEAD} #D SEP {NOTE} * (MASK) {NOTE} (#P33) SEP {NOTE} (#P48) SEP {NOTE} * (MASK)"
        f" UNK #D SEP {NOTE} UNK #P48 SEP {NOTE} (EOS)"
    )
    of_bass = example(window(band, 0, 3), Hidden(0, 1, (1,)))
    assert said(of_bass).endswith(f"SEP * (MASK) (#P48) SEP {NOTE} {MORE} UNK #P33 SEP {NOTE} (EOS)")
    of_all = example(window(band, 0, 6), Hidden(5, 6, (1,)))
    assert said(of_all).endswith(f"* (MASK) #P48 SEP {NOTE} {MORE} #P80 SEP * * * * {NOTE} UNK #P33 SEP {NOTE} EOS")


def ended_by_the_cut(song: TokenFields, cut: TokenFields, first_bar: int, n_bars: int) -> list[int]:
    """Places in the tokens of a window, track by track, with what the song's own tokens say of each."""
    is_track = vocab.CLASS[song.ids] == Class.TRACK
    track_of = np.cumsum(is_track) - 1
    is_note, stop = song.kind == KIND_PITCH, first_bar + n_bars
    bars = [song.bar[is_note & (track_of == track)] for track in range(int(is_track.sum()))]
    shown = [notes for notes in bars if ((notes >= first_bar) & (notes < stop)).any()]
    goes_on = [(notes >= stop).any() for notes in shown]
    song_goes_on = any((notes >= stop).any() for notes in bars)
    if goes_on:
        goes_on[0] = song_goes_on
    ends = [*np.flatnonzero(vocab.CLASS[cut.ids] == Class.TRACK).tolist(), len(cut) - 1][1:]
    cut_ends = {end for end, cuts in zip(ends, goes_on, strict=True) if cuts}
    return sorted(cut_ends | ({len(cut) - 1} if song_goes_on else set()))


def check_windows(song: TokenFields, length: int) -> int:
    """Of windows that begin with each measure; the number of ends that a cut made."""
    ends = 0
    for first in np.flatnonzero(grid_song(song)[0].bars.part == 0).tolist():
        shown = example(window(song, first, length))
        expected = ended_by_the_cut(song, shown.tokens, first, length)
        assert np.flatnonzero(~shown.loss_mask).tolist() == expected
        ends += len(expected)
    return ends


@pytest.mark.parametrize("length", [1, 3, 8])
def test_ends_of_windows_of_composed_songs_are_those_that_their_tracks_say(length):
    assert all(check_windows(encode(compose(seed)), length) for seed in range(2))


@settings(max_examples=40)
@given(scores(), st.integers(1, 4))
def test_ends_of_windows_of_any_song_are_those_that_its_tracks_say(score, length):
    check_windows(encode(score), length)
