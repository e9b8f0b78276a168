"""How fast the loader packs, and how full its rows are.

    python benchmarks/data.py --songs ../shared/data/midi

Real tokens a second that one process hands out, and the share of real tokens in the rows of an epoch, at several lengths.
Writes benchmarks/results/data.json.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

from report import write_report

from configs import DataConfig, PrepareConfig
from jax_impl import data
from jax_impl.packing import Plan
from tokenizer.dataset import Dataset
from tokenizer.prepare import prepare

BATCHES = 200


def throughput(dataset: Dataset, config: DataConfig) -> float:
    """Real tokens a second, after the first batch."""
    with data.loader(dataset, config, "train") as batches:
        next(batches)
        start = time.perf_counter()
        tokens = sum(int((batch.document > 0).sum()) for batch in itertools.islice(batches, BATCHES))
        return tokens / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    folder = parser.parse_args().songs
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        prepare([folder], Path(temporary) / "songs", PrepareConfig())
        dataset = Dataset(Path(temporary) / "songs")
        for length in (1024, 8192, 24576):
            config = DataConfig(max_seq_len=length, max_spans=length // 8, batch_size=2, max_bars=2048, seed=0, num_workers=0)
            rows = Plan(dataset["train"], config).rows(0)
            results[f"max_seq_len {length}"] = {
                "rows_per_epoch": len(rows),
                "share_of_real_tokens": round(sum(piece.tokens for row in rows for piece in row) / (len(rows) * length), 3),
                "tokens_per_second_in_process": round(throughput(dataset, config)),
            }
    write_report("data", results)


if __name__ == "__main__":
    main()
