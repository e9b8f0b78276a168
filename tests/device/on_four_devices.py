"""Compiles and runs training steps on meshes of one and of four simulated devices; prints, as JSON, the collectives of
each compiled step and what each step measured. A program, since the number of devices is fixed when JAX starts.

    XLA_FLAGS=--xla_force_host_platform_device_count=4 python -m tests.device.on_four_devices
"""

import collections
import functools
import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from configs import ComputeConfig, ModelConfig, TrainConfig
from jax_impl.batch import Batch
from jax_impl.device import sharding
from jax_impl.training.step import abstract_batches, make_step
from tests.rounding import apart, neighbours
from tests.rows import batch_of, random_song

MODEL = ModelConfig(layers=2, width=64, ffn=128, max_bars=16)
ROWS = 20  # five for each of four devices: no multiple of the two that a layer may work on at once
LENGTH = 128
COLLECTIVES = r" (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
CASES = {
    "one": (1, 1, "layer"),
    "four": (4, 1, "layer"),
    "four that share parameters": (1, 4, "products"),
}


def step_on(data: int, fsdp: int, remat: str, batch: Batch) -> dict:
    """Of one step with dropout: collectives by name, loss and gradient norm."""
    config = TrainConfig(Path(), Path(), batch_size=ROWS, max_seq_len=LENGTH, max_spans=64)
    config = replace(config, data_devices=data, fsdp_devices=fsdp)
    mesh = sharding.make_mesh(config)
    _, initialize, step = make_step(MODEL, config, total_steps=10)
    layout = sharding.state_layout(jax.eval_shape(initialize), mesh)
    compute = ComputeConfig(attention="xla", precision="fp32", remat=remat, layer_rows=2)
    place, everywhere = sharding.rows(mesh, stacked=True), sharding.everywhere(mesh)
    with jax.set_mesh(mesh):
        state = jax.jit(initialize, out_shardings=layout)()
        run = functools.partial(step, compute=compute)
        run = jax.jit(run, in_shardings=(layout, place), out_shardings=(layout, everywhere))
        compiled = run.lower(jax.eval_shape(initialize), abstract_batches(config)).compile()
        stacked = jax.tree.map(lambda x: x[None], batch)
        _, measured = compiled(state, sharding.from_all_rows(stacked, place))
    found = collections.Counter(re.findall(COLLECTIVES, compiled.as_text()))
    return {"collectives": found, "loss": float(measured.loss), "norm": float(measured.gradient_norm)}


def muon_on(fsdp: int) -> jax.stages.Compiled:
    """Of (gradients, optimizer's state, parameters) the updates and the next state, over so many devices."""
    config = TrainConfig(Path(), Path(), optimizer="muon", data_devices=1, fsdp_devices=fsdp)
    mesh = sharding.make_mesh(config)
    tx, initialize, _ = make_step(MODEL, config, total_steps=10)
    abstract = jax.eval_shape(initialize)
    layout = sharding.state_layout(abstract, mesh)
    places = (layout.parameters, layout.optimizer)
    with jax.set_mesh(mesh):
        update = jax.jit(tx.update, in_shardings=(*places, layout.parameters), out_shardings=places)
        return update.lower(abstract.parameters, abstract.optimizer, abstract.parameters).compile()


def muon() -> dict:
    """Of an update with Muon: how far on four devices it is from that on one, and that on one when gradients move to
    neighbouring floats; collectives; on each device, the shapes of the momentum of kernels.
    """
    one, four = muon_on(1), muon_on(4)
    abstract, state, _ = one.in_avals[0]
    random = np.random.default_rng(0)
    parameters, gradients = (
        jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), abstract) for _ in range(2)
    )
    state = jax.tree.map(lambda leaf: np.full(leaf.shape, leaf.size > 1, leaf.dtype), state)  # counts begin with 0

    def updated(compiled: jax.stages.Compiled, gradients: dict) -> tuple:
        return compiled(*jax.device_put((gradients, state, parameters), compiled.input_shardings[0]))

    want, got = updated(one, gradients), updated(four, gradients)
    return {
        "apart": apart(got, want),
        "moved": apart(updated(one, neighbours(gradients, seed=0)), want),
        "collectives": collections.Counter(re.findall(COLLECTIVES, four.as_text())),
        "shapes": sorted(leaf.sharding.shard_shape(leaf.shape) for leaf in jax.tree.leaves(got[1]) if leaf.ndim == 3),
    }


def main() -> None:
    assert jax.device_count() == 4
    batch = batch_of([[random_song(seed, bars=2)] for seed in range(ROWS)], LENGTH)
    batch = Batch(*map(np.asarray, batch))
    print(json.dumps({"steps": {name: step_on(*case, batch) for name, case in CASES.items()}, "muon": muon()}))


if __name__ == "__main__":
    main()
