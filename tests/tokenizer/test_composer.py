"""The built-in songs are the same for a seed, differ between seeds, and hold what the system must learn."""

import numpy as np

from tokenizer.grid.quantize import quantize, snap
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode

SEEDS = range(40)


def test_a_seed_gives_one_song():
    assert compose(7) == compose(7)
    assert compose(7) != compose(8)


def test_songs_have_many_tracks_meters_and_tempi():
    songs = [snap(compose(seed)) for seed in SEEDS]
    assert all(song.tracks[0].program == DRUMS and 4 <= len(song.tracks) <= 7 for song in songs)
    assert len({(s.numerator, s.denominator) for song in songs for s in song.signatures}) >= 4
    assert any(len(song.signatures) > 1 for song in songs)
    assert any(len(song.tempos) > 1 for song in songs)
    assert all(0 <= note["pitch"] < 128 for song in songs for track in song.tracks for note in track.notes[:5])


def test_songs_fit_a_laptops_context_and_survive_the_tokenizer():
    for seed in SEEDS:
        song = compose(seed)
        tokens = encode(song)
        assert 800 <= len(tokens) <= 5000
        assert decode(tokens.ids) == snap(song)


def test_sections_return_note_by_note():
    for seed in range(5):
        song = quantize(compose(seed))
        notes = max(
            (track.notes for track in song.tracks if track.program != DRUMS), key=lambda notes: notes["pitch"].mean()
        )
        bars = [
            tuple(map(tuple, notes[notes["bar"] == bar][["step", "pitch"]].tolist())) for bar in np.unique(notes["bar"])
        ]
        assert len(set(bars)) <= 0.75 * len(bars)
