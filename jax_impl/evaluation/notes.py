"""All notes of a song as arrays, in the units that the features of evaluation count in."""

from dataclasses import dataclass

import numpy as np

from tokenizer.grid.meter import STEP_TICKS
from tokenizer.grid.song import GridSong
from tokenizer.music.score import DRUMS
from tokenizer.vocabulary import QUARTER

BEAT = QUARTER  # fine steps of a beat, which is a quarter note in every meter; MusPy's own resolution too


@dataclass(frozen=True, eq=False)
class Notes:
    """Of all tracks of a song. Times count fine steps, 24 to a quarter note, from the song's start.

    onset, end, pitch, program: int64[N]; program 128 is drums, whose pitch names a drum. An end is one past the last
    step. lines: int64[M + 1] bar lines of measures, the end of the last one included; it has the song's last onset.
    """

    onset: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    program: np.ndarray
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.onset)

    @property
    def is_drum(self) -> np.ndarray:
        """bool[N]"""
        return self.program == DRUMS

    @property
    def pitched(self) -> "Notes":
        """Those that are no drums."""
        kept = ~self.is_drum
        return Notes(self.onset[kept], self.end[kept], self.pitch[kept], self.program[kept], self.lines)

    def measure_of(self, time: np.ndarray) -> np.ndarray:
        """int64[]: number of the measure in which each time lies, or whose bar line it is. time: before the last
        line.
        """
        return np.searchsorted(self.lines, time, side="right") - 1


def notes_of(song: GridSong) -> Notes:
    """The notes of a song on the grid."""
    of_track = [track.notes for track in song.tracks]
    starts = song.bars.start_ticks // STEP_TICKS
    joined = {
        name: np.concatenate([np.zeros(0, np.int64), *(notes[name] for notes in of_track)])
        for name in ("bar", "step", "duration", "pitch")
    }
    onset = starts[joined["bar"]] + joined["step"]
    program = np.repeat([track.program for track in song.tracks], [len(notes) for notes in of_track])
    begins = np.append(song.bars.part == 0, True)
    return Notes(onset, onset + joined["duration"], joined["pitch"], program.astype(np.int64), starts[begins])
