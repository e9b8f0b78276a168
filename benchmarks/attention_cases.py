"""What the attention benchmark runs, and how its parts, each a process of its own, say what they found."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import attention_rows
import numpy as np

from configs import MASK_RULES
from jax_impl.batch import Batch
from jax_impl.model import masks

HEAD_DIM = 64
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
        """Summaries of a row."""
        return -(-self.length // attention_rows.TOKENS_PER_SPAN // masks.SLOTS) * masks.SLOTS

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


def cases(gpu: bool) -> list[Case]:
    return [Case(rule, length) for length in (LENGTHS if gpu else SMALL_LENGTHS) for rule in MASK_RULES]


def rows_and_heads(gpu: bool) -> tuple[int, int]:
    """Heads of the large model."""
    return (ROWS, 12) if gpu else (1, 2)


def first_rows(path: Path, length: int, rows: int) -> Batch:
    with np.load(path) as kept:
        return Batch(*(kept[f"{length}/{name}"][:rows] for name in Batch._fields))


def tell(findings: Path, *place: str, value: object) -> None:
    """Adds a finding, for the report's place results[place[0]][place[1]]..., to a file that outlives this process."""
    with findings.open("a", encoding="utf-8") as file:
        file.write(json.dumps([place, value]) + "\n")


def attempt(findings: Path, *place: str, measure: Callable[[], object]) -> None:
    """Tells what measure() returns, if anything; or that it failed, and how, for the next measurement may not."""
    try:
        value = measure()
    except (
        Exception
    ) as error:  # out of memory, a kernel that does not compile: whatever it is, it belongs to the report
        value = " / ".join(place) + f": {type(error).__name__}: {' '.join(str(error).split())[:500]}"
        place = "failed", f"{time.time():.3f}"
    if value is not None:
        tell(findings, *place, value=value)


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
