"""The race detector, silent in all other tests, would notice:
a slot that is read or given back too early is reported as a race.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import mosaic_gpu as plgpu

from jax_impl.attention import hopper, pack_dense
from jax_impl.attention.pallas_backward import dkv_kernel, dq_kernel
from jax_impl.attention.pallas_forward import forward
from tests.attention import gpu_interpreter

KERNELS = {"forward": forward, "dq": dq_kernel, "dkv": dkv_kernel}


def races_in(kernel: str, density: float) -> bool:
    """One program with four blocks, full or seen in part, in a ring of two slots (fp32)."""
    random, queries, keys = np.random.default_rng(0), 128, 256
    if kernel == "dkv":
        queries, keys = keys, queries
    mask = pack_dense(random.random((1, queries, keys)) < density)
    q, d_out = (jnp.asarray(random.normal(size=(1, 1, queries, 64)), jnp.float32) for _ in range(2))
    k, v = (jnp.asarray(random.normal(size=(1, 1, keys, 64)), jnp.float32) for _ in range(2))
    per_query = jnp.zeros((1, 1, queries))
    arguments = (q, (k,), (v,)) if kernel == "forward" else (q, (k,), (v,), d_out, per_query, per_query)
    jax.block_until_ready(KERNELS[kernel](*arguments, mask, interpret=gpu_interpreter.PARAMETERS))
    return gpu_interpreter.get_races().races_found


def watch(monkeypatch, shared: dict) -> None:
    """Lets the test know a kernel's barriers by name."""
    kernel = plgpu.kernel

    def kernel_watched(body, **arguments):
        def watched(*refs, **scratch):
            shared.update(scratch)
            body(*refs, **scratch)

        return kernel(watched, **arguments)

    monkeypatch.setattr(plgpu, "kernel", kernel_watched)


@pytest.mark.parametrize(
    ("kernel", "name", "density"),
    # A wait for tiles orders what was copied before them, too: without any but the last step's, the others are seen
    [("forward", "tiles_ready", 0.5), ("dq", "ready", 1.0), ("dkv", "ready", 1.0)],
)
def test_a_slot_that_is_read_before_it_is_waited_for_is_a_race(monkeypatch, kernel, name, density):
    shared, waiting, wait, give_back = {}, [], plgpu.barrier_wait, hopper.give_back

    def late_wait(barrier):
        if getattr(barrier, "ref", None) is shared[name]:
            waiting.append(barrier)
        else:
            wait(barrier)

    def wait_and_give_back(consumed, *, loaded):
        while waiting:
            wait(waiting.pop())
        give_back(consumed, loaded=loaded)

    watch(monkeypatch, shared)
    monkeypatch.setattr(plgpu, "barrier_wait", late_wait)
    monkeypatch.setattr(hopper, "give_back", wait_and_give_back)
    assert races_in(kernel, density=density)


@pytest.mark.parametrize(
    ("kernel", "loaded", "given_back"),
    [("forward", "k_ready", "k_consumed"), ("dkv", "ready", "consumed")],
)
def test_a_slot_that_is_given_back_before_it_is_read_is_a_race(monkeypatch, kernel, loaded, given_back):
    shared, wait, give_back = {}, plgpu.barrier_wait, hopper.give_back

    def wait_and_give_back(barrier):
        wait(barrier)
        if getattr(barrier, "ref", None) is shared[loaded]:
            plgpu.barrier_arrive(dataclasses.replace(barrier, ref=shared[given_back]))

    watch(monkeypatch, shared)
    monkeypatch.setattr(plgpu, "barrier_wait", wait_and_give_back)
    monkeypatch.setattr(
        hopper,
        "give_back",
        lambda barrier, *, loaded: barrier.ref is shared[given_back] or give_back(barrier, loaded=loaded),
    )
    # In part, the tiles would be a phase ahead of their wait: an error and no race
    assert races_in(kernel, density=1.0)
