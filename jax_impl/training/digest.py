"""A digest of arrays, computed where they lie: the same for any layout over devices, of whichever processes, and for
arrays on the host, of which no program is compiled.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LANES = 4  # of 32 bits each
WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}
AT_ONCE = 1 << 16  # elements that the host works on: they stay in its cache


def checksum(tree: Any) -> str:
    """32 hex digits, of the bits of all arrays of the tree and of what each is: its path, shape and dtype.

    Each word is mixed with its place before all are summed, so that the order of summing does not matter, but that of
    the words does. One word that changes always changes the sum: mixing is a bijection.
    """
    on_host = all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree))
    return "".join(f"{int(lane):08x}" for lane in (_lanes_on_host(tree) if on_host else _lanes(tree)))


def shapes(tree: Any) -> dict[str, str]:
    """Of each array by its path: "float32[64,128]"."""
    return {
        jax.tree_util.keystr(path): f"{jnp.dtype(leaf.dtype).name}[{','.join(map(str, np.shape(leaf)))}]"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@jax.jit
def _lanes(tree: Any) -> tuple[jax.Array, ...]:
    """LANES times uint32[]: scalars, which no layout over devices splits."""
    total = jnp.zeros(LANES, jnp.uint32)
    for seeds, leaf in zip(_seeds(tree), jax.tree.leaves(tree), strict=True):
        seeds = seeds.reshape(LANES, *(1,) * leaf.ndim)
        bits = jax.lax.bitcast_convert_type(leaf, WORDS[leaf.dtype.itemsize]).astype(jnp.uint32)
        mixed = _mix(bits[None] ^ _mix(_places(leaf.shape)[None] + seeds))
        total += jnp.sum(mixed, axis=tuple(range(1, mixed.ndim)), dtype=jnp.uint32)
    return tuple(total)


def _lanes_on_host(tree: Any) -> np.ndarray:
    """uint32[LANES]: the same, of numpy arrays."""

    def of_part(seeds: np.ndarray, bits: np.ndarray, start: int) -> np.ndarray:
        words = bits[start : start + AT_ONCE].astype(np.uint32)
        places = np.arange(start, start + len(words)).astype(np.uint32)
        return np.array([np.sum(_mix(words ^ _mix(places + seed)), dtype=np.uint32) for seed in seeds])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = []
        for seeds, leaf in zip(_seeds(tree), jax.tree.leaves(tree), strict=True):
            bits = np.ascontiguousarray(leaf).reshape(-1).view(np.dtype(WORDS[leaf.dtype.itemsize]))
            parts += [pool.submit(of_part, seeds, bits, start) for start in range(0, len(bits), AT_ONCE)]
        return sum((part.result() for part in parts), np.zeros(LANES, np.uint32))


def _seeds(tree: Any) -> list[np.ndarray]:
    """uint32[LANES] of each array: of its path, shape and dtype."""
    digests = (hashlib.sha256(f"{name} {kind}".encode()).digest() for name, kind in shapes(tree).items())
    return [np.frombuffer(digest, np.uint32)[:LANES] for digest in digests]


def _places(shape: tuple[int, ...]) -> jax.Array:
    """uint32[shape]: number of each element, axes kept, so that a layout over devices is too."""
    places = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        step = np.uint32(int(np.prod(shape[axis + 1 :], dtype=np.int64)) & 0xFFFFFFFF)
        places += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * step
    return places


def _mix(word: Any) -> Any:
    """The finalizer of MurmurHash3 (Appleby), a bijection of uint32 in which each bit reaches all; in numpy or jax."""
    word = (word ^ (word >> 16)) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * np.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


# ---------------------------------------------------------------- checkpoints written before


@jax.jit
def plain_sum(tree: Any) -> jax.Array:
    """uint32[]: what stood in a checkpoint before there was a digest, the sum of the bits of all arrays."""
    bits = (jax.lax.bitcast_convert_type(leaf, WORDS[leaf.dtype.itemsize]) for leaf in jax.tree.leaves(tree))
    return sum((jnp.sum(leaf, dtype=jnp.uint32) for leaf in bits), jnp.uint32(0))
