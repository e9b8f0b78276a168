"""Which songs are worth keeping: limits of PrepareConfig, each with a name that the list of rejected files
repeats. Asked by prepare and v121.
"""

import numpy as np

from configs import PrepareConfig
from tokenizer.grid.changes import longest_silence
from tokenizer.grid.meter import STEP_TICKS
from tokenizer.grid.song import GridSong
from tokenizer.grid.tempo_map import Tempos, length


def reason_to_reject(song: GridSong, config: PrepareConfig, tempos: Tempos = ()) -> str | None:
    """Why a song is left out ("few notes: 12, --min-notes 32"), or None. tempos: its own, in ticks of the grid; without
    any those of its bars hold.
    """
    if not song.tracks:
        return "no notes"
    notes = np.concatenate([track.notes for track in song.tracks])
    measured = (  # name, value, least, most
        ("bars", song.bars.n_measures, config.min_bars, config.max_bars),
        ("notes", len(notes), config.min_notes, config.max_notes),
        ("pitches", len(np.unique(notes["pitch"])), config.min_pitches, None),
        ("seconds", round(length(song.bars, song.tempo, tempos), 1), config.min_seconds, config.max_seconds),
    )
    for name, value, least, most in measured:
        if value < least:
            return f"few {name}: {value}, --min-{name} {least}"
        if most is not None and value > most:
            return f"many {name}: {value}, --max-{name} {most}"
    if config.max_silent_bars is not None and (silent := longest_silence(song)[1]) > config.max_silent_bars:
        return f"many silent-bars: {silent}, --max-silent-bars {config.max_silent_bars}"
    if config.max_crossing is not None and (share := crossing(song, notes)) > config.max_crossing:
        return f"many notes cross bars: {share:.2f}, --max-crossing {config.max_crossing}"
    return None


def crossing(song: GridSong, notes: np.ndarray) -> float:
    """Share of the notes that sound past the end of their measure."""
    lines, bars = song.bars.start_ticks, song.bars
    end = lines[notes["bar"]] + (notes["step"] + notes["duration"]) * STEP_TICKS
    measure_ends = np.append(lines[:-1][bars.part == 0][1:], lines[-1])
    return float((end > measure_ends[bars.measure[notes["bar"]]]).mean())
