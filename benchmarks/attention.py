"""Attention on masks of real songs: first that the kernels are right, then how fast they are beside what else there is.

    python benchmarks/attention.py --rows rows.npz [--songs ../shared/data/midi]

Rows of songs are kept in --rows, so that a machine without a MIDI library can time what another one prepared (`--prepare` stops there).
On a Hopper GPU it times our kernels, FlexAttention compiled (bf16, and fp32 as v1.2.1 ran it) on the same masks, and dense causal cuDNN.
Anywhere else it runs small: the kernels in JAX's GPU interpreter, timings of the portable implementations, and the report says that no
GPU was used. Writes benchmarks/results/attention.json and attention.png.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX and PyTorch share the card

import attention_rows
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from jax._src.pallas.mosaic_gpu.interpret.params import InterpretGPUParams  # public only from JAX 0.11 on
from report import RESULTS, write_report
from torch.nn.attention import SDPBackend, sdpa_kernel

from configs import MASK_RULES
from jax_impl import device, masks
from jax_impl.attention import BlockMask, attention, pallas, unpack, visible_pairs
from jax_impl.attention.block_mask import PAIR, TILE
from jax_impl.batch import Batch
from torch_ref import masks as torch_masks
from torch_ref.model import attend
from torch_ref.rows import Rows, Summaries

HEAD_DIM = 64
LAYERS = 16  # of the large model: it builds its masks once for all of them
GOALS = {"FlexAttention bf16": 3.0, "FlexAttention fp32": 8.0, "dense causal": 1.5}  # times faster, at 8192 tokens on an H200
OURS = "ours"


# ---------------------------------------------------------------- masks


def summary_slots(length: int) -> int:
    return -(-length // attention_rows.TOKENS_PER_SPAN // masks.SLOTS) * masks.SLOTS


def both_masks(batch: Batch, rule: str) -> dict[str, BlockMask]:
    data = masks.summaries(batch, MASK_RULES[rule], summary_slots(batch.tokens.shape[1]))
    return {"summarize": masks.summarize_mask(batch, data, MASK_RULES[rule]), "update": masks.update_mask(batch, data, MASK_RULES[rule])}


def torch_block_masks(rows: Rows, rule: str, compiled: bool) -> dict[str, object]:
    build = torch_masks.compiled_blocks if compiled else torch_masks.blocks
    (batch, length), where = rows.tokens.shape, rows.tokens.device
    slots = summary_slots(length)
    summaries = Summaries.of(rows, MASK_RULES[rule], slots)
    summarize, update = torch_masks.summarize_mod(rows, summaries), torch_masks.update_mod(rows, summaries, MASK_RULES[rule])
    return {
        "summarize": build(summarize, batch, slots, slots + length, where),
        "update": build(update, batch, length, slots + length, where),
    }


def block_shares(mask: BlockMask, length: int) -> dict[str, float]:
    """How sparse an update mask is, as shares of the causal triangle of the tokens (as block counts of that size)."""
    triangle = mask.tiles.shape[0] * length**2 / 2
    tile = (mask.tiles != 0).any((3, 4)).sum() * TILE**2
    visited, full = (float(mask.key_counts[..., which].sum()) * PAIR * TILE for which in (1, 0))
    shares = {"elements": float(visible_pairs(mask)), "tiles of 64 x 64": float(tile), "visited (128 x 64)": visited}
    return {name: round(value / triangle, 3) for name, value in shares.items()} | {"full of visited": round(full / max(visited, 1), 3)}


# ---------------------------------------------------------------- right


def in_fp64(q, k, v, d_out, visible) -> dict[str, np.ndarray]:
    q, k, v, d_out = (np.asarray(x, np.float64) for x in (q, k, v, d_out))
    scores = np.where(visible[:, None], q @ k.swapaxes(2, 3) / 8, -np.inf)
    weights = np.exp(scores - np.maximum(scores.max(-1, keepdims=True), -1e30))
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    out = weights @ v
    d_scores = weights * (d_out @ v.swapaxes(2, 3) - (out * d_out).sum(-1, keepdims=True))
    return {"out": out, "dq": d_scores @ k / 8, "dk": d_scores.swapaxes(2, 3) @ q / 8, "dv": weights.swapaxes(2, 3) @ d_out}


def with_gradients(run: Callable) -> Callable:
    """(q, k, v, mask, d_out) to out, dq, dk, dv."""

    def both(q, k, v, mask, d_out):
        out, derivative = jax.vjp(lambda *qkv: run(*qkv, mask), q, k, v)
        return dict(zip(("out", "dq", "dk", "dv"), (out, *derivative(d_out)), strict=True))

    return both


def poison(shapes: list[jax.Array]) -> None:
    """Leaves NaN in memory that was just freed, which the next outputs get."""
    jax.block_until_ready([jnp.full(x.shape, jnp.nan, x.dtype) for x in shapes for _ in range(3)])


def check(batch: Batch, rule: str, heads: int, interpret) -> dict[str, dict]:
    """Largest errors of the kernels and of a bf16 dense reference against fp64. Raises SystemExit where they are not right."""
    results = {}
    for call, mask in both_masks(batch, rule).items():
        num_queries = mask.tiles.shape[1] * TILE
        num_keys = mask.tiles.shape[2] * TILE
        random = np.random.default_rng()
        shapes = [(len(batch.tokens), heads, length, HEAD_DIM) for length in (num_queries, num_keys, num_keys, num_queries)]
        q, k, v, d_out = (jnp.asarray(random.normal(size=shape), jnp.bfloat16) for shape in shapes)
        exact = in_fp64(q, k, v, d_out, np.asarray(unpack(mask, num_queries, num_keys)))
        ours = with_gradients(lambda *x: pallas.attention(*x, interpret=interpret))
        if interpret is None:
            ours = jax.jit(ours)
        poison([q, k, q])
        first = ours(q, k, v, mask, d_out)
        rounded = with_gradients(lambda *x: attention(*x, impl="reference"))(q, k, v, mask, d_out)
        error = lambda x, name: float(np.abs(np.asarray(x[name], np.float64) - exact[name]).max())  # noqa: B023, E731
        errors = {name: {OURS: error(first, name), "bf16 reference": error(rounded, name)} for name in exact}
        for name, found in errors.items():
            if not found[OURS] <= 2 * found["bf16 reference"]:  # NaN is not
                raise SystemExit(f"{rule} {call} {name} is wrong: error {found[OURS]}, bf16 reference {found['bf16 reference']}")
        for _ in range(4 if interpret is None else 1):
            poison([q, k, q])
            again = ours(q, k, v, mask, d_out)
            if any(not np.array_equal(np.asarray(again[name]), np.asarray(first[name])) for name in first):
                raise SystemExit(f"{rule} {call}: two runs differ")
        results[call] = {name: {who: float(f"{value:.2g}") for who, value in found.items()} for name, found in errors.items()}
    return results


# ---------------------------------------------------------------- fast


def seconds(run: Callable[[], object], wait: Callable[[object], None], calls: int, rounds: int = 7) -> float:
    """Of one call: the median over rounds of so many calls in a row, waited for together."""
    wait(run())
    wait(run())
    measured = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            last = run()
        wait(last)
        measured.append((time.perf_counter() - start) / calls)
    return float(f"{statistics.median(measured):.4g}")


def time_jax(run: Callable, *arguments, calls: int) -> float:
    compiled = jax.jit(run)
    return seconds(lambda: compiled(*arguments), jax.block_until_ready, calls)


def time_torch(run: Callable[[], object], calls: int) -> float:
    return seconds(run, lambda _: torch.cuda.synchronize() if torch.cuda.is_available() else None, calls)


def torch_passes(run: Callable, arrays: list[torch.Tensor], d_out: torch.Tensor, calls: int, backward: bool) -> dict[str, float]:
    def both():
        for x in arrays:
            x.grad = None
        run(*arrays).backward(d_out)

    with torch.no_grad():
        forward = time_torch(lambda: run(*arrays), calls)
    for x in arrays:
        x.requires_grad_(True)
    return {"forward": forward} | ({"forward and backward": time_torch(both, calls)} if backward else {})


def time_everything(batch: Batch, rule: str, heads: int, gpu: bool, calls: int) -> dict[str, dict]:
    """Seconds by call, implementation and pass; and of building the masks, on both sides."""
    rows, length = batch.tokens.shape
    where, dtype = ("cuda", torch.bfloat16) if gpu else ("cpu", torch.float32)
    impl, jax_dtype = ("pallas", jnp.bfloat16) if gpu else ("xla", jnp.float32)
    fields = jax.device_put(batch)
    torch_rows = Rows.of(batch._asdict(), where)
    theirs = torch_block_masks(torch_rows, rule, compiled=gpu)
    random = np.random.default_rng(0)
    times = {}
    for call, mask in jax.jit(both_masks, static_argnums=1)(fields, rule).items():
        num_queries = summary_slots(length) if call == "summarize" else length
        num_keys = summary_slots(length) + length
        host = [random.normal(size=(rows, heads, n, HEAD_DIM)).astype(np.float32) for n in (num_queries, num_keys, num_keys, num_queries)]
        q, k, v, d_out = (jnp.asarray(x, jax_dtype) for x in host)
        run = lambda *qkv, mask=mask: attention(*qkv, mask, impl=impl)  # noqa: E731
        gradients = lambda q, k, v, d_out, run=run: jax.vjp(run, q, k, v)[1](d_out)  # noqa: E731
        found = {OURS if gpu else "ours (xla)": {"forward": time_jax(run, q, k, v, calls=calls)}}
        next(iter(found.values()))["forward and backward"] = time_jax(gradients, q, k, v, d_out, calls=calls)
        flex = "flex_compiled" if gpu else "flex"
        for name, precision in {"FlexAttention bf16": torch.bfloat16, "FlexAttention fp32": torch.float32}.items():
            if precision == torch.float32 or gpu:  # without a GPU it is interpreted, forward only
                *arrays, theirs_d_out = (torch.tensor(x, device=where, dtype=precision) for x in host)
                run_flex = lambda q, k, v, mask=theirs[call]: attend(q, k, v, mask, flex)  # noqa: E731
                found[name] = torch_passes(run_flex, arrays, theirs_d_out, calls, backward=gpu)
        if call == "update":
            square = [torch.tensor(x[:, :, :length], device=where, dtype=dtype) for x in host]
            with sdpa_kernel(SDPBackend.CUDNN_ATTENTION) if gpu else sdpa_kernel(SDPBackend.MATH):
                causal = lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)  # noqa: E731
                found["dense causal"] = torch_passes(causal, square[:3], square[3], calls, backward=True)
        times[call] = found
    times["mask building"] = {
        "ours": time_jax(lambda fields: both_masks(fields, rule), fields, calls=calls),
        "FlexAttention": time_torch(lambda: torch_block_masks(torch_rows, rule, compiled=gpu), calls=1),
    }
    return times


def matrix_rate(gpu: bool) -> float:
    """FLOP/s of a large bf16 product (fp32 without a GPU) of random numbers: what the card really gives."""
    size = 8192 if gpu else 512
    a, b = (jax.random.normal(jax.random.key(i), (size, size), jnp.bfloat16 if gpu else jnp.float32) for i in (0, 1))
    return 2 * size**3 / time_jax(jnp.matmul, a, b, calls=20)


def visited_flops(mask: BlockMask, heads: int) -> float:
    """Of a forward pass: two products over every listed block of 128 queries and 64 keys."""
    return float(mask.key_counts[..., 1].sum()) * heads * 2 * 2 * PAIR * TILE * HEAD_DIM


def derived(times: dict, mask: BlockMask, heads: int, rate: float) -> dict[str, float]:
    """Ratios that the goals speak of, for the update call."""
    update = times["update"]
    ours, both = update[OURS], "forward and backward"
    faster = {f"times faster than {name} (goal {GOALS[name]})": update[name][both] / ours[both] for name in GOALS}
    attention_of_a_step = LAYERS * (ours[both] + times["summarize"][OURS][both])
    return {name: round(value, 3) for name, value in faster.items()} | {
        "forward, share of the matrix rate on visited blocks": round(visited_flops(mask, heads) / ours["forward"] / rate, 4),
        "mask building, share of a large step's attention alone": round(times["mask building"]["ours"] / attention_of_a_step, 4),
    }


# ---------------------------------------------------------------- the report


def table(results: dict) -> str:
    lines = [f"{'rule':6} {'tokens':>7} {'call':10} {'implementation':22} {'forward ms':>11} {'+ backward ms':>14}"]
    for case in results["timings"]:
        for call in ("summarize", "update"):
            for name, found in case["seconds"][call].items():
                both = found.get("forward and backward")
                numbers = f"{found['forward'] * 1e3:11.3f} {'' if both is None else format(both * 1e3, '14.3f')}"
                lines.append(f"{case['rule']:6} {case['tokens']:7} {call:10} {name:22} {numbers}")
    return "\n".join(lines)


def plot(results: dict, path: Path, title: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    rules = sorted({case["rule"] for case in results["timings"]})
    for axes, rule in zip(figure.subplots(1, len(rules), sharey=True, squeeze=False)[0], rules, strict=True):
        cases = [case for case in results["timings"] if case["rule"] == rule]
        for name in cases[0]["seconds"]["update"]:
            found = [(case["tokens"], case["seconds"]["update"][name]) for case in cases]
            which = "forward and backward" if "forward and backward" in found[0][1] else "forward"
            axes.plot([n for n, _ in found], [times[which] * 1e3 for _, times in found], "o-", label=f"{name}, {which}")
        axes.set(xscale="log", yscale="log", xlabel="tokens of a row", title=f"rule {rule}")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7)
    figure.axes[0].set_ylabel("update call, milliseconds")
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="file of packed rows; made where it does not exist")
    parser.add_argument("--songs", type=Path, help="folder of MIDI files to make it of (none: the built-in composer's songs)")
    parser.add_argument("--prepare", action="store_true", help="make the rows of all lengths and stop")
    args = parser.parse_args()
    gpu = device.on_hopper()
    full_lengths, rows, heads = [2048, 8192, 16384, 24576], 4, 12
    stored = attention_rows.load(args.rows, args.songs, [128, 256, 512, *full_lengths], rows)
    if args.prepare:
        return
    lengths, rows, heads = (full_lengths, rows, heads) if gpu else ([256, 512], 1, 2)
    batches = {length: Batch(*(field[:rows] for field in stored[length])) for length in lengths}
    where = device.describe(device.sampling_compute()) if gpu else None
    results = {"note": "timed on a Hopper GPU" if gpu else "not run on a GPU: kernels interpreted, portable implementations timed small"}

    small = Batch(*(field[:1] for field in stored[512 if gpu else 128]))
    interpret = None if gpu else InterpretGPUParams()
    results["errors against fp64"] = {rule: check(small, rule, heads if gpu else 1, interpret) for rule in MASK_RULES}
    print("the kernels are right: errors at most twice those of a bf16 dense reference, runs bitwise equal", flush=True)

    build = jax.jit(both_masks, static_argnums=1)
    shares = lambda rule, length: block_shares(build(stored[length], rule)["update"], length)  # noqa: E731
    results["shares of the causal triangle"] = {rule: {length: shares(rule, length) for length in full_lengths} for rule in MASK_RULES}
    results["matrix product, TFLOP/s"] = (rate := matrix_rate(gpu)) / 1e12
    results["rows x heads"] = f"{rows} x {heads}"
    results["timings"] = []
    for rule in MASK_RULES:
        for length, batch in batches.items():
            times = time_everything(batch, rule, heads, gpu, calls=10 if gpu else 1)
            case = {"rule": rule, "tokens": length, "seconds": times}
            if gpu:  # elsewhere the ratios would compare what nobody trains with
                case["derived"] = derived(times, build(batch, rule)["update"], heads, rate)
            results["timings"].append(case)
    print(table(results), flush=True)
    write_report("attention", results, device=where)
    plot(results, RESULTS / "attention.png", f"{where or 'a CPU'}: {results['note']}")


if __name__ == "__main__":
    main()
