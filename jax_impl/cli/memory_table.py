"""`hid-museformer memory`: what the training step takes of a GPU, by model, batch and rematerialization;
no GPU is needed.

remat     memory   computed again        remat     largest batch
none     60.8 GB              0 %        none           4 x 8192
layer     9.6 GB             94 %        layer        180 x 8192
"""

import functools
import json
import sys
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
from jax_impl.training.step import abstract_batches, make_step

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
    options: dict[str, str | bool]

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
    place = jax.sharding.SingleDeviceSharding(target.device)
    _, initialize, step = make_step(model, config, total_steps=1000)
    abstract = jax.eval_shape(initialize), abstract_batches(config)
    inputs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), abstract)
    return jax.jit(functools.partial(step, compute=compute), donate_argnames="state").lower(*inputs)


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


def rows_of(model: ModelConfig, rows: int, length: int, target: Target) -> Iterator[dict]:
    """What each rematerialization takes at this batch, each as soon as it is compiled; then, since it takes a few more
    programs each, the largest batch that fits: 0 where none does. Bytes, and shares of the forward pass.
    """
    with tqdm(unit=" programs compiled", leave=False) as bar:

        @functools.cache
        def measured(remat: str, rows: int) -> Memory:
            bar.set_description(f"remat {remat}, {rows} x {length}")
            taken = measure(model, rows, length, remat, target)
            bar.update()
            return taken

        for remat in REMAT_CHOICES:
            asked = measured(remat, rows)
            yield {
                "remat": remat,
                "rows": rows,
                "total": asked.total,
                "arguments": asked.arguments,
                "temporaries": asked.temporaries,
                "computed_again": round(repeated(model, length, remat), 4),
            }
        for remat in REMAT_CHOICES:
            most = memory.largest_batch(
                lambda rows, remat=remat: measured(remat, rows).total, rows, target.budget, device.rows_at_once(length)
            )
            yield {"remat": remat, "largest_rows": most, "total": measured(remat, most).total if most else None}


def show(size: str, rows: int, length: int, as_json: bool = False) -> None:
    """Prints what each rematerialization takes at this batch, and the largest batch that fits; as_json: an object a
    line, each with what was asked.
    """
    model, target = MODEL_SIZES[size], find_target()
    config = TrainConfig(Path(), Path(), batch_size=rows, max_seq_len=length)
    memory.refuse_what_cannot_fit(config, abstract_model(model)[1], 1, target.budget)
    asked = {"model_size": size, "max_seq_len": length, "device": target.describe(), "budget": target.budget}
    if not as_json:
        _say(
            f"{size}, {rows} x {length} tokens, bf16, attention {target.attention}; {target.describe()}: "
            f"{target.budget / GB:.1f} GB for JAX\n"
            "remat       memory: state and batch  temporaries   computed again"
        )
    for row in rows_of(model, rows, length, target):
        if as_json:
            _say(json.dumps(asked | row))
        elif "largest_rows" not in row:
            _say(
                f"{row['remat']:10} {row['total'] / GB:4.1f} GB: {row['arguments'] / GB:15.1f}  "
                f"{row['temporaries'] / GB:11.1f}   {row['computed_again']:12.0%}"
            )
        else:
            if row["remat"] == REMAT_CHOICES[0]:
                _say("remat       largest batch that fits")
            fits = f"{row['largest_rows']} x {length} ({row['total'] / GB:.1f} GB)" if row["largest_rows"] else "none"
            _say(f"{row['remat']:10}  {fits}")
    if not as_json:
        _say(
            "computed again: of the forward pass, estimated; largest batch: in steps of the rows that a layer "
            "works on at once"
        )


def _say(line: str) -> None:
    """At once, beside the bar: the next line takes minutes."""
    tqdm.write(line)
    sys.stdout.flush()


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


def show_layers(as_json: bool = False) -> None:
    """Prints what each layer costs, beside v1.2.1's figures; as_json: an object a line."""
    target = find_target()
    rows, length, width, depths = V121_TABLE
    if not as_json:
        _say(
            f"{rows} x {length} tokens, width {width}, bf16, attention {target.attention}; {target.describe()}; MB\n"
            "remat      temporaries of "
            + "".join(f"{layers:>9} layers" for layers in depths)
            + "   kept per layer   v1.2.1's"
        )
    for cost in layer_costs(target):
        if as_json:
            _say(json.dumps({"device": target.describe()} | cost))
            continue
        taken = "".join(f"{megabytes:16.0f}" for megabytes in cost["temporaries_mb"].values())
        _say(f"{cost['remat']:26}{taken}   {cost['kept_per_layer_mb']:14.1f}   {cost['v121_kept_per_layer_mb']:8}")
    if not as_json:
        _say("kept per layer: for the backward pass, beside the layer's own gradient (fp32)")
