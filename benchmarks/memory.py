"""How much GPU memory a training step takes, for each model size, without a GPU: the step is compiled for an H800, and XLA says.

    python benchmarks/memory.py

Arguments (parameters, optimizer, batch) and temporaries; donated buffers count once. The plugin that compiles for GPUs is where
`./hid test` puts it. Writes benchmarks/results/memory.json.
"""

import functools
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import hopper_target

os.environ |= hopper_target.environment()  # before JAX starts
sys.path += os.environ["PYTHONPATH"].split(os.pathsep)

import jax
from report import write_report
from tqdm import tqdm

from configs import MODEL_SIZES, ComputeConfig, TrainConfig
from configs.model import LAYER_TOKENS
from jax_impl.optimizer import learning_rate, optimizer
from jax_impl.step import abstract_model, initial_state, train_step
from jax_impl.train import abstract_batches

CASES = (  # model size, rows, tokens of a row, what is kept
    ("small", 4, 8192, "layer"),
    ("base", 4, 8192, "layer"),
    ("large", 4, 8192, "layer"),
    ("large", 4, 8192, "attention"),
    ("large", 48, 8192, "layer"),
    ("xlarge", 2, 8192, "layer"),
)


def measure(size: str, rows: int, length: int, remat: str) -> dict:
    """Gigabytes (10^9 bytes) of one step, and seconds to compile it."""
    config, model = TrainConfig(Path("songs"), Path("run"), model_size=size, batch_size=rows, max_seq_len=length), MODEL_SIZES[size]
    rate = functools.partial(learning_rate, config=config, total_steps=1000)
    tx, place = optimizer(config, rate), jax.sharding.SingleDeviceSharding(hopper_target.devices()[0])
    state = jax.eval_shape(functools.partial(initial_state, model, tx, config.seed))
    state, batches = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), (state, abstract_batches(config)))
    compute = ComputeConfig(attention="pallas", precision="bf16", remat=remat, layer_rows=max(1, LAYER_TOKENS // length))
    step = functools.partial(
        train_step, graph=abstract_model(model)[0], tx=tx, rate=rate, seed=0, max_spans=config.row_spans, compute=compute
    )
    start = time.perf_counter()
    memory = jax.jit(step, donate_argnames="state").lower(state, batches).compile().memory_analysis()
    seconds = time.perf_counter() - start
    arguments = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "arguments_gb": round(arguments / 1e9, 2),
        "temporaries_gb": round(memory.temp_size_in_bytes / 1e9, 2),
        "total_gb": round((arguments + memory.temp_size_in_bytes) / 1e9, 2),
        "max_spans": config.row_spans,
        "compile_seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    results = {f"{size} {rows} x {length}, remat {remat}": measure(size, rows, length, remat) for size, rows, length, remat in tqdm(CASES)}
    write_report("memory", results, device="compiled for an H800, not run on one")
