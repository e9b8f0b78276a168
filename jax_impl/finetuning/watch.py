"""When a model that is tuned to a handful of songs has learned enough of them: its loss on those held out rises, or it
begins to write them out.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx

from configs import EvaluateConfig, TrainConfig, presets
from jax_impl.evaluation import copies, samples
from jax_impl.evaluation.evaluate import first_bars
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.sampling.sample import Sampler
from jax_impl.training import metrics
from jax_impl.training.checkpoint import load_model
from jax_impl.training.found import Found
from tokenizer.dataset.songs import Dataset
from tokenizer.tokens import fields
from tokenizer.tokens.fields import TokenFields

SAMPLES = EvaluateConfig(samples=4, bars=16)


class Watcher:
    """A Watch of train. What its songs have of the training songs is measured as `evaluate` does."""

    def __init__(self, start: Found, dataset: Dataset, settings: TrainConfig):
        self._path = settings.output_dir / metrics.FILE
        self._task, self._graph = samples.task(start, SAMPLES)[0], abstract_model(start.record.model_config)[0]
        self._index = copies.open_index(dataset)
        held_out = [first_bars(song, SAMPLES.bars) for song in dataset["validation"]]
        before = self._written(load_model(start.run_dir, start.record.step)[0])
        self._usual = max(self._known(held_out), self._known(before))

    def __call__(self, step: int, loss: float, parameters: Any) -> str | None:
        lines = metrics.read(self._path)
        losses = [line["loss"] for line in lines if line["kind"] == "validation" and line["step"] <= step]
        if is_stalled(losses, presets.FINETUNE_PATIENCE):
            return f"the loss of the songs held out has not fallen for {presets.FINETUNE_PATIENCE} validations"
        if len(losses) == 1:  # there is no checkpoint yet, and one there must be
            return None
        known = self._known(self._written(nnx.merge(self._graph, parameters)))
        if known > self._usual + presets.FINETUNE_MORE_KNOWN:
            return f"{known:.0%} of the bars that it writes are in your songs, {self._usual:.0%} are usual"
        return None

    def _written(self, model: MuseFormer) -> list[TokenFields]:
        return [fields.compute(song.ids) for song in Sampler(model, self._task).samples()]

    def _known(self, songs: Sequence[TokenFields]) -> float:
        """Of the bars of these songs the share that a training song has, in the mean of songs with bars that count."""
        shares = [self._index.copies(song).bars_known.share for song in songs]
        return float(np.mean([share for share in shares if share is not None] or [0.0]))


def is_stalled(losses: Sequence[float], patience: int) -> bool:
    """Whether none of so many last losses is below those before."""
    return len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
