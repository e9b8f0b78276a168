"""Augmentation moves what it should, by as much as it should, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import AugmentConfig
from tests.scores import scores
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import music_hash
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS, Score, Track
from tokenizer.tokens.augment import augment, shift
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import compute


def without_chords(ids):
    return np.where((ids >= vocab.CHORD) & (ids < vocab.POSITION), vocab.CHORD, ids)


def transposed(score: Score, semitones: int) -> Score:
    tracks = []
    for track in score.tracks:
        notes = track.notes.copy()
        notes["pitch"] += semitones if track.program != DRUMS else 0
        tracks.append(Track(track.program, notes))
    return replace(score, tracks=tuple(tracks))


@pytest.mark.parametrize("semitones", [-5, 1, 6])
def test_a_transposed_song_is_the_encoding_of_its_transposed_notes(semitones):
    score = compose(3)
    moved, expected = shift(encode(score), semitones, 0, 0), encode(transposed(score, semitones))
    assert np.array_equal(without_chords(moved.ids), without_chords(expected.ids))
    assert np.mean(moved.ids == expected.ids) > 0.999, (
        "chords move with the notes (of two equal ones the first is written)"
    )


def test_a_chord_by_hand():
    ids = np.array(
        [vocab.NAMES.index(name) for name in ("BOS", "BPM_3", "TS_4/4", "#P0", "SEP", "A#min", "T0", "P60", "N", "EOS")]
    )
    names = [vocab.NAMES[token] for token in shift(compute(ids), 3, 0, -1).ids]
    assert names == ["BOS", "BPM_2", "TS_4/4", "#P0", "SEP", "C#min", "T0", "P63", "N", "EOS"]


@settings(max_examples=60)
@given(scores(), st.integers(0, 1000))
def test_any_song_stays_a_song_of_the_same_size(score, seed):
    tokens = encode(score)
    moved = augment(tokens, AugmentConfig(), np.random.default_rng(seed))
    assert moved == compute(moved.ids), "the fields fit the ids"
    assert len(moved) == len(tokens) == len(encode(decode(moved.ids))), "nothing more or less would be written"
    drums = tokens.instrument == DRUMS
    same = ~((tokens.ids >= vocab.CHORD) & (tokens.ids < vocab.POSITION)) & (tokens.ids < vocab.TRACK)
    assert np.array_equal(moved.ids[drums & same], tokens.ids[drums & same])


def test_every_shift_of_the_range_is_drawn_about_as_often_as_the_others():
    tokens, random = encode(compose(1)), np.random.default_rng(0)
    where = np.flatnonzero((tokens.kind == 1) & (tokens.instrument != DRUMS))[0]
    shifts = [int(augment(tokens, AugmentConfig(), random).ids[where] - tokens.ids[where]) for _ in range(600)]
    counts = np.bincount(np.array(shifts) + 5, minlength=12)
    assert counts.min() > 20 and counts.max() < 90 and len(counts) == 12


def test_a_song_without_room_moves_only_as_far_as_it_can():
    ids = [vocab.NAMES.index(name) for name in "BOS BPM_31 TS_4/4 #P0 SEP Cmaj T0 P127 L1 V31 P126".split()]
    ids = np.array([*sorted(ids[:7], key=ids.index), ids[10], *ids[8:10], ids[7], vocab.EOS])
    for seed in range(50):
        moved = augment(compute(ids), AugmentConfig(), np.random.default_rng(seed)).ids
        assert (
            moved[ids == vocab.PITCH + 127] <= vocab.PITCH + 127
            and moved[1] <= vocab.TEMPO + 31
            and moved[9] <= vocab.VELOCITY + 31
        )


def test_the_family_of_a_song_is_that_of_its_transpositions_and_its_hash_not():
    tokens = encode(compose(2))
    up, faster, louder = shift(tokens, 4, 0, 0), shift(tokens, 0, 0, 1), shift(tokens, 0, 1, 0)
    assert music_hash(up, any_key=True) == music_hash(tokens, any_key=True) != music_hash(louder, any_key=True)
    assert len({music_hash(song) for song in (tokens, up, louder)}) == 3
    assert music_hash(faster) == music_hash(tokens), "tempo is not music here"
