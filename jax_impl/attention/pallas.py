"""Attention on Hopper GPUs (compute capability 9.0) with our own kernels:
only the blocks that the mask shows are computed.

Padding to blocks, several devices and the derivative are here; pallas_forward and pallas_backward hold the kernels,
hopper what they share.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from jax_impl.attention.block_mask import KEPT, PAIR, TILE, BlockMask
from jax_impl.attention.hopper import HEAD_DIM
from jax_impl.attention.pallas_backward import dkv_kernel, dq_kernel
from jax_impl.attention.pallas_forward import forward


def attention(
    q: jax.Array, k: Sequence[jax.Array], v: Sequence[jax.Array], mask: BlockMask, *, interpret: Any = None
) -> jax.Array:
    """See jax_impl.attention.attention; k, v: groups. Head width 64; q, k, v all bf16 or all fp32 (products then have
    16 bits of mantissa).

    Under jax.set_mesh the batch is split over all axes of the mesh. interpret: None compiles for the GPU; parameters of
    JAX's GPU interpreter run the kernels on a CPU, slowly. Raises ValueError for another head width or dtype.
    """
    if q.shape[-1] != HEAD_DIM:
        raise ValueError(f"the Hopper kernels are written for a head width of {HEAD_DIM}, not {q.shape[-1]}")
    dtypes = {x.dtype for x in (q, *k, *v)}
    if dtypes not in ({jnp.dtype(jnp.bfloat16)}, {jnp.dtype(jnp.float32)}):
        raise ValueError(f"q, k and v must all be bf16 or all fp32, got {', '.join(sorted(map(str, dtypes)))}")
    if any(group.shape[2] % TILE for group in k[:-1]):
        raise ValueError(f"groups of keys but the last must be multiples of {TILE}, got {[x.shape[2] for x in k]}")
    run = functools.partial(_padded, interpret=interpret)
    mesh = jax.sharding.get_abstract_mesh()
    axes = tuple(name for name in mesh.axis_names if name not in mesh.manual_axes)
    if axes:  # the compiler cannot split a kernel of ours by itself
        rows = jax.sharding.PartitionSpec(axes)
        run = jax.shard_map(run, in_specs=(rows, rows, rows, rows), out_specs=rows, check_vma=False)
    return run(q, tuple(k), tuple(v), mask)


def _padded(q: jax.Array, k: tuple, v: tuple, mask: BlockMask, *, interpret: Any) -> jax.Array:
    def pad(x, length):  # as the mask is already
        return jnp.pad(x, ((0, 0), (0, 0), (0, -length % PAIR), (0, 0)))

    def pad_last(groups):
        *others, last = groups
        return *others, pad(last, sum(group.shape[2] for group in groups))

    return _attention(pad(q, q.shape[2]), pad_last(k), pad_last(v), mask, interpret)[:, :, : q.shape[2]]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attention(q, k, v, mask, interpret):
    return forward(q, k, v, mask, interpret=interpret)[0]


def _forward_rule(q, k, v, mask, interpret):
    out, *others = (checkpoint_name(x, KEPT) for x in forward(q, k, v, mask, interpret=interpret))
    return out, (q, k, v, mask, out, *others)


def _backward_rule(interpret, kept, d_out):
    q, k, v, mask, out, *rest, lse = kept
    exact = sum(part.astype(jnp.float32) for part in (out, *rest))
    delta = jnp.sum(exact * d_out.astype(jnp.float32), axis=-1)
    arguments = (q, k, v, d_out, lse, delta, mask)
    dk, dv = dkv_kernel(*arguments, interpret=interpret)
    return dq_kernel(*arguments, interpret=interpret), dk, dv, None


_attention.defvjp(_forward_rule, _backward_rule)
