"""Real songs, where HID_SONGS (or ../shared/data/midi) has them."""

import functools
from pathlib import Path

import mido

from tests import SONGS

FROM_A_FOLDER = 4  # at most


def all_songs() -> list[Path]:
    """In the proportions of a collection; empty where there are no real songs."""
    return sorted(SONGS.rglob("*.mid"))


@functools.cache
def real_songs() -> tuple[Path, ...]:
    """Some of each folder, evenly spread over it, of those that mido reads, so that another program says
    what a song is.
    """
    folders: dict[Path, list[Path]] = {}
    for path in all_songs():
        folders.setdefault(path.parent, []).append(path)
    spread = [path for files in folders.values() for path in files[:: -(-len(files) // FROM_A_FOLDER)]]
    return tuple(filter(_mido_reads, spread))


def _mido_reads(path: Path) -> bool:
    try:
        mido.MidiFile(path)
    except (OSError, ValueError, EOFError, KeyError, IndexError):
        return False
    return True
