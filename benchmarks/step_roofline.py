"""What a training step cannot be faster than on an H100 or H800, reckoned from the program that XLA compiles for one.

    python benchmarks/step_roofline.py [--songs ../shared/data/midi] [--cases "large 4" "small 16"] [--top 15]

Needs the CUDA plugin of XLA, which `./hid memory` installs, and no GPU. Each kernel of the program takes at least

    max(bytes / bandwidth, FLOPs / peak, other operations / their rate)

if nothing is found in a cache, and launches cost nothing. The sum over all kernels but attention's is the time that no
faster attention can get under; with attention's, whose blocks are those that the masks of real songs list, it is the
bound of the step. MFU's numerator is the model's (jax_impl.model.flops), of those songs. Sums by part of the model and
by what a kernel is for go to benchmarks/results/step_roofline.json, with what the feed-forward of the summaries takes:
half as wide it would take half of that.
"""

import argparse
import re
import tempfile
from pathlib import Path

import hlo
import numpy as np
from report import write_report

from configs import MODEL_SIZES, TrainConfig
from configs.model import HEAD_DIM
from jax_impl.device import gpu_target

gpu_target.add_plugin()  # before JAX is imported

import attention_rows  # noqa: E402
import jax  # noqa: E402

from jax_impl.attention.block_mask import LISTED  # noqa: E402
from jax_impl.cli import memory_table  # noqa: E402
from jax_impl.device import memory  # noqa: E402
from jax_impl.model import flops, masks  # noqa: E402

# An H100 SXM or H800: dense peaks in FLOP/s by what is multiplied (fp32 as TF32), bytes/s, and operations/s of its
# 132 processors at 1.83 GHz, which do 64 integer, 128 floating and 16 special ones a cycle
PEAKS = {"bf16": 989.4e12, "f32": 494.7e12}
BANDWIDTH = 3.35e12
CYCLES = 132 * 1.83e9
RATES = {"integer": 64 * CYCLES, "floating": 128 * CYCLES, "special": 16 * CYCLES}
LENGTH = 8192
KERNELS = {"block_sparse_forward": 2, "block_sparse_dq": 3, "block_sparse_dkv": 4}  # products of a pair of tiles
PARTS = ("masks", "embed", "summarize", "update", "feed_forward", "logits", "optimizer")


def seconds(kernel: hlo.Kernel, pairs: dict[str, float], heads: int) -> float:
    """Of all its launches in a step. pairs: that the kernels compute, by mask."""
    rate = sum(amount / PEAKS[dtype] for dtype, amount in kernel.flops.items())
    other = max(getattr(kernel, name) / per_second for name, per_second in RATES.items())
    if products := attention_products(kernel):
        rate = products * 2 * HEAD_DIM * heads * pairs[part(kernel)] / PEAKS["bf16"]
    return kernel.times * max(kernel.bytes / BANDWIDTH, rate, other)


def attention_products(kernel: hlo.Kernel) -> int:
    """Products of two tiles that a kernel of attention does for each pair of them; 0 of any other."""
    if kernel.instruction.operation != "custom-call":
        return 0
    return next((products for name, products in KERNELS.items() if name in kernel.instruction.text), 0)


def part(kernel: hlo.Kernel) -> str:
    scopes = [kernel.instruction.scope, *(one.scope for one in kernel.inside)]
    names = [re.findall(r"\b(" + "|".join(PARTS) + r")\b", scope) for scope in scopes]
    return next((found[0] for found in names if found), "around the layers")


def is_of_summaries(kernel: hlo.Kernel, rows: int, slots: int) -> bool:
    """Whether it works on an array of all summaries."""
    shapes = [array.shape for one in kernel.inside for array in one.arrays]
    return any(rows * slots in shape or shape[:2] == (rows, slots) for shape in shapes)


def purpose(kernel: hlo.Kernel) -> str:
    if attention_products(kernel):
        return "attention"
    if kernel.flops:
        return "products"
    inside = {one.operation for one in kernel.inside} - hlo.FREE
    computes = kernel.integer + kernel.floating + kernel.special
    if inside <= {"broadcast"}:
        return "zero fills"
    if inside & {"dynamic-update-slice", "dynamic-slice"} and inside <= hlo.MOVES | hlo.SLICES | {
        "compare",
        "select",
        "add",
    }:
        return "weights to bf16" if "convert" in inside else "stacks of the scan"
    if inside <= hlo.MOVES | hlo.SLICES:
        return "copies"
    if "concatenate" in inside:
        return "concatenations"
    return "other" if computes else "copies"


