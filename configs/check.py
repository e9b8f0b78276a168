"""What `check` calls audibly changed and damaged; the field names are its flags, the comments their help."""

from dataclasses import dataclass

from configs import ranges
from configs.data import Pedal


@dataclass(frozen=True)
class CheckConfig:
    """How files are read, and from where on a song on the grid is no longer the song: of each pair of limits, beyond
    the first it is audibly changed, beyond the second damaged. Raises InputError naming the flag that makes no sense.
    """

    pedal: Pedal = "extend"  # sustain pedal: notes ring until it lifts or their pitch is struck again, or ignore it
    strict: bool = False  # files that are damaged count as unreadable, even where they can be read all the same
    moved_ms: float = 20.0  # a note that is moved by more milliseconds is counted
    silent_bars: int = 32  # more silent bars in a row are named
    audible_moved: float = 0.02  # share of the notes that are moved by more than --moved-ms
    damaged_moved: float = 0.25
    audible_merged: float = 0.002  # share of the notes that meet another of their pitch on a step, and are lost
    damaged_merged: float = 0.05
    audible_cut: float = 0.01  # share of all sounding time that is lost where notes are longer than can be said
    damaged_cut: float = 0.25
    audible_seconds: float = 0.01  # by how much the song lasts longer or shorter, of its length
    damaged_seconds: float = 0.1

    def __post_init__(self) -> None:
        ranges.check(self)
