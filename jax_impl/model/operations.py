"""What the network is made of besides attention, each in the precision that the model's contract says
(museformer.MuseFormer). Called by museformer and sampling.cache.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from configs.model import HEAD_DIM
from jax_impl.device.sharding import all_gathered
from tokenizer.vocabulary import SIXTEENTH

ROPE_BASE = 10000.0
NORM_EPSILON = 1e-5
INIT = nnx.initializers.normal(0.02)
PRODUCT = "product"  # name, for jax.checkpoint policies, of what follows a matrix product and its gradient needs


def product(x: jax.Array) -> jax.Array:
    """x itself, named for jax.checkpoint policies."""
    return checkpoint_name(x, PRODUCT)


def entering(x: jax.Array, dtype: Any) -> jax.Array:
    """A residual stream fp32[B, length, D] as a branch reads it: in dtype. Rounded before it is converted, since a
    compiler may leave out a conversion there and back.
    """
    return x if dtype == jnp.float32 else jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7).astype(dtype)


# ---------------------------------------------------------------- products


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., K] times kernel fp32[K, N] in x's dtype, to which the kernel is rounded here: so its gradient is summed
    and returned in fp32, over rows and over devices. And not transposed, as JAX's own is, which takes a CPU twice as
    long.
    """
    return _matmul_forward(x, kernel)[0]


def _operand(kernel: jax.Array, dtype: Any) -> jax.Array:
    """Rounded, then gathered from the devices that share it: half as many bytes are sent."""
    return product(all_gathered(kernel.astype(dtype)))


def _matmul_forward(x, kernel):
    operand = _operand(kernel, x.dtype)
    return x @ operand, (x, operand)


def _matmul_backward(saved, gradient):
    x, operand = saved
    return gradient @ operand.T, _kernel_gradient(x, gradient)


def _kernel_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """fp32[K, N]: x^T gradient, over all rows and devices; whole on each, until the optimizer's layout takes its part:
    left to itself the compiler would split it along another axis first.
    """
    rows = tuple(range(x.ndim - 1))
    is_wide = x.shape[-1] > gradient.shape[-1] and x.dtype == jnp.float32  # a CPU has no such product of bf16
    left, right = (gradient, x) if is_wide else (x, gradient)  # the left one is transposed first: the smaller one
    summed = jax.lax.dot_general(left, right, ((rows, rows), ((), ())), preferred_element_type=jnp.float32)
    return all_gathered(summed.T if is_wide else summed)


matmul.defvjp(_matmul_forward, _matmul_backward)


@jax.custom_vjp
def matmul_in_two(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x times each half of the kernel's columns, by one product. Its gradient is made by two: no array is written that
    holds both halves side by side.
    """
    return _in_two_forward(x, kernel)[0]


def _in_two_forward(x, kernel):
    operand = _operand(kernel, x.dtype)
    return tuple(jnp.split(product(x @ operand), 2, axis=-1)), (x, operand)


def _in_two_backward(saved, gradients):
    x, operand = saved
    halves = jnp.split(operand, 2, axis=-1)
    back = [(gradient @ half.T).astype(jnp.float32) for gradient, half in zip(gradients, halves, strict=True)]
    of_kernel = [_kernel_gradient(x, gradient) for gradient in gradients]
    return (back[0] + back[1]).astype(x.dtype), all_gathered(jnp.concatenate(of_kernel, axis=-1))


matmul_in_two.defvjp(_in_two_forward, _in_two_backward)


@jax.custom_vjp
def biased(y: jax.Array, bias: jax.Array) -> jax.Array:
    """fp32[..., N]: a product y [..., N] plus fp32[N]. The gradient of the bias sums, in fp32, what the product's own
    gradients are made of: in y's dtype, written once for both.
    """
    return y.astype(jnp.float32) + bias


def _biased_backward(like, gradient):
    gradient = jax.lax.optimization_barrier(gradient.astype(like.dtype))
    return gradient, gradient.sum(axis=tuple(range(gradient.ndim - 1)), dtype=jnp.float32)


biased.defvjp(lambda y, bias: (biased(y, bias), jnp.empty(0, y.dtype)), _biased_backward)


class Linear(nnx.Linear):
    """nnx.Linear's parameters; the product in x's dtype, the bias added in fp32."""

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs, use_bias: bool = True):
        super().__init__(inputs, outputs, use_bias=use_bias, kernel_init=INIT, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., K] to [..., N], in fp32 where there is a bias to add."""
        y = matmul(x, self.kernel[...])
        return y if self.bias is None else biased(y, self.bias[...])


# ---------------------------------------------------------------- norms


def normed(x: jax.Array, norm: nnx.LayerNorm) -> jax.Array:
    """The layer norm of x [..., D] (Ba et al. 2016) with a module's parameters, computed in fp32, in x's dtype."""
    return product(_layer_norm(x, norm.scale[...], norm.bias[...]))


@jax.custom_vjp
def _layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    return _layer_norm_forward(x, scale, bias)[0]


def _layer_norm_forward(x, scale, bias):
    """What a row needs again are two numbers: they are kept, and the gradient reads x no more often than it must."""
    exact = x.astype(jnp.float32)
    mean = product(exact.mean(axis=-1, keepdims=True))
    per_deviation = product(jax.lax.rsqrt(jnp.square(exact - mean).mean(axis=-1, keepdims=True) + NORM_EPSILON))
    return ((exact - mean) * (per_deviation * scale) + bias).astype(x.dtype), (x, mean, per_deviation, scale)


def _layer_norm_backward(saved, gradient):
    x, mean, per_deviation, scale = saved
    gradient, standard = gradient.astype(jnp.float32), (x.astype(jnp.float32) - mean) * per_deviation
    scaled, rows = gradient * scale, tuple(range(x.ndim - 1))
    along = (scaled * standard).mean(axis=-1, keepdims=True)
    of_x = per_deviation * (scaled - scaled.mean(axis=-1, keepdims=True) - standard * along)
    return of_x.astype(x.dtype), (gradient * standard).sum(axis=rows), gradient.sum(axis=rows)


_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


# ---------------------------------------------------------------- heads and positions


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def split_heads(x: jax.Array, parts: int) -> list[jax.Array]:
    """[B, length, parts * N * H] to `parts` arrays [B, N, length, H]. Its gradient puts them side by side, where JAX's
    own would pad each to the whole and add.
    """
    x = x.reshape(*x.shape[:2], parts, -1, HEAD_DIM)
    return [x[:, :, part].transpose(0, 2, 1, 3) for part in range(parts)]


def _split_heads_backward(parts, _, gradients):
    return (jnp.concatenate([merge_heads(gradient) for gradient in gradients], axis=-1),)


split_heads.defvjp(lambda x, parts: (split_heads(x, parts), None), _split_heads_backward)


def merge_heads(x: jax.Array) -> jax.Array:
    """[B, N, length, H] to [B, length, N * H]."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def rotary_frequencies() -> np.ndarray:
    """float32[H/2] radians per position: v1.2.1's to the bit, since a last bit is 5e-4 radians at position 8192."""
    return (1 / (ROPE_BASE ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)).astype(np.float32)).astype(np.float32)


