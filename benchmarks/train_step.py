"""How fast one optimizer step is: ours for every size, and the same model in PyTorch, on packed rows of songs,
dropout on.

    python benchmarks/train_step.py --songs ../shared/data/midi

One run of at most --minutes: on a GPU ours at 8192 tokens, torch_ref with compiled layers and FlexAttention (bf16, and
with attention in fp32 as v1.2.1 ran it); without a GPU small at 1 x 1024 tokens, torch_ref in fp32 with dense masks,
and the report says so. Every case runs in a process of its own, so that each has the memory for itself, and
benchmarks/results/train_step.json is written after each. With --rows FILE the rows are taken from there; --prepare
makes it and stops, for a machine that has no MIDI library.

    MFU = needed FLOPs per token x real tokens per second / the card's dense bf16 peak

Needed FLOPs are jax_impl.model.flops.per_token: 6 per weight and token, 12 D per layer and pair of query and key that
the mask shows; neither padding nor masked pairs nor what rematerialization repeats. Shares are of the time of a step's
operations, from a profile.
"""

import argparse
import functools
import importlib.util
import json
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attention_rows
import numpy as np
import stages
from report import processor, write_report

from configs import MODEL_SIZES, DataConfig, PrepareConfig, TrainConfig
from jax_impl.batch import Batch
from jax_impl.device.gpu_target import has_gpu

DISTINCT = 4  # rows in the file; larger batches repeat them
GPU_CASES = (
    ("ours", "large", 4, 8192),
    ("torch bf16", "large", 4, 8192),
    ("torch fp32 attention", "large", 4, 8192),
    ("ours", "small", 16, 8192),
    ("ours", "base", 8, 8192),
    ("ours", "xlarge", 2, 8192),
    ("ours", "large", 48, 8192),
)
CPU_CASES = (("ours", "small", 1, 1024), ("torch fp32", "small", 1, 1024))
# Parts of a step by the names that operations carry.
SCOPES = {"attention": "/attention/", "mask building": "masks", "optimizer": "optimizer"}


def batch_of(file: Path, rows: int, length: int) -> Batch:
    stored = attention_rows.load(file, None, [length], DISTINCT)[length]
    return Batch(*(np.resize(field, (rows, length)) for field in stored))


# ---------------------------------------------------------------- ours


def ours(size: str, rows: int, length: int, file: Path, songs: Path | None, steps: int) -> Iterator[dict]:
    """Figures as they are known."""
    import jax

    from jax_impl.cli import process

    process.settle()  # of a GPU's memory what a run of the command line takes
    from jax_impl.device import device, memory
    from jax_impl.model import flops
    from jax_impl.training.step import abstract_batches, make_step

    config, model = TrainConfig(Path(), Path(), model_size=size, batch_size=rows, max_seq_len=length), MODEL_SIZES[size]
    batch = batch_of(file, rows, length)
    _, initialize, train_step = make_step(model, config, total_steps=1000)

    def compile_step(compute):
        step = jax.jit(functools.partial(train_step, compute=compute), donate_argnames="state")
        return step.lower(jax.eval_shape(initialize), abstract_batches(config)).compile()

    start = time.perf_counter()
    step, compute = memory.fastest_that_fits(compile_step, device.compute_config(config), device.memory_limit())
    compile_seconds = time.perf_counter() - start
    yield {
        "device": device.describe(compute),
        "remat": compute.remat,
        "compile_seconds": round(compile_seconds, 1),
        "compiled_memory_gb": round(memory.of(step).total / 1e9, 2),
    }
    state, batches = jax.jit(initialize)(), jax.device_put(Batch(*(field[None] for field in batch)))
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        state, measured = step(state, batches)
        loss = float(measured.loss)  # waits for the step
        seconds.append(time.perf_counter() - start)
    median, real = statistics.median(seconds[2:]), int((batch.document > 0).sum())
    needed, peak = flops.per_token(model, [batch], config.row_spans), device.peak_flops(compute, 1)
    used = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    yield {
        "step_seconds": round(median, 4),
        "tokens_per_second": round(rows * length / median),
        "real_tokens_per_second": round(real / median),
        "needed_mflops_per_token": round(needed / 1e6, 1),
        "mfu": peak and round(needed * real / median / peak, 4),
        "peak_memory_gb": used and round(used / 1e9, 2),
        "last_loss": round(loss, 3),
    }
    state, shares = profile(step, state, batches)
    yield {"shares": shares}
    yield {"input_wait": input_wait(step, state, config, songs, steps)}


