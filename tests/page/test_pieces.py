"""The sound of a song piece by piece: laid over each other at their times the pieces are the whole."""

import io
import wave

import numpy as np
import pytest

from configs import InputError
from jax_impl.sampling import sound
from jax_impl.sampling.sound_pieces import piece

RATE = sound.RENDERED_RATE


@pytest.fixture(scope="module")
def soundfont():
    return sound.find_soundfont()


def frames(content: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2).astype(np.int64)


def test_pieces_laid_over_each_other_are_the_whole(raw, soundfont):
    whole = frames(piece(raw, 0, 9, soundfont))
    together = np.zeros((len(whole) + 60 * RATE, 2), np.int64)
    for begin, end in ((0, 2), (2, 5.5), (5.5, 9)):
        part = frames(piece(raw, begin, end, soundfont))
        at = round(begin * RATE)
        together[at : at + len(part)] += part
    loud, loud_together = loudness(whole), loudness(together[: len(whole)])
    assert loud.max() > 500, "it sounds"
    assert np.abs(loud - loud_together).max() < 0.3 * loud.max()
    assert abs(loud.sum() - loud_together.sum()) < 0.03 * loud.sum()
    assert loudness(together[len(whole) :]).max() <= sound.QUIET


def loudness(sound: np.ndarray) -> np.ndarray:
    """float64[N]: of every twentieth of a second. A renderer begins notes at whole blocks of frames."""
    parts = sound[: len(sound) // (RATE // 20) * (RATE // 20)].reshape(-1, RATE // 20, 2)
    return np.sqrt((parts**2).mean(axis=(1, 2)))


def test_a_piece_has_the_notes_that_begin_in_it_alone(raw, soundfont):
    silent = frames(piece(raw, 10_000, 10_001, soundfont))
    assert not np.abs(silent).max(initial=0) > sound.QUIET
    with pytest.raises(InputError, match="before the other"):
        piece(raw, 3, 3, soundfont)
