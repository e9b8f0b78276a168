"""Compiles for an H800 on a machine without a GPU (jax_impl/gpu_target.py).

As a program (a compiler that is told to write its reports must be told before JAX starts) it prints one line of JSON per case:

    python tests/hopper_target.py
"""

import functools
import json
import os
import re
import tempfile
from pathlib import Path

from jax_impl import gpu_target

# name: rows, heads, queries, keys. Heads and lengths of the model sizes, at max_seq_len / 8 summaries.
SHAPES = {
    "tiny": (1, 2, 1024, 1024 + 128),
    "small": (4, 4, 8192, 8192 + 1024),
    "large": (4, 12, 8192, 8192 + 1024),
    "large summarize": (4, 12, 1024, 8192 + 1024),
    "large 24576": (1, 12, 24576, 24576 + 3072),
}


def environment() -> dict[str, str]:
    """Variables under which this file runs: CPU only."""
    return os.environ | {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(Path(__file__).parent.parent)}


def compile_kernels(shape: tuple[int, int, int, int], dtype: str) -> dict:
    """Memory of one forward and backward pass, compiled."""
    import jax
    import jax.numpy as jnp

    from jax_impl.attention import attention, pack_dense

    rows, heads, num_queries, num_keys = shape
    sharding = jax.sharding.SingleDeviceSharding(gpu_target.devices(1)[0])
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # noqa: E731
    array = lambda length: place(jax.ShapeDtypeStruct((rows, heads, length, 64), jnp.dtype(dtype)))  # noqa: E731
    mask = jax.tree.map(place, jax.eval_shape(pack_dense, jax.ShapeDtypeStruct((rows, num_queries, num_keys), bool)))
    run = functools.partial(attention, impl="pallas")

    def derivatives(q, k, v, mask, d_out):
        return jax.vjp(lambda *qkv: run(*qkv, mask), q, k, v)[1](d_out)

    q, k, d_out = array(num_queries), array(num_keys), array(num_queries)
    forward = jax.jit(run).lower(q, k, k, mask).compile(compiler_options=gpu_target.NO_TIMING)
    backward = jax.jit(derivatives).lower(q, k, k, mask, d_out).compile(compiler_options=gpu_target.NO_TIMING)
    return {
        "forward_temporaries": forward.memory_analysis().temp_size_in_bytes,
        "temporaries": backward.memory_analysis().temp_size_in_bytes,
        "out_lse_and_delta": num_queries * rows * heads * (64 * jnp.dtype(dtype).itemsize + 2 * 4),
        "lse_and_delta": num_queries * rows * heads * 2 * 4,
    }


def read_reports(folder: Path) -> list[dict]:
    """What ptxas said about each kernel compiled since the folder was emptied."""
    reports = []
    for path in sorted(folder.glob("*.ptxas")):
        text = path.read_text()
        log = path.with_name(f"{path.stem}.mlir-passes.log")
        compiler = re.search(r"release [\d.]+, V([\d.]+)", log.read_text(errors="replace")) if log.exists() else None
        numbers = lambda pattern, text=text: [int(number) for number in re.findall(pattern, text)]  # noqa: E731
        reports.append(
            {
                "kernel": re.sub(r"_\d+$", "", path.stem),
                "spill_bytes": sum(numbers(r"(\d+) bytes spill")),
                "spill_lines": len(numbers(r"(\d+) bytes spill stores")),
                "registers_at_entry": numbers(r"Used (\d+) registers"),
                "warnings": re.findall(r".*[Ww]arning.*", text),
                "compiler": compiler and compiler.group(1),
            }
        )
        path.unlink()
    return reports


def lower_train_step() -> str:
    """The training step of the tiny model, as it is handed to the compiler."""
    from configs import MODEL_SIZES
    from jax_impl import memory_table

    return memory_table.lower_step(MODEL_SIZES["tiny"], 4, 1024, "layer", memory_table.find_target()).as_text()


def compile_on_two_devices() -> str:
    """The optimized program of attention with its batch on two devices."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jax_impl.attention import attention, pack_dense

    mesh = jax.sharding.Mesh(np.array(gpu_target.devices(2)), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)  # noqa: E731
    mask = jax.tree.map(place, jax.eval_shape(pack_dense, jax.ShapeDtypeStruct((2, 256, 256), bool)))
    x = place(jax.ShapeDtypeStruct((2, 2, 256, 64), jnp.bfloat16))
    loss = lambda q, k, v, mask: attention(q, k, v, mask, impl="pallas").astype(jnp.float32).sum()  # noqa: E731
    with jax.set_mesh(mesh):
        return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x, mask).compile(compiler_options=gpu_target.NO_TIMING).as_text()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"MOSAIC_GPU_DUMP_TO": folder, "MOSAIC_GPU_DUMP_PTXAS": "1", "MOSAIC_GPU_DUMP_PTX": "1"}
        gpu_target.add_plugin()
        for dtype, names in {"bfloat16": list(SHAPES), "float32": ["large"]}.items():
            for name in names:
                result = compile_kernels(SHAPES[name], dtype)
                print(json.dumps({"case": f"{name} {dtype}"} | result | {"kernels": read_reports(Path(folder))}), flush=True)
        print(json.dumps({"case": "train step", "text": lower_train_step()}), flush=True)
        print(json.dumps({"case": "two devices", "text": compile_on_two_devices()}), flush=True)


if __name__ == "__main__":
    main()
