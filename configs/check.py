"""What `check` calls audibly changed and damaged; the field names are its flags, the comments their help."""

from dataclasses import dataclass

from configs import ranges
from configs.data import ALIGN, PEDAL, Align, Pedal


@dataclass(frozen=True)
class CheckConfig:
    """How files are read, and from where on a song on the grid is no longer the song: of each pair of limits, beyond
    the first it is audibly changed, beyond the second damaged. Raises InputError naming the flag that makes no sense.
    """

    pedal: Pedal = PEDAL  # sustain pedal: notes ring until it lifts or their pitch is struck again, or ignore it
    # where beats are put: where the music has them, and files in which they are not heard well enough are off grid
    # (auto) or read by the best guess (keep); or where each file says (off)
    align: Align = ALIGN
    strict: bool = False  # files with faults count as unreadable, even where they can be read all the same
    moved_ms: float = 20.0  # a note that is moved by more milliseconds is counted
    silent_bars: int = 32  # more silent bars in a row are named
    audible_moved: float = 0.02  # audibly changed: a larger share of the notes is moved by more than --moved-ms
    damaged_moved: float = 0.25  # damaged: a larger share of them is
    audible_merged: float = 0.002  # audibly changed: a larger share of the notes meets another of its pitch
    damaged_merged: float = 0.05  # damaged: a larger share of them does
    # audibly changed: a larger share of all sounding time is lost, where notes end before their time
    audible_cut: float = 0.01
    damaged_cut: float = 0.25  # damaged: a larger share of it is
    audible_seconds: float = 0.01  # audibly changed: the song lasts longer or shorter by a larger share of its length
    damaged_seconds: float = 0.1  # damaged: by a larger share than this

    def __post_init__(self) -> None:
        ranges.check(self)
