"""The loader: batches of packed rows, in an order that is a pure function of (dataset, config),
from any position on.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from multiprocessing import resource_tracker

import grain
import numpy as np
from absl import flags

from configs import DataConfig, InputError
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.loading.packing import Plan, Rows
from tokenizer.dataset.files import Split
from tokenizer.dataset.songs import Dataset, Songs
from tokenizer.dataset.workers import ctrl_c_held_back, end_with_parent

ENDLESS = 1 << 40  # batches; more than any run takes
PREFETCH_BATCHES = 4  # per worker


class BatchSource:
    """Random access to the batches of a split. Training: epoch after epoch without end, an epoch's last rows share a
    batch with the next epoch's first. Validation: epoch 0 once, not augmented, the last batch filled up with empty
    rows. Each host takes its rows of every global batch, so that together they take each row once.
    """

    def __init__(
        self,
        dataset: Dataset,
        config: DataConfig,
        split: Split,
        planned: dict[int, Rows] | None = None,
        first_rows: Sequence[int] = (0,),
    ):
        """first_rows: number of the first row of each epoch, as far as that is known; the others are planned."""
        self.dataset, self.config, self.split = dataset, config, split
        augment = config.augment if split == "train" else None
        # The plan of all rows; this process takes its part of them.
        self.plan = plan_of(dataset[split], replace(config, augment=augment, part=0, parts=1))
        self.plan.planned |= planned or {}
        self.first_rows = list(first_rows)

    def __reduce__(self):  # workers need not plan again
        return _in_worker, (self.dataset, self.config, self.split, self.plan.planned, self.first_rows)

    def __len__(self) -> int:
        return ENDLESS if self.split == "train" else -(-len(self.plan.rows(0)) // self.config.batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Batch [B, T]; for training this process's part of it, [B / parts, T]."""
        first, size = int(index) * self.config.batch_size, self.config.batch_size
        if self.split == "train":  # the order of rows is the same for any number of parts
            size //= self.config.parts
            first += self.config.part * size
        return stack_rows([self._row(number) for number in range(first, first + size)])

    def with_first_rows(self, index: int) -> tuple[Batch, np.ndarray]:
        """The batch, and the first rows of the epochs that have begun with it."""
        batch, first = self[index], int(index) * self.config.batch_size
        return batch, np.array([row for row in self.first_rows if row <= first])

    def _row(self, number: int) -> Batch:
        if self.split == "validation":
            rows = len(self.plan.rows(0))
            return self.plan.row(0, number) if number < rows else pack_row([], self.config.max_seq_len)
        while number >= self.first_rows[-1]:
            epoch = len(self.first_rows) - 1
            self.first_rows.append(self.first_rows[-1] + len(self.plan.rows(epoch)))
        epoch = int(np.searchsorted(self.first_rows, number, side="right")) - 1
        return self.plan.row(epoch, number - self.first_rows[epoch])


def _in_worker(*arguments) -> BatchSource:
    """What a source becomes in another process, which is not to outlive the one that it loads for."""
    end_with_parent()
    return BatchSource(*arguments)


class Loader:
    """Iterator of Batch [B, T] of numpy arrays, or this process's rows of them. Its position is the number of batches
    taken, whatever the number of workers and processes, and where the epochs so far begin, which spares planning them
    again.

    close() ends its workers; a `with` block does.
    """

    def __init__(self, source: BatchSource):
        self._source = source
        self._batches = None
        self.set_state({"batches": 0, "first_rows": [0]})

    def __iter__(self) -> "Loader":
        return self

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._batches is not None:
            self._batches.close()

    def __next__(self) -> Batch:
        with ctrl_c_held_back():  # training, which handles it, still needs its workers to finish its step
            batch, first_rows = next(self._batches)
        self._position, self._first_rows = self._position + 1, first_rows.tolist()
        return batch

    def get_state(self) -> dict:
        """For a checkpoint: what set_state needs to go on with the very next batch."""
        return {"batches": self._position, "first_rows": self._first_rows}

    def set_state(self, state: dict) -> None:
        self.close()
        self._position, self._first_rows = state["batches"], state["first_rows"]
        self._source.first_rows = list(self._first_rows)
        batches = grain.MapDataset.range(self._position, len(self._source)).map(self._source.with_first_rows)
        workers = self._source.config.num_workers
        threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCH_BATCHES)
        iterated = batches.to_iter_dataset(threads)
        if workers:
            resource_tracker.ensure_running()  # its start would lift the block of Ctrl-C
            if not flags.FLAGS.is_parsed():  # grain's workers read absl flags, which only absl programs parse
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=PREFETCH_BATCHES)
            iterated = iterated.mp_prefetch(options)
        self._batches = iter(iterated)


def loader(dataset: Dataset, config: DataConfig, split: Split) -> Loader:
    """Batches of a split: endless for training, one pass for validation. Raises InputError where a row holds no bar of
    any song.
    """
    source = BatchSource(dataset, config, split)
    if not len(source.plan.rows(0)):  # what cannot work fails here and not in a worker
        raise InputError(
            f"{dataset.folder}: no {split} song is in the first epoch: by the weights of its mixture an epoch has "
            f"{dataset[split].weight.sum():.3f} songs; raise them"
        )
    source[0]
    return Loader(source)


def rows_per_epoch(dataset: Dataset, config: DataConfig, split: Split) -> int:
    """Rows of the first epoch; another packs the same songs a little differently."""
    return len(plan_of(dataset[split], config).rows(0))


@lru_cache(maxsize=2)
def plan_of(songs: Songs, config: DataConfig) -> Plan:
    """One for all who ask for the same: planning takes seconds where there are many songs."""
    return Plan(songs, config)
