"""How much faster training on a CPU is than it was at another commit: the same steps of both, in turn, in one run.

    python benchmarks/training_speed.py --songs ../shared/data/midi --against COMMIT

fp32, dropout on, what is kept of the forward pass chosen as training chooses it, packed rows of songs that are made
once. Each measurement is a process of its own, and the two programs alternate, so that what else the machine does hits
both alike. Figures are medians over the steps of all rounds but the first two of each process. Losses of the two differ
by rounding, and by dropout's draws where these changed: the mean of the last half of the steps says that both learn
alike. COMMIT's files go to a temporary folder. Written to benchmarks/results/training_speed.json.
"""

import argparse
import functools
import io
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from report import processor, write_report

ROOT = Path(__file__).resolve().parents[1]
CASES = (("tiny", 1, 2048), ("small", 1, 2048))  # size, rows, tokens of each
DISTINCT = 8  # rows; each step takes the next ones
UNTIMED = 2  # first steps of a process


def measure(size: str, rows: int, length: int, file: Path, steps: int) -> dict:
    """Seconds, CPU seconds and loss of each step, of the checkout that Python imports from."""
    import jax
    import numpy as np

    from configs import MODEL_SIZES, TrainConfig
    from jax_impl.batch import Batch
    from jax_impl.device import device, memory
    from jax_impl.training.step import abstract_batches, make_step

    if not Path(device.__file__).is_relative_to(Path.cwd()):
        raise SystemExit(f"{device.__file__} was imported, not the checkout's own file")
    config = TrainConfig(Path(), Path(), model_size=size, batch_size=rows, max_seq_len=length, precision="fp32")
    _, initialize, train_step = make_step(MODEL_SIZES[size], config, total_steps=1000)

    def compile_step(compute):
        step = jax.jit(functools.partial(train_step, compute=compute), donate_argnames="state")
        return step.lower(jax.eval_shape(initialize), abstract_batches(config)).compile()

    step, compute = memory.fastest_that_fits(compile_step, device.compute_config(config), device.memory_limit())
    with np.load(file) as kept:
        fields = [kept[f"{length}/{name}"] for name in Batch._fields]
    state, found = jax.jit(initialize)(), {"seconds": [], "cpu_seconds": [], "losses": []}
    for number in range(steps):
        batches = Batch(*(np.roll(field, -number * rows, axis=0)[None, :rows] for field in fields))
        wall, cpu = time.perf_counter(), time.process_time()
        state, measured = step(state, batches)
        found["losses"].append(float(measured.loss))  # waits for the step
        found["seconds"].append(time.perf_counter() - wall)
        found["cpu_seconds"].append(time.process_time() - cpu)
    return found | {"remat": compute.remat, "memory_mb": round(memory.of(step).total / 1e6)}


def run_case(checkout: Path, case: tuple, rows: Path, steps: int, programs: Path) -> dict:
    """measure() in a process of its own. programs: folder that keeps what was compiled, for the next round."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "JAX_COMPILATION_CACHE_DIR": str(programs)}
    command = [sys.executable, str(Path(__file__).resolve()), "--case", json.dumps(case), "--rows", str(rows)]
    ended = subprocess.run(
        [*command, "--steps", str(steps)],
        env=environment,
        cwd=checkout,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    return json.loads(ended.stdout.splitlines()[-1])


def summary(rounds: list[dict], tokens: int) -> dict:
    """Of all rounds of one program. All have the same losses, bit for bit: training is deterministic."""
    timed = {name: [x for found in rounds for x in found[name][UNTIMED:]] for name in ("seconds", "cpu_seconds")}
    losses = rounds[0]["losses"]
    return {
        "tokens_per_second": round(tokens / statistics.median(timed["seconds"])),
        "cpu_seconds_a_step": round(statistics.median(timed["cpu_seconds"]), 3),
        "first_loss": round(losses[0], 4),
        "mean_loss_of_last_half": round(statistics.mean(losses[len(losses) // 2 :]), 4),
        "rounds_have_the_same_losses": all(found["losses"] == losses for found in rounds),
        "remat": rounds[0]["remat"],
        "memory_mb": rounds[0]["memory_mb"],
    }


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, help="folder of MIDI files (none: the built-in composer's songs)")
    parser.add_argument("--against", help="the commit that this checkout is compared with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12, help="of each round")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(*args.case, args.rows, args.steps)))
        return
    if not args.against or args.steps <= UNTIMED or args.rounds < 1:
        parser.error(f"--against is needed, and more than {UNTIMED} --steps")
    import attention_rows  # of this checkout alone: a case's process imports the other's files

    with tempfile.TemporaryDirectory() as folder:
        then, rows, programs = (Path(folder) / name for name in ("then", "rows.npz", "programs"))
        with tarfile.open(fileobj=io.BytesIO(git("archive", args.against))) as files:
            files.extractall(then, filter="data")
        attention_rows.load(rows, args.songs, sorted({length for *_, length in CASES}), DISTINCT)
        checkouts, results = {"now": ROOT, "then": then}, []
        for case in CASES:
            size, batch, length = case
            found = {name: [] for name in checkouts}
            for _ in range(args.rounds):
                for name, checkout in checkouts.items():
                    found[name].append(run_case(checkout, case, rows, args.steps, programs))
            now, then_ = (summary(found[name], batch * length) for name in checkouts)
            faster = round(now["tokens_per_second"] / then_["tokens_per_second"], 2)
            less_cpu = round(then_["cpu_seconds_a_step"] / now["cpu_seconds_a_step"], 2)
            results.append({"model_size": size, "batch": f"{batch} x {length}", "now": now, "then": then_})
            results[-1] |= {"times the tokens per second": faster, "times less CPU time": less_cpu}
        commits = {
            "now": git("describe", "--always", "--dirty", "--exclude=*").decode().strip(),
            "then": git("rev-parse", "--short", args.against).decode().strip(),
        }
        write_report("training_speed", {"commits": commits, "cases": results}, device=processor())


if __name__ == "__main__":
    main()