def profile(step, state, batches) -> tuple:
    """The next state, and shares of the operations' time by SCOPES, from a profile of one step; loops count by what is
    in them.
    """
    import jax
    from jax.profiler import ProfileData

    # an operation's line of the program: its name, what it does, and the scopes it comes from
    program = re.findall(
        r"^\s*(?:ROOT )?%?([\w.-]+) = .*?([\w-]+)\(.*?op_name=\"([^\"]*)\"", step.as_text(), re.MULTILINE
    )
    scope_of = {name: scope for name, operation, scope in program if operation not in ("while", "call", "conditional")}
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            state, measured = step(state, batches)
            measured.loss.block_until_ready()
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = list(ProfileData.from_file(str(path)).planes)
        lines = [
            line
            for plane in planes
            if plane.name.startswith("/device:")
            for line in plane.lines
            if "Stream" in line.name
        ]
        spent = dict.fromkeys([*SCOPES, "all"], 0.0)
        for line in lines or [line for plane in planes for line in plane.lines]:
            for event in line.events:
                scope = scope_of.get(str(dict(event.stats).get("hlo_op", event.name)))
                if scope is None:
                    continue
                spent["all"] += event.duration_ns
                for name, mark in SCOPES.items():
                    spent[name] += event.duration_ns * (mark in scope)
    return state, {name: round(spent[name] / spent["all"], 4) for name in SCOPES} if spent["all"] else None


def input_wait(step, state, config: TrainConfig, songs: Path | None, steps: int) -> float | None:
    """Share of the time that steps wait for the loader, two workers; None without songs or the loader's library."""
    if songs is None or importlib.util.find_spec("grain") is None:
        return None
    from jax_impl.loading import loader
    from tokenizer.dataset.prepare import prepare
    from tokenizer.dataset.songs import Dataset

    with tempfile.TemporaryDirectory() as folder:
        prepare([songs], Path(folder) / "songs", PrepareConfig())
        bars = MODEL_SIZES[config.model_size].max_bars
        rows_config = DataConfig(
            config.max_seq_len, config.row_spans, config.batch_size, bars, config.seed, num_workers=2
        )
        with loader.loader(Dataset(Path(folder) / "songs"), rows_config, "train") as rows:
            next(rows)  # the workers have started
            began, waited = time.perf_counter(), 0.0
            for _ in range(steps):
                start = time.perf_counter()
                batch = next(rows)
                waited += time.perf_counter() - start
                state, measured = step(state, Batch(*(field[None] for field in batch)))
            float(measured.loss)
            return round(waited / (time.perf_counter() - began), 4)


# ---------------------------------------------------------------- PyTorch


def torch_ref(kind: str, size: str, rows: int, length: int, file: Path, steps: int) -> Iterator[dict]:
    """torch_ref's step. "bf16": autocast; "fp32 attention": autocast, but q, k and v of the attention in fp32; "fp32":
    all of it.
    """
    import torch

    from torch_ref import model as torch_model
    from torch_ref import train as torch_train
    from torch_ref.rows import Rows

    gpu = torch.cuda.is_available()
    if kind == "fp32 attention":
        flex = torch_model.compiled_flex_attention

        def in_fp32(q, k, v, block_mask):
            return flex(q.float(), k.float(), v.float(), block_mask=block_mask).to(q)

        torch_model.compiled_flex_attention = in_fp32
    where = "cuda" if gpu else "cpu"
    batch = batch_of(file, rows, length)
    spans = TrainConfig(Path(), Path(), max_seq_len=length).row_spans
    model = torch_model.MuseFormer(MODEL_SIZES[size], "flex_compiled" if gpu else "dense", checkpointing=gpu).to(where)
    if gpu:
        for layer in model.layers:
            layer.compile(dynamic=False)
    adamw = torch_train.optimizer(model, 3e-4, (0.9, 0.95), 0.1)
    inputs, dtype = Rows.of(batch._asdict(), where), torch.float32 if kind == "fp32" else torch.bfloat16
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        loss, _ = torch_train.step(model, adamw, [inputs], spans, 3e-4, 1.0, dtype)
        if gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[2:])
    yield {
        "device": torch.cuda.get_device_name() if gpu else f"cpu, {torch.get_num_threads()} threads",
        "first_step_seconds": round(seconds[0], 1),
        "step_seconds": round(median, 4),
        "tokens_per_second": round(rows * length / median),
        "real_tokens_per_second": round(float((batch.document > 0).sum()) / median),
        "peak_memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2) if gpu else None,
        "last_loss": round(loss, 3),
    }


