"""What the attention benchmark runs, and how it is timed."""

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from configs import MASK_RULES
from configs.train import SPANS_PER_TOKEN
from jax_impl.attention import BlockMask
from jax_impl.batch import Batch
from jax_impl.model import masks

HEAD_DIM = 64
CALLS = ("update", "summarize")  # of a layer, the one that takes the time first
LENGTHS = (8192, 2048, 16384, 24576)  # in this order, should the time run out
SMALL_LENGTHS = (256, 512)
CHECKED_LENGTH, SMALL_CHECKED_LENGTH = 2048, 128
STORED_LENGTHS = sorted({*LENGTHS, *SMALL_LENGTHS, CHECKED_LENGTH, SMALL_CHECKED_LENGTH})
ROWS = 4  # that are kept of each length
ROUND_SECONDS, ROUNDS, MOST_CALLS = 0.04, 7, 50


@dataclass(frozen=True)
class Case:
    rule: str
    length: int

    @property
    def slots(self) -> int:
        """Summaries of a row, as training has them."""
        return -(-int(self.length * SPANS_PER_TOKEN) // masks.SLOTS) * masks.SLOTS

    @property
    def place(self) -> tuple[str, str, str]:
        """Where its timings stand in the report."""
        return "timings", self.rule, str(self.length)

    def queries(self, call: str) -> int:
        return self.slots if call == "summarize" else self.length

    def arrays(self, call: str, rows: int, heads: int) -> list[np.ndarray]:
        """q, k, v and the gradient of the output, fp32; the same in every process."""
        random = np.random.default_rng([self.length, call == "update"])
        keys = self.slots + self.length
        shapes = [(rows, heads, length, HEAD_DIM) for length in (self.queries(call), keys, keys, self.queries(call))]
        return [random.standard_normal(shape, np.float32) for shape in shapes]


def cases(gpu: bool, lengths: Sequence[int] = ()) -> list[Case]:
    """lengths: only these."""
    return [Case(rule, length) for length in lengths or (LENGTHS if gpu else SMALL_LENGTHS) for rule in MASK_RULES]


def rows_and_heads(gpu: bool) -> tuple[int, int]:
    """Heads of the large model."""
    return (ROWS, 12) if gpu else (1, 2)


def first_rows(path: Path, length: int, rows: int) -> Batch:
    with np.load(path) as kept:
        return Batch(*(kept[f"{length}/{name}"][:rows] for name in Batch._fields))


@functools.partial(jax.jit, static_argnums=(1, 2))
def both_masks(batch: Batch, rule: str, slots: int) -> dict[str, BlockMask]:
    """By CALLS."""
    data = masks.summaries(batch, MASK_RULES[rule], slots)
    return {
        "update": masks.update_mask(batch, data, MASK_RULES[rule]),
        "summarize": masks.summarize_mask(batch, data, MASK_RULES[rule]),
    }


def seconds(run: Callable[[], object], wait: Callable[[object], None]) -> float:
    """Of one call: the median over rounds of calls in a row that are waited for together, as many as fill
    ROUND_SECONDS.
    """
    wait(run())  # compiles
    wait(run())
    start = time.perf_counter()
    wait(run())
    calls = min(MOST_CALLS, max(1, round(ROUND_SECONDS / (time.perf_counter() - start))))
    measured = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            last = run()
        wait(last)
        measured.append((time.perf_counter() - start) / calls)
    return float(f"{statistics.median(measured):.4g}")


def sample(out: np.ndarray) -> list[float]:
    """A few of an output's values, by which two implementations are seen to compute the same on the same masks."""
    return [round(float(x), 4) for x in out.reshape(-1, HEAD_DIM)[:: max(1, out.size // HEAD_DIM // 512), 0]]
