"""What becomes of a MIDI file: its row of a dataset, or why there is none. Asked by prepare and check, so that they
agree.
"""

import os
from dataclasses import dataclass

from configs import PrepareConfig
from tokenizer.dataset.filters import reason_to_reject
from tokenizer.dataset.songs import SongTooLong, StoredSong, to_row
from tokenizer.dataset.told import to_json
from tokenizer.grid.align import Aligned, align
from tokenizer.grid.changes import Changes, changes
from tokenizer.grid.meter import ScoreTooLong
from tokenizer.grid.quantize import on_grid
from tokenizer.grid.song import GridSong
from tokenizer.grid.tempo_map import own_tempos
from tokenizer.music import midi
from tokenizer.music.midi import Reading
from tokenizer.music.score import ImpossibleScore
from tokenizer.tokens.encode import encode_grid
from tokenizer.tokens.fields import TokenFields

OFF_GRID = "off_grid"  # Aligned.kind, and the kind of reason: songs of which the beats are a guess


@dataclass(frozen=True)
class Accepted:
    """A song and what it became on the way: read, aligned (None: not asked for), on the grid, as tokens, as a row;
    changes: from the score that went to the grid to what is on it.
    """

    reading: Reading
    aligned: Aligned | None
    song: GridSong
    changes: Changes
    tokens: TokenFields
    row: StoredSong


def accept(raw: bytes, path: str | os.PathLike, source: str, config: PrepareConfig, moved_ms: float) -> Accepted | str:
    """Of a file's content; or the reason, without the file's name, why it is not used. path: for the messages. source:
    its name in the dataset. moved_ms: see Changes.
    """
    try:
        reading = midi.parse(raw, path, config.pedal)
        if config.strict and reading.repairs:
            return f"repaired: {reading.repairs[0]}"
        aligned = None if config.align == "off" else align(reading.score)
        if aligned and aligned.kind == OFF_GRID and config.align != "keep":
            return beats_not_heard(aligned)
        score = aligned.score if aligned else reading.score
        found = on_grid(score)
        song, own = found.song, own_tempos(score, found.layout)
        if reason := reason_to_reject(song, config, own):
            return reason
        changed = changes(score, found, own, moved_ms)
        tokens = encode_grid(song)
        row = to_row(tokens, source, own, to_json(changed, reading, aligned))
        return Accepted(reading, aligned, song, changed, tokens, row)
    except midi.MidiError as error:
        return str(error).removeprefix(f"{path}: ")
    except (ScoreTooLong, SongTooLong) as error:
        return str(error)
    except ImpossibleScore as error:  # one file must not stop a folder
        return f"no song can be made of it: {error}"


def beats_not_heard(aligned: Aligned) -> str:
    """Why a song is left out of which the beats are a guess, and how to have it all the same."""
    return (
        f"{OFF_GRID}: its beats are not heard well enough (confidence {aligned.confidence:.2f}); --align keep uses "
        "them, --align off the file's own time"
    )