def reckon(size: str, rows: int, batch, remat: str, top: int) -> dict:
    model, target = MODEL_SIZES[size], memory_table.find_target()
    lowered = memory_table.lower_step(model, rows, LENGTH, remat, target)
    compiled = lowered.compile(compiler_options=target.options)
    spans = TrainConfig(Path(), Path(), max_seq_len=LENGTH).row_spans
    batch = type(batch)(*(np.resize(field, (rows, LENGTH)) for field in batch))
    needed = flops.per_token(model, [batch], spans) * float((batch.document > 0).sum())
    pairs = visited_pairs(batch, model, spans)
    by_part, by_purpose, lines = {}, {}, []
    for kernel in hlo.kernels(compiled.as_text()):
        took = seconds(kernel, pairs, model.heads)
        where, why = part(kernel), purpose(kernel)
        by_part[where] = by_part.get(where, 0.0) + (why != "attention") * took
        by_purpose[why] = by_purpose.get(why, 0.0) + took
        lines.append((took, kernel, where, why))
    slots = -(-spans // masks.SLOTS) * masks.SLOTS
    of_summaries = [line for line in lines if line[2] == "feed_forward" and is_of_summaries(line[1], rows, slots)]
    attention = by_purpose.get("attention", 0.0)
    without = sum(by_purpose.values()) - attention
    share = lambda time: round(needed / time / PEAKS["bf16"], 3)
    show_longest(lines, top)
    in_ms = lambda sums: {name: round(took * 1e3, 2) for name, took in sorted(sums.items(), key=lambda x: -x[1])}
    return {
        "model_size": size,
        "batch": f"{rows} x {LENGTH}",
        "remat": remat,
        "needed_tflops": round(needed / 1e12, 2),
        "memory_gb": round(memory.of(compiled).total / 1e9, 2),
        "launches": sum(kernel.times for _, kernel, _, _ in lines),
        "ms": {
            "step": round((without + attention) * 1e3, 2),
            "products": round(by_purpose["products"] * 1e3, 2),
            "attention": round(attention * 1e3, 2),
            "all else": round((without - by_purpose["products"]) * 1e3, 2),
        },
        "ms_of_the_feed_forward_of_summaries": {
            "products": round(sum(took for took, _, _, why in of_summaries if why == "products") * 1e3, 2),
            "all else": round(sum(took for took, _, _, why in of_summaries if why != "products") * 1e3, 2),
        },
        "ms_by_purpose": in_ms(by_purpose),
        "ms_by_part_without_attention": in_ms(by_part),
        "highest_mfu": {
            "whatever attention takes": share(without),
            "with attention at its own bound": share(without + attention),
        },
    }


def show_longest(lines: list, top: int) -> None:
    """Prints the kernels that take longest; alike ones, as those of all layers, together."""
    alike: dict[tuple, list[float]] = {}
    for took, kernel, where, why in lines:
        name = re.sub(r"[\d.]+", "", kernel.instruction.name)
        key = (where, why, kernel.bytes, name, kernel.instruction.scope[-70:])
        sums = alike.setdefault(key, [0.0, 0])
        sums[0], sums[1] = sums[0] + took, sums[1] + kernel.times
    for (where, why, moved, name, scope), (took, times) in sorted(alike.items(), key=lambda item: -item[1][0])[:top]:
        print(f"{took * 1e3:7.2f} ms {times:4} x {moved / 1e6:8.1f} MB  {where:13} {why:15} {name} {scope}")


def visited_pairs(batch, model, spans: int) -> dict[str, float]:
    """(query, key) pairs in the blocks that each mask lists, of all rows."""

    @jax.jit
    def count(batch):
        data = masks.summaries(batch, model.mask_rule, spans)
        built = {"summarize": masks.summarize_mask, "update": masks.update_mask}
        return {
            name: build(batch, data, model.mask_rule).key_lists[..., LISTED].sum() * (64 * 128)
            for name, build in built.items()
        }

    return {name: float(value) for name, value in count(batch).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, help="folder of MIDI files (none: the built-in composer's songs)")
    parser.add_argument("--rows", type=Path, help="file of packed rows; made where it does not exist")
    parser.add_argument("--cases", nargs="+", default=["large 4", "small 16"], help="model size and rows")
    parser.add_argument("--remat", default="products")
    parser.add_argument("--top", type=int, default=0, help="print so many of the longest kernels")
    parser.add_argument("--name", default="step_roofline", help="of the report")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        batch = attention_rows.load(args.rows or Path(folder) / "rows.npz", args.songs, [LENGTH], 4)[LENGTH]
    results = [
        reckon(size, int(rows), batch, args.remat, args.top) for size, rows in (case.split() for case in args.cases)
    ]
    write_report(args.name, {"cases": results}, device="NVIDIA H800 (compiled for, not run)")


if __name__ == "__main__":
    main()
