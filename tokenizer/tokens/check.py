"""Whether a file survives the tokenizer: the figures behind `hid-museformer check`."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tokenizer.grid.meter import ScoreTooLong
from tokenizer.grid.quantize import quantize
from tokenizer.music import midi
from tokenizer.music.score import Score
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode_grid
from tokenizer.tokens.fields import TokenFields


@dataclass(frozen=True)
class FileCheck:
    """exact: the tokens decode to the file's music on the grid, and so do those of its re-written MIDI file.
    notes: on the grid; seconds: to read and encode; error: why the file cannot be tokenized, None if it can."""

    path: Path
    exact: bool
    notes: int
    tokens: int
    seconds: float
    error: str | None


def check(path: Path) -> FileCheck:
    """Reads, encodes, decodes, writes, reads again, and compares. Never raises for a bad file: see error."""
    start = time.perf_counter()
    try:
        grid = quantize(midi.read(path))
        tokens = encode_grid(grid)
    except (midi.MidiError, ScoreTooLong) as error:
        return FileCheck(path, False, 0, 0, time.perf_counter() - start, str(error))
    seconds = time.perf_counter() - start
    snapped = grid.to_score()
    exact = decode(tokens.ids) == snapped and _is_written_and_read_again(snapped, tokens)
    notes = sum(len(track.notes) for track in snapped.tracks)
    return FileCheck(path, exact, notes, len(tokens), seconds, None)


def check_numbered(task: tuple[int, Path]) -> tuple[int, FileCheck]:
    """For files that are checked side by side: the number of one, and what comes of it."""
    number, path = task
    return number, check(path)


def _is_written_and_read_again(snapped: Score, tokens: TokenFields) -> bool:
    """Whether a MIDI file of a score on the grid has the same notes, and those the same tokens."""
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "again.mid"
        midi.write(snapped, rewritten)
        again = midi.read(rewritten)
    if again != snapped:
        return False
    grid = quantize(again)
    return grid.to_score() == snapped and encode_grid(grid) == tokens