def rotation(position: jax.Array, time: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """cos and sin float32[B, 1, length, H/2] of rotary positions int32[B, length] (Su et al., RoFormer).

    time: int32[B, length], fine steps from a song's start. By it turn the odd frequencies, a sixteenth as a position;
    None: none of them.
    """
    angles = lambda steps, frequencies: steps[:, None, :, None].astype(jnp.float32) * frequencies
    angle = angles(position, rotary_frequencies())
    if time is not None:
        by_time = np.arange(HEAD_DIM // 2) % 2 == 1
        angle = jnp.where(by_time, angles(time, rotary_frequencies() / np.float32(SIXTEENTH)), angle)
    return jnp.cos(angle), jnp.sin(angle)


@jax.custom_vjp
def rotate(x: jax.Array, rotation: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Rotates pair i of a head, (x[i], x[i + H/2]): the half-split form, in fp32. Its gradient is turned back."""
    cos, sin = rotation
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _rotate_backward(saved, gradient):
    (cos, sin), like = saved
    return rotate(gradient, (cos, -sin)).astype(like.dtype), None


rotate.defvjp(lambda x, rotation: (rotate(x, rotation), (rotation, jnp.empty(0, x.dtype))), _rotate_backward)


# ---------------------------------------------------------------- dropout


def dropout(x: jax.Array, rate: float, key: jax.Array | None, rows: jax.Array | None = None) -> jax.Array:
    """Zeroes a share `rate` of x [B, length, D] and scales the rest up, in x's dtype; key None keeps all.

    rows: int32[B], which rows of the whole batch these are (None: the first B). What is dropped is a function of (key,
    row, position, column), so it is the same on any number of devices and in any groups of rows.
    """
    if key is None or rate == 0:
        return x
    rows = jnp.arange(len(x)) if rows is None else rows
    keep = random_bits(key, rows, *x.shape[1:]) >= np.uint32(round(rate * 2**32))
    return jnp.where(keep, x / (1 - rate), 0)


def random_bits(key: jax.Array, rows: jax.Array, length: int, width: int) -> jax.Array:
    """uint32[B, length, width]: for every position of every row a SplitMix generator (Steele et al. 2014, in 32 bits)
    whose beginning is hashed from the key, row and position. A dozen integer operations a number, in the fusion that
    uses it: nothing is written to memory, and threefry would be ten times as many.
    """
    first, second = jax.random.key_data(key)
    count = lambda size: jnp.arange(size, dtype=jnp.uint32)
    of_row = _mixed(_mixed(first ^ rows.astype(jnp.uint32)) ^ second)
    of_position = _mixed(of_row[:, None] + count(length) * GOLDEN)
    return _mixed(of_position[:, :, None] + count(width) * GOLDEN)


GOLDEN = np.uint32(0x9E3779B9)  # 2^32 over the golden ratio, odd


def _mixed(x: jax.Array) -> jax.Array:
    """MurmurHash3's finalizer: a bijection of uint32 in which each bit depends on all."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


# ---------------------------------------------------------------- layers


@jax.custom_vjp
def unstacked(stacked: Any) -> list[Any]:
    """Parameters of L layers, stacked on their first axis, one by one; one copy stacks their gradients again."""
    return [jax.tree.map(lambda x, layer=layer: x[layer], stacked) for layer in range(_depth(stacked))]


def _depth(stacked: Any) -> int:
    return jax.tree.leaves(stacked)[0].shape[0]


unstacked.defvjp(
    lambda stacked: (unstacked(stacked), None),
    lambda _, gradients: (jax.tree.map(lambda *layers: jnp.stack(layers), *gradients),),
)
