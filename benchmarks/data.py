"""How fast the loader packs, and how full its rows are.

    python benchmarks/data.py --songs ../shared/data/midi

Real tokens a second that one process hands out, and the share of real tokens in the rows of an epoch, at several lengths; time and memory
of the plan of an epoch of 450 000 songs.
Writes benchmarks/results/data.json.
"""

import argparse
import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from report import write_report

from configs import AugmentConfig, DataConfig, PrepareConfig
from jax_impl import data
from jax_impl.packing import WHOLE, Plan
from tokenizer.dataset import Dataset, Songs
from tokenizer.prepare import prepare

BATCHES = 100


def throughput(dataset: Dataset, config: DataConfig) -> float:
    """Real tokens a second, after the first batch."""
    with data.loader(dataset, config, "train") as batches:
        next(batches)
        start = time.perf_counter()
        tokens = sum(int((batch.document > 0).sum()) for batch in itertools.islice(batches, BATCHES))
        return tokens / (time.perf_counter() - start)


class ManySongs:
    """Sizes of 450 000 songs, those of the dataset again and again: what a plan of that many reads."""

    def __init__(self, songs: Songs, count: int = 450_000):
        self._songs = songs
        for name in ("tokens", "spans", "bars", "tracks", "weight"):
            setattr(self, name, np.resize(getattr(songs, name), count))

    def __len__(self) -> int:
        return len(self.tokens)

    def bar_sizes(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self._songs.bar_sizes(index % len(self._songs))


def anonymous_megabytes() -> int:
    """Memory of this process that no file stands behind (what is mapped from shards can be dropped at any time)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssAnon"))


def packing(songs: Songs, length: int, max_spans: int) -> dict:
    """How full the rows of two epochs are, as they are and not as they were planned, the last row of an epoch too."""
    config = DataConfig(max_seq_len=length, max_spans=max_spans, batch_size=2, max_bars=2048, seed=0, num_workers=0)
    plan = Plan(songs, config)
    rows = [plan.row(epoch, index) for epoch in range(2) for index in range(len(plan.rows(epoch)))]
    pieces = plan.rows(0).pieces
    return {
        "max_spans": max_spans,
        "rows_per_epoch": len(plan.rows(0)),
        "share_of_real_tokens": round(float(np.mean([(row.document > 0).mean() for row in rows])), 4),
        "most_that_its_summaries_allow": round(min(1.0, float(songs.tokens.sum() / length / (songs.spans.sum() / max_spans))), 4),
        "songs_kept_whole": round(float((pieces["n_bars"] == WHOLE).sum() / len(songs)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    folder = parser.parse_args().songs
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        prepare([folder], Path(temporary) / "songs", PrepareConfig())
        dataset = Dataset(Path(temporary) / "songs")
        songs = dataset["train"]
        for length in (1024, 8192, 24576):
            result = packing(songs, length, length * 3 // 16)
            config = DataConfig(length, length * 3 // 16, batch_size=2, max_bars=2048, seed=0, num_workers=0)
            result["tokens_per_second_in_process"] = round(throughput(dataset, config))
            result["tokens_per_second_augmented"] = round(throughput(dataset, replace(config, augment=AugmentConfig())))
            result["tokens_per_second_one_worker"] = round(throughput(dataset, replace(config, augment=AugmentConfig(), num_workers=1)))
            results[f"max_seq_len {length}"] = result
        results["max_seq_len 8192, max_spans 1024"] = packing(songs, 8192, 1024)
        before, start = anonymous_megabytes(), time.perf_counter()
        plan = Plan(ManySongs(songs), DataConfig(8192, 1536, 2, 2048, 0, 0))
        rows = len(plan.rows(0))
        results["plan_of_450000_songs"] = {
            "rows": rows,
            "seconds": round(time.perf_counter() - start, 1),
            "megabytes": anonymous_megabytes() - before,
        }
    write_report("data", results)


if __name__ == "__main__":
    main()
