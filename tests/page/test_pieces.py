"""The sound of a song piece by piece: laid over each other at their times the pieces are the whole."""

import io
import wave
from itertools import pairwise

import numpy as np
import pytest

from configs import InputError
from jax_impl.sampling import sound
from jax_impl.sampling.sound_pieces import piece
from tests.page.test_song import content, moved
from tokenizer.music.composer import compose

RATE = sound.RENDERED_RATE


@pytest.fixture(scope="module")
def soundfont():
    return sound.find_soundfont()


def frames(content: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).astype(np.int64)


CUTS = (0, 2, 6, 8)  # seconds: whole blocks of frames, in which the renderer begins notes
LATE = 1  # tick, so that no note begins where two blocks meet, and might be in either


def test_pieces_laid_over_each_other_are_the_whole(soundfont):
    """To less than a piece that is one frame late would make: frames are rounded, and the silence at ends is cut."""
    raw = content(moved(compose(1), LATE))
    whole = frames(piece(raw, CUTS[0], CUTS[-1], soundfont))
    together = np.zeros((len(whole) + 60 * RATE, 2), np.int64)
    for begin, end in pairwise(CUTS):
        part = frames(piece(raw, begin, end, soundfont))
        together[begin * RATE : begin * RATE + len(part)] += part
    assert np.abs(whole).max() > 500, "it sounds"
    a_frame_late = np.abs(np.diff(whole, axis=0)).max()
    assert np.abs(together[: len(whole)] - whole).max() < a_frame_late
    assert np.abs(together[len(whole) :]).max() < a_frame_late


def test_a_piece_has_the_notes_that_begin_in_it_alone(raw, soundfont):
    silent = frames(piece(raw, 10_000, 10_001, soundfont))
    assert not np.abs(silent).max(initial=0) > sound.QUIET
    with pytest.raises(InputError, match="before the other"):
        piece(raw, 3, 3, soundfont)
