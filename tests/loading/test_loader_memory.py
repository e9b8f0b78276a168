"""A dataset larger than the memory that a process may have is loaded all the same."""

import subprocess
import sys

from configs import PrepareConfig
from tests import ROOT
from tokenizer.dataset.files import write_manifest
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import record_batch, to_row
from tokenizer.music.composer import compose
from tokenizer.tokens.encode import encode

PROGRAM = """
import resource, sys
from pathlib import Path
from configs import AugmentConfig, DataConfig
from jax_impl.loading import loader
from tokenizer.dataset.songs import Dataset

dataset = Dataset(Path(sys.argv[1]))
config = DataConfig(8192, 1536, 4, 2048, 0, 0, augment=AugmentConfig())
with loader.loader(dataset, config, "train") as batches:
    next(batches)
    lines = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in lines if line.startswith("VmData")) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (now + (100 << 20),) * 2)
    for _ in range(loader.rows_per_epoch(dataset, config, "train") // 4):
        next(batches)
try:
    bytearray(110 << 20)
except MemoryError:
    print("the limit holds")
"""


def test_an_epoch_of_300_mb_is_read_with_100_mb_more_than_its_first_batch_took(tmp_path):
    row = to_row(encode(compose(0)), "song.mid")
    shard = [row] * (30_000_000 // len(row.ids))
    splits = {"train": [write_batch(tmp_path, "train-00000.arrow", record_batch(shard))]}
    splits["validation"] = [write_batch(tmp_path, "validation-00000.arrow", record_batch([row]))]
    write_manifest(tmp_path, splits, [], PrepareConfig(), "test")
    assert (tmp_path / "train-00000.arrow").stat().st_size > 280 << 20
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout == "the limit holds\n"
