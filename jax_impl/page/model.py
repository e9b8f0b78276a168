"""The one model of the server: found and read once, in memory for as long as the server runs; its programs compiled
ahead, so that the first bar of a song that nobody has seen comes at once.
"""

from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax

from configs import Constraints, SampleConfig
from jax_impl.device import device
from jax_impl.evaluation import known
from jax_impl.evaluation.copies import Index, open_index
from jax_impl.sampling import sample
from jax_impl.sampling.sample import Sampler
from jax_impl.sampling.task import Task, task_of_record
from jax_impl.sampling.weights import Weights
from jax_impl.training.found import Found, find, step_named
from tokenizer.tokens.given import Given, Prompt
from tokenizer.tokens.room import tokens_per_bar

SHORTEST = 2048  # tokens of a song for which there is room; more is a power of two: so few programs are needed


@dataclass(frozen=True, eq=False)
class Model:
    """weights: of the checkpoint that was found, which are read meanwhile."""

    found: Found
    weights: Future[Weights]

    @classmethod
    def of(cls, run: Path | None, checkpoint: str) -> "Model":
        """Raises InputError where there is none."""
        found = find(run, step_named(checkpoint))
        return cls(found, sample.read(found, device.sampling_compute()))

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def step(self) -> int:
        return self.found.record.step

    @property
    def fills(self) -> bool:
        """Whether it can write bars inside of a song."""
        return self.found.record.has_seen_fills

    @cached_property
    def parameters(self) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(self.weights.result().model))

    @cached_property
    def knows_training_songs(self) -> bool:
        return known.trained_on(self.found.record) is not None

    @cached_property
    def copies(self) -> Index:
        """What finds passages of the songs that it learned from, where these are at hand. What they hold is gathered
        once, which takes a while. Raises InputError, OSError and ValueError.
        """
        return open_index(known.trained_on(self.found.record), progress=False)

    def room(self, program: int, bars: int) -> int:
        """Tokens of a track that goes on for so many bars, and as much of what comes before them."""
        return _rounded(2 * tokens_per_bar(program) * bars)

    def task(self, config: SampleConfig, wanted: Constraints, prompt: Prompt | Given | None) -> Task:
        """Raises InputError."""
        task = task_of_record(self.found.record, config, wanted, prompt)
        room = _rounded(task.config.max_length)
        if task.config.max_length == room or task.parts:
            return task
        return task_of_record(self.found.record, replace(config, max_length=room), wanted, prompt)

    def sampler(self, task: Task) -> Sampler:
        given = task.whole.given is not None
        room = self.found.record.train.get("max_seq_len", 0) if given and task.cached else 0
        return Sampler(self.found, task, self.weights, min(room, task.config.max_length))


def _rounded(tokens: int) -> int:
    return max(1 << (tokens - 1).bit_length(), SHORTEST)
