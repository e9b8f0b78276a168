"""What a model finds hard: its loss on songs that were held out, by groups of targets, beside guesses.

The rows are those of its validation: windows as it was trained on, as they are stored. figures.py says what each number
is, groups.py what the groups are, training/guesses.py what a guess knows.
"""

import dataclasses
import itertools
import os
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from configs import ComputeConfig, DataConfig, InputError, TrainConfig
from jax_impl.batch import Batch
from jax_impl.device import device
from jax_impl.evaluation.figures import Losses, costs, seconds_of, summed
from jax_impl.evaluation.groups import added, by_group
from jax_impl.evaluation.logits import graph_of
from jax_impl.loading import loader
from jax_impl.model.museformer import MuseFormer
from jax_impl.training import guesses
from jax_impl.training.checkpoint import load_model
from jax_impl.training.record import Record
from jax_impl.training.step import token_losses
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import Split
from tokenizer.dataset.songs import Dataset

MOST_BATCHES = 64
ROWS = ("max_seq_len", "max_spans", "batch_size", "seed")  # of a TrainConfig, what validation's rows hang on


def losses(
    run: Path | tuple[MuseFormer, Record],
    *,
    dataset: Path | Dataset | None = None,
    checkpoint: int | Literal["best", "latest"] = "best",
    split: Split = "validation",
    max_batches: int = MOST_BATCHES,
) -> Losses:
    """What a run's model loses on songs of a split, in at most so many of the batches that training validates with.

    run: a run's folder, or its model and record as load_model gives them. dataset: None for the one that the run says
    it was trained on. Raises InputError where there is no such dataset, no song in the split, or a token in it that the
    model has not; CheckpointError where the run cannot be read.
    """
    if not isinstance(run, tuple | str | os.PathLike):
        raise InputError(f"run must be the path of a training run, or what load_model gives, got {type(run).__name__}")
    if max_batches < 1:
        raise InputError(f"max_batches must be at least 1, got {max_batches}")
    model, record = run if isinstance(run, tuple) else load_model(run, checkpoint)
    songs = _dataset(dataset, record)
    _check_split(songs, split, model)
    config = rows_config(model, record)
    compute = dataclasses.replace(device.sampling_compute(), layer_rows=device.rows_at_once(config.max_seq_len))
    program = partial(_nats, graph=graph_of(model.config), max_spans=config.max_spans, compute=compute)
    parameters = nnx.state(model)
    of_guesses = {
        "unigram": guesses.unigram(songs["train"].token_counts()),
        "bigram": guesses.bigram(guesses.count_pairs(songs["train"])),
    }
    parts, seconds = [], 0.0
    with loader.loader(songs, config, split) as batches:
        for batch in itertools.islice(batches, max_batches):
            nats, sampled = map(np.asarray, program(parameters, batch))
            parts.append(by_group(costs(nats, sampled, batch, of_guesses), batch))
            seconds += seconds_of(batch)
    return summed(added(parts), seconds)


# ---------------------------------------------------------------- what is read


def rows_config(model: MuseFormer, record: Record) -> DataConfig:
    """The rows that the run validates with; of a run that does not say it, those of the defaults."""
    said = {name: record.train[name] for name in ROWS if name in record.train}
    config = TrainConfig(Path(), Path(), **said)
    return DataConfig(
        max_seq_len=config.max_seq_len,
        max_spans=config.row_spans,
        batch_size=config.batch_size,
        max_bars=model.config.max_bars,
        seed=config.seed,
        num_workers=0,
    )


def _dataset(dataset: Path | Dataset | None, record: Record) -> Dataset:
    if isinstance(dataset, Dataset):
        return dataset
    return Dataset(record.dataset_folder() if dataset is None else Path(dataset))


def _check_split(songs: Dataset, split: Split, model: MuseFormer) -> None:
    """Raises InputError where nothing of it can be scored."""
    if not len(songs[split]):
        raise InputError(f"{songs.folder}: no songs in the split {split!r}; prepare more songs, or name another split")
    foreign = np.flatnonzero((songs[split].token_counts() > 0) & ~vocab.offered(model.config.vocab_size))
    if len(foreign):
        raise InputError(
            f"{songs.folder}: its songs have the token {vocab.NAMES[foreign[0]]}, which this model of "
            f"{model.config.vocab_size} tokens does not know; train --init-from makes one that does"
        )


@partial(jax.jit, static_argnames=("graph", "max_spans", "compute"))
def _nats(
    parameters: Any, batch: Batch, *, graph: nnx.GraphDef, max_spans: int, compute: ComputeConfig
) -> tuple[jax.Array, jax.Array]:
    """float32[B, T] each: nats of each target, and the same as sampled."""
    logits = nnx.merge(graph, parameters)(batch, max_spans=max_spans, compute=compute, dropout_key=None)
    return token_losses(logits, batch, "all"), token_losses(logits, batch, "first")