# ---------------------------------------------------------------- all cases


def run_case(case: tuple, args: argparse.Namespace, seconds: float) -> dict:
    """In a process of its own; what went wrong instead of figures."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--case",
        json.dumps(case),
        "--rows",
        str(args.rows.resolve()),
        "--steps",
        str(args.steps),
    ]
    command += ["--songs", str(args.songs.resolve())] if args.songs else []
    with tempfile.TemporaryDirectory() as folder:
        findings, log = Path(folder) / "findings", Path(folder) / "log"
        ended = stages.run([*command, "--findings", str(findings)], max(seconds, 1), stages.environment(), log)
        figures = stages.told(findings).get("train step", {}).get(named(case), {}) if findings.exists() else {}
        if not ended.startswith("done"):
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            figures["failed"] = ": ".join([ended, *said])[:400]
        return figures


def named(case: tuple) -> str:
    program, size, rows, length = case
    return f"{program}, {size}, {rows} x {length}"


def compare(cases: list[dict]) -> dict:
    """How many times faster than each program in PyTorch, where both have figures."""
    speed = {(case["program"], case["model_size"], case["batch"]): case.get("tokens_per_second") for case in cases}
    pairs = {key: speed.get(("ours", *key[1:])) for key in speed if key[0] != "ours"}
    return {
        f"{key[0]}, {key[1]} {key[2]}": round(own / speed[key], 2) for key, own in pairs.items() if own and speed[key]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--songs", type=Path, help="folder of MIDI files (none: the built-in composer's songs, and no input wait)"
    )
    parser.add_argument("--rows", type=Path, help="file of packed rows; made where it does not exist")
    parser.add_argument("--prepare", action="store_true", help="make the rows of all lengths and stop")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--minutes", type=float, default=9.5, help="after which no case is begun")
    parser.add_argument("--case", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--findings", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        program, *shape = args.case
        if program == "ours":
            found = ours(*shape, args.rows, args.songs, args.steps)
        else:
            found = torch_ref(program[6:], *shape, args.rows, args.steps)
        for figures in found:
            print(json.dumps(figures), flush=True)
            for name, value in figures.items():
                if args.findings:
                    stages.tell(args.findings, "train step", named(args.case), name, value=value)
        return
    began, gpu = time.monotonic(), has_gpu()
    cases = GPU_CASES if gpu else CPU_CASES
    with tempfile.TemporaryDirectory() as folder:
        args.rows = args.rows or Path(folder) / "rows.npz"
        attention_rows.load(
            args.rows, args.songs, sorted({8192, 1024} if args.prepare else {case[-1] for case in cases}), DISTINCT
        )
        if args.prepare:
            return
        results: dict = {"note": "timed on a GPU" if gpu else "not run on a GPU: small on the CPU", "cases": []}
        for number, case in enumerate(cases):
            left = args.minutes * 60 - (time.monotonic() - began)
            program, size, rows, length = case
            figures = run_case(case, args, left) if left > 0 else {"failed": "no time was left"}
            results["cases"].append({"program": program, "model_size": size, "batch": f"{rows} x {length}"} | figures)
            results["times faster than"] = compare(results["cases"])
            where = (
                next((found["device"] for found in results["cases"] if "device" in found), None) if gpu else processor()
            )
            write_report("train_step", results, device=where, show=number == len(cases) - 1)


if __name__ == "__main__":
    main()
