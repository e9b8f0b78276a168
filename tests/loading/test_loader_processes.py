"""No worker of a loader outlives the process that it loads for, whenever that is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import ROOT
from tests.runs import write_dataset

PROGRAM = """
import sys
from configs import DataConfig
from jax_impl.loading import loader
from tokenizer.dataset.songs import Dataset

if __name__ == "__main__":
    config = DataConfig(max_seq_len=256, max_spans=64, batch_size=1, max_bars=32, seed=0, num_workers=1)
    with loader.loader(Dataset(sys.argv[1]), config, "train") as batches:
        for _ in batches:
            print("a batch", flush=True)
"""


def session(leader: int) -> set[int]:
    """Processes that this one started, and it."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and os.getsid(int(folder.name)) == leader:
                state = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
                found |= {int(folder.name)} if state != "Z" else set()
        except (ProcessLookupError, FileNotFoundError):
            pass
    return found


@pytest.mark.parametrize("moment", ["while workers start", "while they load"])
def test_workers_end_when_their_trainer_is_killed(tmp_path, moment):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "program.py"), str(write_dataset(tmp_path / "songs"))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True) as trainer:
        if moment == "while they load":
            assert trainer.stdout.readline() == b"a batch\n"
        while len(session(trainer.pid)) < 2:
            assert trainer.poll() is None
            time.sleep(0.01)
        trainer.kill()
        trainer.wait()
        while session(trainer.pid):  # for ever, if they stay: the guard against hangs ends it
            time.sleep(0.05)
