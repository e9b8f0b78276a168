"""Rows of real songs for the attention benchmark,
kept in a file so that the machine that times them needs no MIDI library.

    python benchmarks/attention_rows.py FILE [FOLDER]      of a folder of MIDI files, else of the composer's songs
"""

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attention_cases import ROWS, STORED_LENGTHS

from configs import InputError
from configs.train import SPANS_PER_TOKEN
from jax_impl.batch import Batch, pack_row, stack_rows
from tokenizer.disk.atomic import atomic
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import TokenFields


def load(path: Path, folder: Path | None, lengths: list[int], rows: int) -> dict[int, Batch]:
    """Batches [rows, length] by length; from the file if it is there, else of the folder's songs (None: composed ones),
    and then kept.
    """
    if path.exists():
        try:
            with np.load(path) as kept:
                batches = {
                    length: Batch(*(kept[f"{length}/{name}"][:rows] for name in Batch._fields)) for length in lengths
                }
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise SystemExit(f"{path} holds no such rows ({error}); remove it to have it made again") from error
        if any(len(batch.tokens) < rows for batch in batches.values()):
            raise SystemExit(f"{path} holds fewer than {rows} rows; remove it to have it made again")
        return batches
    batches = {
        length: stack_rows([_row(songs, length) for _ in range(rows)])
        for length in lengths
        for songs in [_songs(folder)]
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{length}/{name}": value for length, batch in batches.items() for name, value in batch._asdict().items()}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return batches


def _songs(folder: Path | None) -> Iterator[TokenFields]:
    if folder is None:
        from tokenizer.music.composer import compose

        yield from (encode(compose(seed)) for seed in range(1 << 20))
        return
    from tokenizer.dataset.find import find_midi
    from tokenizer.music import midi

    readable = [path for _, path in find_midi([folder])[0]]
    while readable:
        for path in list(readable):
            try:
                yield encode(midi.read(path))
            except InputError as error:
                print(error, file=sys.stderr)
                readable.remove(path)
    raise SystemExit(f"{folder} holds no MIDI file that can be read")


def _row(songs: Iterator[TokenFields], length: int) -> Batch:
    """Songs one after another, the last one cut in musical time so that the row is nearly full."""
    taken, tokens, spans = [], 0, 0
    fits = lambda song: len(song) <= length - tokens and song.span.max() < int(length * SPANS_PER_TOKEN) - spans
    for song in songs:
        bars = int(song.bar.max()) + 1
        while bars and not fits(song):
            bars = bars * 3 // 4
            song = crop(song, 0, bars)
        if not bars:
            return pack_row(taken, length)
        taken.append(song)
        tokens, spans = tokens + len(song), spans + int(song.span.max()) + 1
    raise SystemExit("no songs")


if __name__ == "__main__":
    try:
        load(Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None, STORED_LENGTHS, ROWS)
    except InputError as error:
        sys.exit(f"error: {error}")
