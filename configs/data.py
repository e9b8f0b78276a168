"""How songs become rows of a batch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataConfig:
    """Static shape of a batch and the order of songs: the rows are a pure function of this, the dataset and (epoch, row).

    max_seq_len: tokens of a row (T); max_spans: summaries of a row (M); batch_size: rows of a batch (B).
    max_bars: longest window of bars a long song is cropped to.
    seed: of the shuffle and the crop windows.
    num_workers: loader processes; 0 loads in the training process.
    """

    max_seq_len: int
    max_spans: int
    batch_size: int
    max_bars: int
    seed: int
    num_workers: int
