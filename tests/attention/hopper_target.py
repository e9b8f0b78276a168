"""Compiles for an H800 on a machine without a GPU (jax_impl/device/gpu_target.py).

As a program (a compiler that is told to write its reports must be told before JAX starts) it prints one line of JSON
per case, by default of all that the tests look at:

    python -m tests.attention.hopper_target ["tiny float32" ...]
"""

import collections
import functools
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from configs.train import SPANS_PER_TOKEN
from jax_impl.device import gpu_target
from tests import ROOT


def summaries(length: int) -> int:
    """Of a row of so many tokens, in training."""
    return int(length * SPANS_PER_TOKEN)


# name: rows, heads, queries, tokens that are keys behind the summaries. Heads and lengths of the model sizes.
SHAPES = {
    "tiny": (1, 2, 1024, 1024),
    "small": (4, 4, 8192, 8192),
    "large": (4, 12, 8192, 8192),
    "large summarize": (4, 12, summaries(8192), 8192),
    "large 24576": (1, 12, 24576, 24576),
}
CASES = [f"{name} bfloat16" for name in SHAPES if name.startswith("large")] + ["large float32"]


def environment() -> dict[str, str]:
    """Variables under which this file runs: CPU only."""
    return os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)}


def compile_kernels(shape: tuple[int, int, int, int], dtype: str) -> dict:
    """Memory of one forward and backward pass, compiled."""
    import jax
    import jax.numpy as jnp

    from jax_impl.attention import attention, pack_dense

    rows, heads, num_queries, tokens = shape
    groups = summaries(tokens), tokens
    sharding = jax.sharding.SingleDeviceSharding(gpu_target.devices(1)[0])
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    array = lambda length: place(jax.ShapeDtypeStruct((rows, heads, length, 64), jnp.dtype(dtype)))
    mask = jax.tree.map(place, jax.eval_shape(pack_dense, jax.ShapeDtypeStruct((rows, num_queries, sum(groups)), bool)))
    run = functools.partial(attention, impl="pallas")

    def derivatives(q, k, v, mask, d_out):
        return jax.vjp(lambda *qkv: run(*qkv, mask), q, k, v)[1](d_out)

    q, k, d_out = array(num_queries), tuple(map(array, groups)), array(num_queries)
    forward = jax.jit(run).lower(q, k, k, mask).compile(compiler_options=gpu_target.NO_TIMING)
    backward = jax.jit(derivatives).lower(q, k, k, mask, d_out).compile(compiler_options=gpu_target.NO_TIMING)
    return {
        "forward_temporaries": forward.memory_analysis().temp_size_in_bytes,
        "temporaries": backward.memory_analysis().temp_size_in_bytes,
        "out": num_queries * rows * heads * 64 * jnp.dtype(dtype).itemsize,
        "lse_and_delta": num_queries * rows * heads * 2 * 4,
    }


def count_instructions(text: str) -> list[dict[str, int]]:
    """Of a disassembly, by operation, one step of each loop that has products: over full blocks, then over those seen
    in part.
    """
    operations, labels, loops = [], {}, []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label.group(1)] = len(operations)
        elif instruction := re.search(
            r"/\*[0-9a-f]{4,5}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)[^`]*(?:`\((\.L_x_\d+)\))?", line
        ):
            operations.append(instruction.group(1))
            target = labels.get(instruction.group(2), len(operations))
            if "HGMMA" in operations[target:]:  # a jump back: to before what is between
                loops.append(operations[target:])
    inner, steps = sorted(loops, key=len)[:4], 1  # the others are waits that start again: they contain a step and more
    if all(loop.count("HGMMA") == 2 * inner[0].count("HGMMA") for loop in inner[2:]):
        inner, steps = inner[2:], 2  # a turn; before come the loops over a last step that is left
    counts = lambda loop: {"all": len(loop)} | dict(sorted(collections.Counter(loop).items()))
    return [{name: round(count / steps) for name, count in counts(loop).items()} for loop in inner[:2]]


def under_products(ptx: str) -> list[dict[str, int]]:
    """Of each product, exponentials and waits for barriers between its beginning and the wait for its end."""
    found = []
    for part in ptx.split("wgmma.commit_group")[1:]:
        meanwhile = part.split("wgmma.wait_group")[0]
        found.append({"exponentials": meanwhile.count("ex2."), "waits": meanwhile.count("mbarrier.try_wait")})
    return found


