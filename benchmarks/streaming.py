"""What it costs to find the bars of a song while it is streamed, near its beginning and near its end.

    python benchmarks/streaming.py

A composed song's tokens are handed on eight at a time, as the sampler does. Writes benchmarks/results/streaming.json.
"""

import time

import numpy as np
from report import write_report

from jax_impl.sampling.stream import STRIDE, Bars
from tokenizer.music.composer import compose
from tokenizer.tokens.encode import encode

PARTS, REPEATS = 4, 5


def milliseconds_per_token(ids: np.ndarray) -> list[float]:
    """CPU time, of each of PARTS equal parts of the song."""
    bars, spent = Bars(), np.zeros(len(ids))
    for start in range(0, len(ids), STRIDE):
        began = time.process_time()
        list(bars.push(ids[start : start + STRIDE]))
        spent[start : start + STRIDE] = (time.process_time() - began) / STRIDE
    return [1000 * float(part.mean()) for part in np.array_split(spent, PARTS)]


def main() -> None:
    ids = max((encode(compose(seed)).ids for seed in range(20)), key=len)
    best = np.min([milliseconds_per_token(ids) for _ in range(REPEATS)], axis=0)
    write_report("streaming", {"tokens": len(ids), "ms_per_token_by_quarter": [round(ms, 4) for ms in best.tolist()]})


if __name__ == "__main__":
    main()
