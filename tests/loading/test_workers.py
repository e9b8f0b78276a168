"""Workers of a loader: none outlives the process that it loads for, and what fails in one is told as it is here."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configs import DataConfig
from jax_impl.loading import loader
from tests import ROOT
from tests.runs import write_dataset
from tokenizer.dataset.files import DatasetError
from tokenizer.dataset.songs import Dataset

CONFIG = DataConfig(max_seq_len=256, max_spans=64, batch_size=2, max_bars=32, seed=0, num_workers=0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return Dataset(write_dataset(tmp_path_factory.mktemp("data") / "songs"))


def test_workers_end_with_a_run_that_is_killed_at_any_moment(dataset, tmp_path):
    program = (
        "import sys; from pathlib import Path; from jax_impl.loading import loader; from configs import DataConfig\n"
        "from tokenizer.dataset.songs import Dataset\n"
        "if __name__ == '__main__':\n"
        f"    config = {replace(CONFIG, num_workers=1)!r}\n"
        "    batches = loader.loader(Dataset(Path(sys.argv[1])), config, 'train')\n"
        "    for number in range(1 << 30):\n"
        "        print(number, flush=True); next(batches)\n"
    )
    script = tmp_path / "killed.py"
    script.write_text(program, encoding="utf-8")
    for moment in (1, 20):  # while its worker starts; while it works
        process = subprocess.Popen(
            [sys.executable, script, dataset.folder],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for _ in range(moment):
            process.stdout.readline()
        while not (workers := children(process.pid)):
            time.sleep(0.01)
        process.kill()
        process.wait()
        process.stdout.close()
        for worker in workers:  # a guard against hangs is the suite's
            while alive(worker):
                time.sleep(0.05)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


def alive(pid: int) -> bool:
    """Whether there is such a process that does anything; who adopts it may leave it a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_error_in_a_worker_is_told_as_it_is_here(dataset):
    source = loader.BatchSource(Broken(dataset), replace(CONFIG, num_workers=1), "train")
    with loader.Loader(source) as batches, pytest.raises(DatasetError) as told:
        next(batches)
    assert str(told.value) == "songs.arrow, row 3: damaged"


class Broken:
    """A dataset whose songs cannot be read, in whichever process."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __getitem__(self, split: str) -> "BrokenSongs":
        return BrokenSongs(self.dataset[split])


class BrokenSongs:
    def __init__(self, songs):
        self.songs = songs

    def __getattr__(self, name: str):
        return getattr(object.__getattribute__(self, "songs"), name)

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, index: int):
        raise DatasetError("songs.arrow, row 3: damaged")
