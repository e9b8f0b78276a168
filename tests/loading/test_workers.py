"""Workers of a loader: none outlives the process that it loads for, none hears the signals that end it, and what fails
in one, or kills it, is told.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configs import DataConfig, InputError
from jax_impl.loading import loader, workers
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
        "import sys, time; from pathlib import Path; from configs import DataConfig\n"
        "from jax_impl.loading import loader\n"
        "from tokenizer.dataset.songs import Dataset\n"
        "batch = loader.BatchSource.batch\n"
        "loader.BatchSource.batch = lambda self, index: batch(self, index) if index < 30 else time.sleep(1000)\n"
        "if __name__ == '__main__':\n"
        f"    config = {replace(CONFIG, num_workers=1)!r}\n"
        "    batches = loader.loader(Dataset(Path(sys.argv[1])), config, 'train')\n"
        "    for number in range(1 << 30):\n"
        "        print(number, flush=True); next(batches)\n"
    )
    script = tmp_path / "killed.py"
    script.write_text(program, encoding="utf-8")
    for moment in (1, 31):  # while its worker starts; while it works, and will not say anything for long
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


# ---------------------------------------------------------------- signals


class Source:
    """A thousand items of 10 MB, and what they need takes 1 MB: no pipe holds so much."""

    def __init__(self):
        self.needed = bytes(10**6)

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> tuple[int, bytes, set[int]]:
        return index, bytes(10**7), signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_workers_hear_no_signal_of_those_that_end_a_run():
    """A terminal, or who stops a service, sends them to all processes of the run."""
    read = workers.read_in_processes(Source(), 3, workers=2)
    indices, _, masks = zip(*(next(read) for _ in range(4)), strict=True)
    read.close()
    assert indices == (3, 4, 5, 6)
    assert all(mask >= {signal.SIGTERM, signal.SIGINT} for mask in masks)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGINT}


def test_a_worker_that_is_killed_as_it_starts_is_told(monkeypatch):
    start = workers._start

    def start_and_kill() -> workers.Worker:
        worker = start()
        worker.process.kill()
        return worker

    monkeypatch.setattr(workers, "_start", start_and_kill)
    with pytest.raises(InputError, match=r"a loader process died \(out of memory\?\), exit code -9; .*--num-workers"):
        next(workers.read_in_processes(Source(), 0, workers=2))
    assert not multiprocessing.active_children()


def test_a_worker_that_is_killed_with_half_a_batch_said_is_told():
    read = workers.read_in_processes(Source(), 0, workers=1)
    next(read)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(InputError, match="a loader process died"):
        for _ in read:
            pass
    assert not multiprocessing.active_children()


def test_a_run_that_does_not_close_its_loader_ends_all_the_same():
    program = (
        "from jax_impl.loading.workers import read_in_processes\n"
        "from tests.loading.test_workers import Source\n"
        "read = read_in_processes(Source(), 0, workers=2)\nprint(next(read)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "0\n"


# ---------------------------------------------------------------- failures


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
