"""Songs that both implementations are compared on."""

import pytest
import torch

from tests.conftest import pytest_collection_finish, pytest_configure
from tests.songs import real_songs

__all__ = ["pytest_collection_finish", "pytest_configure"]  # also where these tests run alone
torch.set_num_threads(1)  # tests run side by side, and threads that wait for each other spin


@pytest.fixture(scope="session")
def songs():
    """The first bars of three songs of several tracks, 300 to 700 tokens each: real ones where HID_SONGS (or
    ../shared/data/midi) has them, else the built-in composer's.
    """
    from tokenizer.music import midi
    from tokenizer.music.composer import compose
    from tokenizer.tokens.crop import crop
    from tokenizer.tokens.encode import encode

    files = real_songs()[::2]
    found = []
    for score in (*map(midi.read, files), *map(compose, range(8))):
        for bars in range(2, 12):
            song = crop(encode(score), 0, bars)
            if len(song) > 300:
                break
        if len(song) <= 700 and len(score.tracks) > 1 and song.bar.max() > 1:
            found.append(song)
        if len(found) == 3:
            return found
    raise AssertionError("too few songs")
