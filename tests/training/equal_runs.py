"""Two runs compared bit by bit, of which one was stopped."""

import os
from pathlib import Path

import jax
import numpy as np

from jax_impl.training import metrics
from jax_impl.training.checkpoint import Checkpoints, on_default_device
from jax_impl.training.progress import Progress
from jax_impl.training.step import make_step
from tests.runs import MODEL, config

TIMES = {"tokens_per_second", "mfu", "input_wait", "seconds"}  # what differs between equal runs


def arrays(run: Path, step: int) -> list[np.ndarray]:
    """Parameters and optimizer state of a checkpoint."""
    settings = config(Path(), run)
    abstract = on_default_device(jax.eval_shape(make_step(MODEL, settings, total_steps=8).initialize))
    with Checkpoints(run, keep_last=None) as checkpoints:
        state = checkpoints.restore(step, abstract)
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.parameters, state.optimizer))]


def lines(run: Path) -> list[dict]:
    return [
        {name: value for name, value in record.items() if name not in TIMES}
        for record in metrics.read(run / metrics.FILE)
    ]


def assert_equal_runs(run: Path, other: Path, step: int = 8) -> None:
    """step: the last one."""
    for mine, theirs in zip(arrays(run, step), arrays(other, step), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert lines(run) == lines(other)


def send_after(monkeypatch, step: int, number: int) -> None:
    """This process gets the signal while it handles the metrics of that step, once."""
    handle = Progress.step

    def then_signal(self, at: int, measured) -> None:
        handle(self, at, measured)
        if at == step:
            monkeypatch.setattr(Progress, "step", handle)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Progress, "step", then_signal)
