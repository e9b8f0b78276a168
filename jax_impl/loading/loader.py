"""The loader, which training reads: batches of packed rows, in an order that is a pure function of (dataset, config),
from any position on.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from configs import DataConfig, InputError
from jax_impl.batch import Batch, pack_examples, stack_rows
from jax_impl.loading.packing import EpochPlan
from jax_impl.loading.workers import read_ahead, read_in_processes
from tokenizer.dataset.files import Split
from tokenizer.dataset.songs import Dataset, Songs

ENDLESS = 1 << 40  # batches; more than any run takes
START = {"batches": 0, "rows": []}


class BatchSource:
    """Random access to the batches of a split. Training: epoch after epoch without end, an epoch's last rows share a
    batch with the next epoch's first. Any other split: epoch 0 once, as stored, the last batch filled up with empty
    rows. Each host takes its rows of every global batch, so that together they take each row once.
    """

    def __init__(self, dataset: Dataset, config: DataConfig, split: Split, rows: Sequence[int] = ()):
        """rows: of each epoch that is over, which are not planned again."""
        if config.batch_size % config.parts:
            raise InputError(f"a batch of {config.batch_size} rows cannot be shared by {config.parts} parts")
        self.dataset, self.config, self.split = dataset, config, split
        as_stored = {} if split == "train" else {"augment": None, "reorder": 0.0, "fill": 0.0}
        # The plan of all rows; this process takes its part of them.
        self.plan = plan_of(dataset[split], replace(config, **as_stored, part=0, parts=1))
        self.first_rows = [0, *np.cumsum(rows, dtype=int).tolist()]  # of each epoch, as far as they are known

    def __reduce__(self):  # workers need not plan again
        known = {"first_rows": self.first_rows, "planned": self.plan.planned}
        return BatchSource, (self.dataset, self.config, self.split), known

    def __setstate__(self, known: dict) -> None:
        self.first_rows = known["first_rows"]
        self.plan.planned |= known["planned"]

    def __getitem__(self, index: int) -> tuple[Batch, np.ndarray]:
        """Batch and int64[epochs], the rows of each epoch that is over with it: from them another process knows where
        the next begins without planning those before.
        """
        batch = self.batch(index)
        over = np.searchsorted(self.first_rows, (int(index) + 1) * self.config.batch_size, side="right") - 1
        return batch, np.diff(self.first_rows)[:over]

    def __len__(self) -> int:
        return ENDLESS if self.split == "train" else -(-len(self.plan.rows(0)) // self.config.batch_size)

    def batch(self, index: int) -> Batch:
        """Batch [B, T]; for training this process's part of it, [B / parts, T]."""
        first, size = int(index) * self.config.batch_size, self.config.batch_size
        if self.split == "train":  # the order of rows is the same for any number of parts
            self._plan_to(first + size - 1)
            size //= self.config.parts
            first += self.config.part * size
        return stack_rows([self._row(number) for number in range(first, first + size)])

    def _plan_to(self, number: int) -> None:
        """All epochs up to that of this row."""
        while number >= self.first_rows[-1]:
            epoch = len(self.first_rows) - 1
            self.first_rows.append(self.first_rows[-1] + len(self.plan.rows(epoch)))

    def _row(self, number: int) -> Batch:
        if self.split != "train":
            rows = len(self.plan.rows(0))
            return self.plan.row(0, number) if number < rows else pack_examples([], self.config.max_seq_len)
        epoch = int(np.searchsorted(self.first_rows, number, side="right")) - 1
        return self.plan.row(epoch, number - self.first_rows[epoch])


class Loader:
    """Iterator of Batch [B, T] of numpy arrays, or this process's rows of them. Its position is the number of batches
    taken, whatever the number of workers and processes.

    close() ends its workers; a `with` block does.
    """

    def __init__(self, source: BatchSource, state: dict = START, first: Batch | None = None):
        """Goes on from a state; first: the batch there, where it was looked at. From here on the source is for the
        iterator alone, which reads it in another thread or process.
        """
        self.first = first
        self._position, self._rows = state["batches"], np.array(state.get("rows", []), np.int64)
        if workers := source.config.num_workers:
            self._batches = read_in_processes(source, self._position, workers)
        else:
            self._batches = read_ahead(source, self._position)

    def __iter__(self) -> "Loader":
        return self

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._batches.close()
        self._batches = iter(())  # grain's would complain when the interpreter takes it down

    def __next__(self) -> Batch:
        batch, self._rows = next(self._batches)
        self._position += 1
        return batch

    def get_state(self) -> dict:
        """For a checkpoint: what `loader` needs to go on with the very next batch. batches: how many were taken; rows:
        of each epoch that is over, so that none of them is planned again.
        """
        return {"batches": self._position, "rows": self._rows.tolist()}


def loader(dataset: Dataset, config: DataConfig, split: Split, state: dict = START) -> Loader:
    """Batches of a split, from a state on: endless for training, one pass for any other. Raises InputError where a row
    holds no bar of any song.
    """
    # A state written before it had rows: all epochs are planned again
    source = BatchSource(dataset, config, split, state.get("rows", ()))
    return Loader(source, state, source.batch(state["batches"]))  # what cannot work fails here and not in a worker


def rows_per_epoch(dataset: Dataset, config: DataConfig, split: Split) -> int:
    """Rows of the first epoch; another packs the same songs a little differently."""
    return len(plan_of(dataset[split], config).rows(0))


@lru_cache(maxsize=2)
def plan_of(songs: Songs, config: DataConfig) -> EpochPlan:
    """One for all who ask for the same: planning takes seconds where there are many songs."""
    return EpochPlan(songs, config)
