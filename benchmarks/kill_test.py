"""Does a run survive being killed? Training (tiny, CPU) is killed at random moments, half of them while a checkpoint is
being written, with SIGKILL or SIGTERM, and started again each time, until it is complete; then it is compared with a
run that was left alone.

    python benchmarks/kill_test.py --kills 20

After each kill the newest checkpoint is read whole, checksums compared. Stops with an error where anything differs.
Writes benchmarks/results/kill_test.json.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from report import write_report

from configs import PrepareConfig
from jax_impl.training import metrics
from jax_impl.training.checkpoint import Checkpoints, load_model
from jax_impl.training.found import FOLDER
from tokenizer.dataset.prepare import prepare
from tokenizer.music import midi
from tokenizer.music.composer import compose

ROOT = Path(__file__).parent.parent
CONFIG = (
    "--model-size tiny --max-seq-len 256 --batch-size 1 --warmup-steps 10 --num-workers 1 --remat none --log-every 4"
)
CONFIG += " --validation-batches 1 --checkpoint-every 5"
# From a process' start to its kill at a random moment: import and compilation are among them.
LONGEST_WAIT_SECONDS = 15.0
TIMES = {"tokens_per_second", "mfu", "input_wait", "seconds"}


def start(folder: Path, run: Path, steps: int) -> subprocess.Popen:
    arguments = [
        "train",
        "--data-dir",
        str(folder / "songs"),
        "--output-dir",
        str(run),
        "--steps",
        str(steps),
        *CONFIG.split(),
    ]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    }
    with run.with_suffix(".log").open("a", encoding="utf-8") as log:
        command = [sys.executable, "-m", "jax_impl.cli", *arguments]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def being_written(run: Path) -> bool:
    return (run / FOLDER).is_dir() and any("tmp" in path.name for path in (run / FOLDER).iterdir())


def kill(process: subprocess.Popen, run: Path, draw: random.Random, while_writing: bool) -> dict | None:
    """Ends the process at a random moment: what was done and when, or None where it was complete before."""
    began = time.monotonic()
    if while_writing:
        while process.poll() is None and not being_written(run):
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.03))
    else:
        until = began + draw.uniform(0, LONGEST_WAIT_SECONDS)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.001)
    number = draw.choice([signal.SIGKILL, signal.SIGTERM])
    writing = being_written(run)
    process.send_signal(number)
    status = process.wait()
    if status == 0:
        return None
    expected = {-signal.SIGKILL} if number == signal.SIGKILL else {-signal.SIGTERM, 128 + signal.SIGTERM}
    if status not in expected:
        raise SystemExit(
            f"{number.name} ended it with {status}:\n{run.with_suffix('.log').read_text(encoding='utf-8')}"
        )
    return {
        "signal": number.name,
        "after_seconds": round(time.monotonic() - began, 2),
        "checkpoint_being_written": writing,
    }


def newest(run: Path) -> int:
    """Step of the newest checkpoint, read whole and compared with its checksums; 0 where there is none."""
    if not (run / FOLDER).is_dir():
        return 0
    with Checkpoints(run, keep_last=None) as checkpoints:
        step = checkpoints.latest() or 0
    if step:
        load_model(run, step)
    return step


def assert_equal(run: Path, other: Path) -> None:
    (model, record), (other_model, other_record) = load_model(run, "latest"), load_model(other, "latest")
    for mine, theirs in zip(jax.tree.leaves(nnx.state(model)), jax.tree.leaves(nnx.state(other_model)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert record.checksums == other_record.checksums and record.step == other_record.step  # the optimizer's too
    lines = [
        [
            {name: value for name, value in line.items() if name not in TIMES}
            for line in metrics.read(path / metrics.FILE)
        ]
        for path in (run, other)
    ]
    assert lines[0] == lines[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--steps", type=int, default=200, help="of a run; where it is complete before all kills, another begins"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "midi").mkdir()
        for seed in range(30):
            midi.write(compose(seed), folder / "midi" / f"{seed}.mid")
        prepare([folder / "midi"], folder / "songs", PrepareConfig(workers=1))
        alone = folder / "alone"
        if start(folder, alone, args.steps).wait() != 0:
            raise SystemExit(alone.with_suffix(".log").read_text(encoding="utf-8"))
        kills: list[dict] = []
        complete = 0
        while True:
            run = folder / f"killed-{complete}"
            process = start(folder, run, args.steps)
            done = kill(process, run, draw, while_writing=len(kills) % 2 == 1) if len(kills) < args.kills else None
            if done:
                kills.append(done | {"newest_checkpoint": newest(run)})
                print(f"kill {len(kills)}: {kills[-1]}", flush=True)
                continue
            if process.wait() != 0:
                raise SystemExit(run.with_suffix(".log").read_text(encoding="utf-8"))
            assert_equal(run, alone)
            complete += 1
            if len(kills) == args.kills:
                break
        results = {
            "kills": len(kills),
            "sigkill": sum(kill["signal"] == "SIGKILL" for kill in kills),
            "sigterm": sum(kill["signal"] == "SIGTERM" for kill in kills),
            "while_a_checkpoint_was_being_written": sum(kill["checkpoint_being_written"] for kill in kills),
            "runs_completed_and_equal_bit_for_bit": complete,
            "steps_of_a_run": args.steps,
            "each": kills,
        }
        write_report("kill_test", results)


if __name__ == "__main__":
    main()
