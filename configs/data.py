"""How songs are stored, and how they become rows of a batch."""

from dataclasses import dataclass

from configs.errors import InputError


@dataclass(frozen=True)
class PrepareConfig:
    """How a dataset is made. Raises InputError naming the flag that makes no sense."""

    validation_fraction: float = 0.05  # of the songs, chosen by their content; one at least
    songs_per_shard: int = 1024  # songs of one Arrow file
    workers: int = 0  # processes that read and tokenize (0: one per core)

    def __post_init__(self) -> None:
        if not 0 <= self.validation_fraction < 1:
            raise InputError(f"--validation-fraction must be at least 0 and below 1, got {self.validation_fraction}")
        if self.songs_per_shard < 1:
            raise InputError(f"--songs-per-shard must be at least 1, got {self.songs_per_shard}")
        if self.workers < 0:
            raise InputError(f"--workers must be 0 (one per core) or more, got {self.workers}")


@dataclass(frozen=True)
class DataConfig:
    """Static shape of a batch and the order of songs: batch number i is a pure function of this, the dataset and i.

    max_seq_len: tokens of a row (T); max_spans: summaries of a row (M); batch_size: rows of a batch (B).
    max_bars: longest window of bars a long song is cropped to.
    seed: of the shuffle and the crop windows.
    num_workers: loader processes; 0 loads in the training process.
    part, parts: of the training rows of each batch, this process loads the equal part number `part` of `parts`, B / parts rows.
    """

    max_seq_len: int
    max_spans: int
    batch_size: int
    max_bars: int
    seed: int
    num_workers: int
    part: int = 0
    parts: int = 1
