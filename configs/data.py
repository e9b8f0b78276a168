"""How songs are stored (dataset.prepare, augment), and how they become rows of a batch (loading)."""

from dataclasses import asdict, dataclass
from typing import Literal

from configs import ranges
from configs.errors import InputError

Pedal = Literal["extend", "ignore"]
PEDAL: Pedal = "extend"  # wherever files are read and nobody says otherwise
Align = Literal["auto", "keep", "off"]
ALIGN: Align = "auto"  # likewise
# Fields of PrepareConfig that say how the work is done, not what the dataset holds.
EXECUTION = ("workers", "engine", "shard", "overwrite")


@dataclass(frozen=True)
class PrepareConfig:
    """How a dataset is made. Raises InputError naming the flag that makes no sense. Limits are off by default; v1.2.1's
    were bars 16 to 10000, notes 32 to 100000, at least 8 pitches, 10 to 1800 seconds, and at most 0.15 of the notes
    across a bar line. Bars are whole measures, however long.
    """

    # Share of the songs, chosen by their content, that is held out: one at least, but one song alone is trained on; 0:
    # none
    validation_fraction: float = 0.05
    test_fraction: float = 0.0  # share of the songs, chosen likewise, that is kept for a last test (0: no such split)
    songs_per_shard: int = 1024  # songs of one Arrow file
    workers: int = 0  # processes that read and tokenize (0: one per core)
    duplicates: Literal["exact", "transposed"] = "exact"  # what is dropped: the same notes, or the same in any key too
    min_bars: int = 0  # songs with fewer are left out
    max_bars: int | None = None  # songs with more are left out
    min_notes: int = 1  # songs with fewer are left out
    max_notes: int | None = None  # songs with more are left out
    min_pitches: int = 0  # songs with fewer different pitches are left out
    min_seconds: float = 0.0  # shorter songs are left out
    max_seconds: float | None = None  # longer songs are left out
    max_crossing: float | None = None  # songs of which a larger share of notes sounds across a bar line are left out
    max_silent_bars: int | None = None  # songs with more silent bars in a row, of all tracks together, are left out
    pedal: Pedal = PEDAL  # sustain pedal: notes ring until it lifts or their pitch is struck again, or ignore it
    # where beats are put: where the music has them, and songs in which they are not heard well enough are left out
    # (auto) or read by the best guess (keep); or where each file says (off)
    align: Align = ALIGN
    strict: bool = False  # leave out files that are damaged, even where they can be read all the same
    shard: str = "1/1"  # I/N: only this part of the files, chosen by content, for N machines; then `merge` the datasets
    engine: Literal["local", "ray"] = "local"  # processes of this machine, or a Ray cluster that sees the same folders
    overwrite: bool = False  # move aside what is in the folder of the dataset, if it is something else

    def __post_init__(self) -> None:
        ranges.check(self)
        for name in ("bars", "notes", "seconds"):
            least, most = vars(self)[f"min_{name}"], vars(self)[f"max_{name}"]
            if most is not None and most < least:
                raise InputError(f"--min-{name} {least} and --max-{name} {most} leave no song")
        if self.validation_fraction + self.test_fraction >= 1:
            raise InputError(
                f"--validation-fraction {self.validation_fraction} and --test-fraction {self.test_fraction} leave no "
                "song to train on; together they must be below 1"
            )
        number, _, count = self.shard.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise InputError(f"--shard must be I/N with I from 1 to N, such as 2/8, got {self.shard}")

    def content(self) -> dict:
        """The fields that decide what the dataset holds; without a test split it is one of before there was any."""
        without = EXECUTION if self.test_fraction else (*EXECUTION, "test_fraction")
        values = {name: value for name, value in asdict(self).items() if name not in without}
        return values | {"min_seconds": self.min_seconds or 0}  # as it was always written, not 0.0


@dataclass(frozen=True)
class AugmentConfig:
    """Shifts of a song, each drawn evenly from those that keep all its tokens in range."""

    transpose: tuple[int, int] = (-5, 6)  # semitones of the pitched tracks and of the chords, both ends included
    velocity: tuple[int, int] = (-3, 3)  # bins of 4 MIDI velocities
    tempo: tuple[int, int] = (-2, 2)  # bins of 6 %

    def __post_init__(self) -> None:
        ranges.check(self, is_flag=False)
        for name, (least, most) in vars(self).items():
            if least > most:
                raise InputError(f"AugmentConfig.{name} must be (least, most), got ({least}, {most})")


@dataclass(frozen=True)
class DataConfig:
    """Static shape of a batch and the order of songs: batch number i is a pure function of this, the dataset and i.

    max_seq_len: tokens of a row (T); max_spans: summaries of a row (M); batch_size: rows of a batch (B).
    max_bars: longest window that a long song is cropped to, in bars as a model counts them: a long measure is two.
    seed: of the shuffle, the crop windows and the augmentation.
    num_workers: loader processes; 0 loads in the training process.
    augment: how training songs are varied (None: not).
    reorder, fill: shares of the training songs that an epoch shows with their tracks in another order, and with bars of
    some tracks hidden and said at the end (see loading/tasks.py).
    part, parts: of the training rows of each batch, this process loads the equal part number `part` of `parts`, B /
    parts rows.
    """

    max_seq_len: int
    max_spans: int
    batch_size: int
    max_bars: int
    seed: int
    num_workers: int
    augment: AugmentConfig | None = None
    reorder: float = 0.0
    fill: float = 0.0
    part: int = 0
    parts: int = 1

    def __post_init__(self) -> None:
        ranges.check(self, is_flag=False)
        if self.part >= self.parts:
            raise InputError(f"DataConfig: there is no part {self.part} of {self.parts}, counted from 0")
