"""SIGTERM to all processes of a run, whenever it comes: it ends, at once or with a checkpoint."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from jax_impl.training.checkpoint import Checkpoints
from tests import ROOT

MOMENTS = 20
FLAGS = dict(model_size="tiny", max_seq_len=64, max_spans=32, batch_size=1, dropout=0, attention="reference")
FLAGS |= dict(remat="none", num_workers=2, log_every=1, validation_batches=1)
FLAGS |= dict(steps=100_000, validate_every=100_000, checkpoint_every=100_000)


@contextmanager
def training(songs: Path, run: Path) -> Iterator[subprocess.Popen]:
    """The command, in a process group of its own, of which nothing is left at the end."""
    flags = FLAGS | dict(data_dir=songs, output_dir=run)
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    with run.with_suffix(".log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jax_impl.cli", "train", *words],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def stopped_after_its_first_steps(songs: Path, run: Path) -> float:
    """Seconds until then."""
    began, metrics = time.monotonic(), run / "metrics.jsonl"
    with training(songs, run) as process:
        while not (metrics.exists() and metrics.read_text(encoding="utf-8")):
            assert process.poll() is None, run.with_suffix(".log").read_text(encoding="utf-8")
            time.sleep(0.02)
        seconds = time.monotonic() - began
        os.killpg(process.pid, signal.SIGTERM)
        assert ended_with_a_checkpoint(run, process.wait())
        return seconds


def ended_with_a_checkpoint(run: Path, status: int) -> bool:
    """Whether it saved, and then the step that it names; else it ended at once."""
    log = run.with_suffix(".log").read_text(encoding="utf-8")
    saved = re.search(r"stopped by SIGTERM after step (\d+), saved", log)
    assert status == (143 if saved else -signal.SIGTERM), log
    if saved:
        with Checkpoints(run, keep_last=None) as checkpoints:
            assert checkpoints.choose("latest") == int(saved[1])
    return bool(saved)


def test_a_run_ends_whenever_sigterm_comes_to_all_its_processes(dataset, tmp_path):
    stopped_after_its_first_steps(dataset, tmp_path / "compiles")
    start = stopped_after_its_first_steps(dataset, tmp_path / "later")

    def stopped(number: int) -> int:
        """The exit status of a run that gets the signal at a random moment of its start."""
        with training(dataset, tmp_path / str(number)) as process:
            time.sleep(random.Random(number).uniform(0, 1.5 * start))
            os.killpg(process.pid, signal.SIGTERM)
            return process.wait()  # a guard against hangs is the suite's

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(stopped, range(MOMENTS)))
    for number, status in enumerate(statuses):
        ended_with_a_checkpoint(tmp_path / str(number), status)
