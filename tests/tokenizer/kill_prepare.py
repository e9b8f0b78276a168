"""Kills `prepare` at random moments until it is done.

As a program: python -m tests.tokenizer.kill_prepare MIDI_DIR OUT TIMES; prints how often it was killed.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

from tests import ROOT

PROGRAM = """
import sys
from pathlib import Path
from configs import PrepareConfig
from tokenizer.dataset import prepare
prepare.BLOCK_FILES = 8
prepare.prepare([Path(sys.argv[1])], Path(sys.argv[2]), PrepareConfig(workers=1, songs_per_shard=8))
"""


def run_until_killed(midi_dir: Path, out: Path, seconds: float) -> bool:
    """Whether it was killed, so many seconds after it made its first file there."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(midi_dir), str(out)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    work = out.with_name(f"{out.name}.partial")
    before = len(list(work.rglob("*.arrow")))
    while process.poll() is None and len(list(work.rglob("*.arrow"))) == before:
        time.sleep(0.005)
    try:
        process.wait(seconds)
        assert process.returncode == 0
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def kill_again_and_again(midi_dir: Path, out: Path, times: int, seed: int = 0) -> int:
    """Makes the dataset `out`, killed `times` times if it lasts that long; returns how often it was."""
    moments, killed = random.Random(seed), 0
    while killed < times and not out.exists():
        killed += run_until_killed(midi_dir, out, moments.uniform(0, 0.12))
    if not out.exists():
        run_until_killed(midi_dir, out, 300)
    return killed


if __name__ == "__main__":
    print(kill_again_and_again(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
