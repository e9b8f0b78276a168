"""How fast the loader packs, and how full its rows are.

    python benchmarks/data.py --songs ../shared/data/midi

Real tokens a second that one process hands out, and the share of real tokens in the rows of an epoch, at several
lengths, of songs as they are stored and of half of them in another order and half with hidden bars; time and memory of
the plan of an epoch of 450 000 songs, likewise; and for each folder of songs, what room for summaries
their rows need. Writes benchmarks/results/data.json.
"""

import argparse
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from report import write_report

from configs import AugmentConfig, DataConfig, PrepareConfig
from configs.train import SPANS_PER_TOKEN
from jax_impl.loading import loader
from jax_impl.loading.packer import WHOLE
from jax_impl.loading.packing import EpochPlan
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.shards import Rows
from tokenizer.dataset.songs import Dataset, Songs

BATCHES = 40
TASKS = dict(reorder=0.5, fill=0.5)


def throughput(dataset: Dataset, config: DataConfig) -> float:
    """Real tokens a second, after the first batch."""
    with loader.loader(dataset, config, "train") as batches:
        next(batches)
        start = time.perf_counter()
        tokens = sum(int((batch.document > 0).sum()) for batch in itertools.islice(batches, BATCHES))
        return tokens / (time.perf_counter() - start)


def many_songs(songs: Songs, count: int = 450_000) -> Songs:
    """The songs again and again, in shards of about a thousand."""
    table = pa.Table.from_batches([rows.batch for rows in songs._shards] * -(-1024 // len(songs)))
    shard = Rows(table.combine_chunks().to_batches()[0], Path())
    shards = -(-count // len(shard))
    return Songs([shard] * shards, [1.0] * shards, songs.token_counts())


def anonymous_megabytes() -> int:
    """Memory of this process that no file stands behind (what is mapped from shards can be dropped at any time)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssAnon"))


@contextmanager
def memory() -> Iterator[dict]:
    """Megabytes that the process has more than before: at most, and in the end."""
    before, done, result = anonymous_megabytes(), threading.Event(), {"megabytes_at_most": 0}

    def watch() -> None:
        while not done.wait(0.02):
            result["megabytes_at_most"] = max(result["megabytes_at_most"], anonymous_megabytes() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield result
    done.set()
    watcher.join()
    result["megabytes_kept"] = anonymous_megabytes() - before


def planning(songs: Songs, length: int, **tasks: float) -> dict:
    """Of one epoch, as each worker does it."""
    config = DataConfig(length, int(length * SPANS_PER_TOKEN), 2, 2048, 0, 0, **tasks)
    with memory() as result:
        start, cpu = time.perf_counter(), time.process_time()
        rows = EpochPlan(songs, config).rows(0)
        times = {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    share = float(rows.pieces["tokens"].sum() / length / len(rows))
    bars_a_song = round(float(songs.bars.mean()))
    return {
        "songs": len(songs),
        "bars_a_song": bars_a_song,
        "rows": len(rows),
        "planned_share": round(share, 4),
    } | (times | result)


def summaries(folder: Path, temporary: Path) -> dict:
    """How full the rows of one kind of songs are, and how many of their summaries are used, where there is room for so
    many per token.
    """
    prepare([folder], temporary / folder.name, PrepareConfig())
    dataset = Dataset(temporary / folder.name)["train"]
    songs = many_songs(dataset, 1000)  # so that the last row counts little
    results = {"songs": len(dataset), "tokens_per_span": round(float(dataset.tokens.sum() / dataset.spans.sum()), 1)}
    for length in (2048, 8192, 16384, 24576):
        for name, share in (("1/8", 1 / 8), ("3/16", 3 / 16), ("1/4", 1 / 4)):
            max_spans = int(length * share)
            plan = EpochPlan(songs, DataConfig(length, max_spans, batch_size=2, max_bars=2048, seed=0, num_workers=0))
            rows = [plan.row(0, index) for index in range(min(len(plan.rows(0)), 48))]
            results[f"max_seq_len {length}, {name} of it"] = {
                "share_of_real_tokens": round(float(np.mean([(row.document > 0).mean() for row in rows])), 3),
                "share_of_used_summaries": round(float(np.mean([(row.span.max() + 1) / max_spans for row in rows])), 3),
            }
    return results


def packing(songs: Songs, config: DataConfig) -> dict:
    """How full the rows of two epochs are, as they are and not as they were planned, the last row of an epoch too."""
    length, max_spans = config.max_seq_len, config.max_spans
    plan = EpochPlan(songs, config)
    rows = [plan.row(epoch, index) for epoch in range(2) for index in range(len(plan.rows(epoch)))]
    pieces = plan.rows(0).pieces
    return {
        "max_spans": max_spans,
        "rows_per_epoch": len(plan.rows(0)),
        "share_of_real_tokens": round(float(np.mean([(row.document > 0).mean() for row in rows])), 4),
        "most_that_its_summaries_allow": round(
            min(1.0, float(songs.tokens.sum() / length / (songs.spans.sum() / max_spans))), 4
        ),
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
            config = DataConfig(
                length, int(length * SPANS_PER_TOKEN), batch_size=2, max_bars=2048, seed=0, num_workers=0
            )
            with_tasks = replace(config, **TASKS)
            result = packing(songs, config)
            result["tokens_per_second_in_process"] = round(throughput(dataset, config))
            result["tokens_per_second_augmented"] = round(throughput(dataset, replace(config, augment=AugmentConfig())))
            result["tokens_per_second_one_worker"] = round(
                throughput(dataset, replace(config, augment=AugmentConfig(), num_workers=1))
            )
            results[f"max_seq_len {length}"] = result
            result = packing(songs, with_tasks)
            result["tokens_per_second_in_process"] = round(throughput(dataset, with_tasks))
            results[f"max_seq_len {length}, reorder 0.5, fill 0.5"] = result
        with loader.loader(dataset, DataConfig(8192, 1536, 2, 2048, 0, 0, augment=AugmentConfig()), "train") as batches:
            next(batches)
            with memory() as result:
                for _ in range(BATCHES):
                    next(batches)
            results[f"memory of {BATCHES} batches after the first"] = result
        many = many_songs(songs)
        results["plan_of_an_epoch"] = {f"max_seq_len {length}": planning(many, length) for length in (8192, 24576)}
        results["plan_of_an_epoch"]["max_seq_len 8192, reorder 0.5, fill 0.5"] = planning(many, 8192, **TASKS)
        kinds = sorted(path for path in folder.iterdir() if path.is_dir() and find_midi([path])[0])
        results["room_for_summaries"] = {kind.name: summaries(kind, Path(temporary)) for kind in kinds}
    write_report("data", results)


if __name__ == "__main__":
    main()
