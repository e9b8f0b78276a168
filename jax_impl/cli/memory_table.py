"""`hid-museformer memory`: what the training step takes of a GPU, by model, batch and rematerialization;
no GPU is needed.

rematerialization   memory   computed again   largest batch
none                60.8 GB             0 %        4 x 8192
layer                9.6 GB            94 %      180 x 8192
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jax
from tqdm import tqdm

from configs import MODEL_SIZES, ComputeConfig, ModelConfig, TrainConfig
from configs.model import REMAT_CHOICES
from jax_impl.cli import process
from jax_impl.device import device, gpu_target, memory
from jax_impl.device.memory import GB, Memory
from jax_impl.model import flops
from jax_impl.model.museformer import abstract_model
from jax_impl.training.optimizer import learning_rate, optimizer
from jax_impl.training.step import abstract_batches, initial_state, train_step

MB = 1e6
VISITED = 0.4  # of the causal pairs, those in blocks that the kernels visit: real multi-track songs at 8192 tokens
V121_TABLE = (1, 4096, 512, (6, 12, 18, 24))  # rows, tokens, width, layers of v1.2.1's test_gc_layers
V121_PER_LAYER = {"none": 210, "layer": 46}  # MB it printed


@dataclass(frozen=True)
class Target:
    """A GPU to compile for. budget: bytes of it that JAX may take; options: of the compiler."""

    device: jax.Device
    attention: str
    budget: int
    options: dict[str, str]

    def describe(self) -> str:
        return self.device.device_kind + ("" if self.device in jax.devices() else " (compiled for, not there)")


def find_target() -> Target:
    """This machine's GPU; without one an H800, for which gpu_target.add_plugin must have been called."""
    if device.on_gpu():
        return Target(jax.devices()[0], device.best_attention(), device.memory_limit(), {})
    return Target(
        gpu_target.devices(1)[0], "pallas", int(process.GPU_SHARE * gpu_target.H800_BYTES), gpu_target.NO_TIMING
    )


def lower_step(model: ModelConfig, rows: int, length: int, remat: str, target: Target) -> jax.stages.Lowered:
    """The step of training `rows` rows of `length` tokens on one device, bf16, state donated."""
    config = TrainConfig(Path(), Path(), batch_size=rows, max_seq_len=length)
    compute = ComputeConfig(target.attention, "bf16", remat, layer_rows=device.rows_at_once(length))
    rate = functools.partial(learning_rate, config=config, total_steps=1000)
    tx, place = optimizer(config, rate), jax.sharding.SingleDeviceSharding(target.device)
    state = jax.eval_shape(functools.partial(initial_state, model, tx, config.seed))
    inputs = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), (state, abstract_batches(config))
    )
    settings = dict(
        graph=abstract_model(model)[0], tx=tx, rate=rate, seed=config.seed, max_spans=config.row_spans, compute=compute
    )
    return jax.jit(functools.partial(train_step, **settings), donate_argnames="state").lower(*inputs)


def measure(model: ModelConfig, rows: int, length: int, remat: str, target: Target) -> Memory:
    """Of one training step on one device."""
    return memory.of(lower_step(model, rows, length, remat, target).compile(compiler_options=target.options))


def repeated(model: ModelConfig, length: int, remat: str) -> float:
    """Estimated share of the forward pass's FLOPs that a full row of real songs computes again."""
    summaries = TrainConfig(Path(), Path(), max_seq_len=length).row_spans / length  # of a token
    pairs = length / 2 * VISITED + summaries * (length / 2 + summaries * length / 2) + 1  # RR, RS and SS, SR
    return flops.repeated(model, remat, summaries, pairs)


def layer_gradient(model: ModelConfig) -> int:
    """Bytes of one layer's gradient, fp32."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_model(model)[1]["layers"])) // model.layers * 4


# ---------------------------------------------------------------- the tables


def show(size: str, rows: int, length: int) -> None:
    """Prints what each rematerialization takes at this batch, and the largest batch that fits."""
    model, target = MODEL_SIZES[size], find_target()
    config = TrainConfig(Path(), Path(), batch_size=rows, max_seq_len=length)
    memory.refuse_what_cannot_fit(config, abstract_model(model)[1], 1, target.budget)
    print(
        f"{size}, {rows} x {length} tokens, bf16, attention {target.attention}; {target.describe()}: "
        f"{target.budget / GB:.1f} GB for JAX"
    )
    print("remat       memory: state and batch  temporaries   computed again   largest batch that fits")
    with tqdm(unit=" programs compiled", leave=False) as bar:
        for remat in REMAT_CHOICES:

            @functools.cache
            def measured(rows: int, remat: str = remat) -> Memory:
                bar.set_description(f"remat {remat}, {rows} x {length}")
                bar.update()
                return measure(model, rows, length, remat, target)

            asked = measured(rows)
            most = memory.largest_batch(
                lambda rows: measured(rows).total, rows, target.budget, device.rows_at_once(length)
            )
            fits = f"{most} x {length} ({measured(most).total / GB:.1f} GB)" if most else "none"
            bar.write(
                f"{remat:10} {asked.total / GB:4.1f} GB: {asked.arguments / GB:15.1f}  "
                f"{asked.temporaries / GB:11.1f}   "
                f"{repeated(model, length, remat):12.0%}   {fits}"
            )
    print(
        "computed again: of the forward pass, estimated; largest batch: in steps of the rows that a layer "
        "works on at once"
    )


def layer_costs(target: Target) -> Iterator[dict]:
    """v1.2.1's table: without and with rematerialization, MB by number of layers, and what a layer keeps for the
    backward pass.

    That is the growth of the temporaries less the layer's gradient; its parameters and moments are none of them.
    """
    rows, length, width, depths = V121_TABLE
    base = next(model for model in MODEL_SIZES.values() if model.width == width)
    with tqdm(total=len(V121_PER_LAYER) * len(depths), unit=" programs compiled", leave=False) as bar:
        for remat, before in V121_PER_LAYER.items():
            temporaries = []
            for layers in depths:
                bar.set_description(f"remat {remat}, {layers} layers")
                temporaries.append(measure(replace(base, layers=layers), rows, length, remat, target).temporaries)
                bar.update()
            grown = (temporaries[-1] - temporaries[0]) / (depths[-1] - depths[0])
            yield {
                "remat": remat,
                "temporaries_mb": {
                    layers: round(taken / MB, 1) for layers, taken in zip(depths, temporaries, strict=True)
                },
                "gradient_per_layer_mb": round(layer_gradient(base) / MB, 2),
                "kept_per_layer_mb": round((grown - layer_gradient(base)) / MB, 2),
                "v121_kept_per_layer_mb": before,
            }


def show_layers() -> None:
    """Prints what each layer costs, beside v1.2.1's figures."""
    target = find_target()
    rows, length, width, depths = V121_TABLE
    print(f"{rows} x {length} tokens, width {width}, bf16, attention {target.attention}; {target.describe()}; MB")
    print(
        "remat      temporaries of "
        + "".join(f"{layers:>9} layers" for layers in depths)
        + "   kept per layer   v1.2.1's"
    )
    for cost in layer_costs(target):
        taken = "".join(f"{megabytes:16.0f}" for megabytes in cost["temporaries_mb"].values())
        print(f"{cost['remat']:26}{taken}   {cost['kept_per_layer_mb']:14.1f}   {cost['v121_kept_per_layer_mb']:8}")
    print("kept per layer: for the backward pass, beside the layer's own gradient (fp32)")
