"""Synthetic songs that repeat: that they do, and how models are scored on them."""

import sys

import numpy as np
import pytest

from tests import ROOT
from tokenizer import vocabulary as vocab
from tokenizer.tokens.encode import grid_song

sys.path.append(str(ROOT / "benchmarks"))

import repeats


def bars_of(track) -> list[list[tuple[int, int]]]:
    """Of each bar its (place, pitch)."""
    notes = track.notes
    return [notes[notes["bar"] == bar][["step", "pitch"]].tolist() for bar in range(int(notes["bar"].max()) + 1)]


def test_the_second_track_repeats_the_first_so_many_bars_before_and_nothing_else_is_repeated():
    for (tokens, distance), n in zip(repeats.songs(seed=0, count=6), repeats.DISTANCES, strict=True):
        source, repeating = map(bars_of, grid_song(tokens)[0].tracks)
        assert repeating[n:] == source[: repeats.REPEATS] and len(repeating) == len(source) == n + repeats.REPEATS
        assert sum(first == second for first, second in zip(source, repeating, strict=True)) == 0
        assert len({tuple(bar) for bar in source + repeating[:n]}) == len(source) + n
        assert len(tokens) <= repeats.LONGEST
        marked = vocab.CLASS[tokens.ids[distance == n]]
        assert marked.tolist() == repeats.REPEATS * repeats.NOTES * [vocab.Class.POSITION, vocab.Class.PITCH]
        of_both = np.isin(vocab.CLASS[tokens.ids], (vocab.Class.POSITION, vocab.Class.PITCH))
        np.testing.assert_array_equal(distance >= 0, of_both)
        assert set(distance.tolist()) == {-1, 0, n}


def test_songs_are_a_function_of_the_seed():
    ids = [[tuple(song.tokens.ids) for song in repeats.songs(seed, count=2, distances=(1, 2))] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] and not set(ids[0]) & set(ids[2])


def test_a_model_that_knows_the_repeats_and_guesses_the_rest_is_scored_so(monkeypatch):
    songs = repeats.songs(seed=0, count=2, distances=(1, 4))
    distances = {id(tokens): distance for tokens, distance in songs}

    def score_logits(model, tokens):
        """The next token with all certainty where it repeats, else all tokens alike."""
        logits = np.zeros((len(tokens), vocab.SIZE), np.float32)
        repeated = np.flatnonzero(distances[id(tokens)][1:] > 0)
        logits[repeated, tokens.ids[1:][repeated]] = 100
        return tokens, logits

    monkeypatch.setattr(repeats, "score_logits", score_logits)
    found = repeats.accuracy(None, songs)
    tokens = 2 * repeats.NOTES * repeats.REPEATS
    assert found[1] == found[4] == {"accuracy": 1.0, "nats": 0.0, "tokens": tokens}
    random = {
        "accuracy": 0.0,
        "nats": pytest.approx(np.log(vocab.SIZE), abs=1e-3),
        "tokens": 2 * tokens + 2 * (1 + 4) * 8,
    }
    assert found.keys() == {0, 1, 4} and found[0] == random
