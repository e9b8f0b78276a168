"""Augmentation moves what it should, by as much as it should, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import AugmentConfig
from tests.rows import ids
from tests.scores import scores
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import music_hash
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS, Score, Track
from tokenizer.tokens.augment import augment, shift
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import compute
from tokenizer.vocabulary import Class


def without_chords(tokens):
    return np.where(vocab.CLASS[tokens] == Class.CHORD, vocab.ID["N"], tokens)


def names(tokens) -> str:
    return " ".join(vocab.NAMES[token] for token in tokens)


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
    song = compute(ids("BOS BPM_3 TS_5/16 #P0 SEP A#min T1/2 P60 L80 V3 N EOS"))
    assert names(shift(song, 3, 1, -1).ids) == "BOS BPM_2 TS_5/16 #P0 SEP C#min T1/2 P63 L80 V4 N EOS"


@settings(max_examples=60)
@given(scores(), st.integers(0, 1000))
def test_any_song_stays_a_song_of_the_same_size(score, seed):
    tokens = encode(score)
    moved = augment(tokens, AugmentConfig(), np.random.default_rng(seed))
    assert moved == compute(moved.ids), "the fields fit the ids"
    assert len(moved) == len(tokens) == len(encode(decode(moved.ids))), "nothing more or less would be written"
    class_ = vocab.CLASS[tokens.ids]
    same = ~np.isin(class_, (Class.CHORD, Class.VELOCITY, Class.TEMPO)) & (
        (class_ != Class.PITCH) | (tokens.instrument == DRUMS)
    )
    assert np.array_equal(moved.ids[same], tokens.ids[same])


def test_every_shift_of_the_range_is_drawn_about_as_often_as_the_others():
    tokens, random = encode(compose(1)), np.random.default_rng(0)
    where = np.flatnonzero((tokens.kind == 1) & (tokens.instrument != DRUMS))[0]
    shifts = [int(augment(tokens, AugmentConfig(), random).ids[where] - tokens.ids[where]) for _ in range(600)]
    counts = np.bincount(np.array(shifts) + 5, minlength=12)
    assert counts.min() > 20 and counts.max() < 90 and len(counts) == 12


def test_a_song_without_room_moves_only_as_far_as_it_can():
    song = ids("BOS BPM_39 TS_4/4 #P0 SEP Cmaj T0 P126 L1 V31 P127 EOS")
    drawn = [augment(compute(song), AugmentConfig(), np.random.default_rng(seed)).ids for seed in range(80)]
    assert {names(moved[[7, 10]]) for moved in drawn} == {f"P{126 - down} P{127 - down}" for down in range(6)}
    assert {names(moved[[1]]) for moved in drawn} == {"BPM_37", "BPM_38", "BPM_39"}
    assert {names(moved[[9]]) for moved in drawn} == {"V28", "V29", "V30", "V31"}


@pytest.mark.parametrize(
    ("tempo", "shifted"),
    [
        ("BPM_0", "BPM_-2 BPM_-1 BPM_0 BPM_1 BPM_2"),
        ("BPM_31", "BPM_29 BPM_30 BPM_31 BPM_32 BPM_33"),
        ("BPM_-8", "BPM_-8 BPM_-7 BPM_-6"),
    ],
)
def test_a_tempo_has_room_below_40_and_above_250(tempo, shifted):
    song = compute(ids(f"BOS {tempo} TS_4/4 EOS"))
    drawn = {int(augment(song, AugmentConfig(), np.random.default_rng(seed)).ids[1]) for seed in range(80)}
    assert drawn == set(ids(shifted).tolist())


def test_the_family_of_a_song_is_that_of_its_transpositions_and_its_hash_not():
    tokens = encode(compose(2))
    up, faster, louder = shift(tokens, 4, 0, 0), shift(tokens, 0, 0, 1), shift(tokens, 0, 1, 0)
    assert music_hash(up, any_key=True) == music_hash(tokens, any_key=True) != music_hash(louder, any_key=True)
    assert len({music_hash(song) for song in (tokens, up, louder)}) == 3
    assert music_hash(faster) == music_hash(tokens), "tempo is not music here"
