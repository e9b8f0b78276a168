"""Whether a file survives the tokenizer: the figures behind `hid-museformer check`."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tokenizer.grid.meter import ScoreTooLong
from tokenizer.grid.quantize import snap
from tokenizer.music import midi
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode


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
        score = midi.read(path)
        tokens = encode(score)
    except (midi.MidiError, ScoreTooLong) as error:
        return FileCheck(path, False, 0, 0, time.perf_counter() - start, str(error))
    seconds = time.perf_counter() - start
    snapped = snap(score)
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "again.mid"
        midi.write(snapped, rewritten)
        again = midi.read(rewritten)
    exact = decode(tokens.ids) == snapped == again == snap(snapped) and encode(again) == tokens
    notes = sum(len(track.notes) for track in snapped.tracks)
    return FileCheck(path, exact, notes, len(tokens), seconds, None)