def read_reports(folder: Path) -> list[dict]:
    """What ptxas said about each kernel compiled since the folder was emptied."""
    reports = []
    for path in sorted(folder.glob("*.ptxas")):
        text = path.read_text(encoding="utf-8")
        log = path.with_name(f"{path.stem}.mlir-passes.log")
        sass = path.with_suffix(".sass_ctrl")
        log_text = log.read_text(errors="replace", encoding="utf-8") if log.exists() else ""
        compiler = re.search(r"release [\d.]+, V([\d.]+)", log_text)
        numbers = lambda pattern, text=text: [int(number) for number in re.findall(pattern, text)]
        reports.append(
            {
                "kernel": re.sub(r"_\d+$", "", path.stem),
                "spill_bytes": sum(numbers(r"(\d+) bytes spill")),
                "spill_lines": len(numbers(r"(\d+) bytes spill stores")),
                "registers_at_entry": numbers(r"Used (\d+) registers"),
                "named_barriers": sum(numbers(r"used (\d+) barriers")),
                "steps": count_instructions(sass.read_text(errors="replace", encoding="utf-8"))
                if sass.exists()
                else None,
                "shared_bytes": sorted(set(map(int, re.findall(r"dynamic_shared_memory_size %c(\d+)_i32", log_text)))),
                "under_products": under_products(path.with_suffix(".ptx").read_text(encoding="utf-8")),
                "warnings": re.findall(r".*[Ww]arning.*", text),
                "compiler": compiler and compiler.group(1),
            }
        )
        path.unlink()
    return reports


def compile_masks(length: int = 24576, rows: int = 2) -> dict:
    """Bytes of building both masks of rows of so many tokens; booleans for every pair of the update mask would be so
    many.
    """
    import jax

    from configs import MASK_RULES
    from jax_impl.batch import Batch
    from jax_impl.model import masks

    sharding, found = jax.sharding.SingleDeviceSharding(gpu_target.devices(1)[0]), {}
    types = ("float32" if name == "weights" else "int32" for name in Batch._fields)
    batch = Batch(*(jax.ShapeDtypeStruct((rows, length), dtype, sharding=sharding) for dtype in types))
    for name, rule in MASK_RULES.items():

        def build(batch, rule=rule):
            data = masks.summaries(batch, rule, summaries(length))
            return masks.summarize_mask(batch, data, rule), masks.update_mask(batch, data, rule)

        memory = jax.jit(build).lower(batch).compile(compiler_options=gpu_target.NO_TIMING).memory_analysis()
        found[name] = {"outputs": memory.output_size_in_bytes, "temporaries": memory.temp_size_in_bytes}
    return found | {"booleans": rows * length * (length + summaries(length))}


def lower_train_step() -> str:
    """The training step of the tiny model, as it is handed to the compiler."""
    from configs import MODEL_SIZES
    from jax_impl.cli import memory_table

    return memory_table.lower_step(MODEL_SIZES["tiny"], 4, 1024, "layer", memory_table.find_target()).as_text()


def compile_train_step() -> int:
    """Bytes that a short step of the tiny model takes, by the way that the verb `memory` goes."""
    from configs import MODEL_SIZES
    from jax_impl.cli import memory_table

    return memory_table.measure(MODEL_SIZES["tiny"], 1, 256, "layer", memory_table.find_target()).total


def compile_on_two_devices() -> str:
    """The optimized program of attention with its batch on two devices."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jax_impl.attention import attention, pack_dense

    mesh = jax.sharding.Mesh(np.array(gpu_target.devices(2)), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    mask = jax.tree.map(place, jax.eval_shape(pack_dense, jax.ShapeDtypeStruct((2, 256, 256), bool)))
    x = place(jax.ShapeDtypeStruct((2, 2, 256, 64), jnp.bfloat16))
    loss = lambda q, k, v, mask: attention(q, k, v, mask, impl="pallas").astype(jnp.float32).sum()
    with jax.set_mesh(mesh):
        return (
            jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
            .lower(x, x, x, mask)
            .compile(compiler_options=gpu_target.NO_TIMING)
            .as_text()
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"MOSAIC_GPU_DUMP_TO": folder, "MOSAIC_GPU_DUMP_PTXAS": "1", "MOSAIC_GPU_DUMP_PTX": "1"}
        gpu_target.add_plugin()
        for case in sys.argv[1:] or CASES:
            name, dtype = case.rsplit(" ", 1)
            result = compile_kernels(SHAPES[name], dtype)
            print(json.dumps({"case": case} | result | {"kernels": read_reports(Path(folder))}), flush=True)
        if sys.argv[1:]:
            return
        print(json.dumps({"case": "masks"} | compile_masks()), flush=True)
        print(json.dumps({"case": "train step", "text": lower_train_step()}), flush=True)
        print(json.dumps({"case": "short train step", "total": compile_train_step()}), flush=True)
        print(json.dumps({"case": "two devices", "text": compile_on_two_devices()}), flush=True)


if __name__ == "__main__":
    main()
