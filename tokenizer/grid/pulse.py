"""How likely each moment of music is a beat, and the first of a measure: a small net of dilated convolutions, learned
from songs (benchmarks/learn_beats.py), in numpy.
"""

from functools import cache
from importlib.resources import files

import numpy as np

WEIGHTS = "pulse.npz"  # beside this file: half floats


def hear(features: np.ndarray) -> np.ndarray:
    """float32[frames, 2]: of the features [frames, F] of hearing.py, log odds of a beat and of a bar line."""
    net = _net()
    x, total = _convolved(features, *net[0], 1), 0.0
    for layer, (wide, narrow) in enumerate(zip(net[1:-1:2], net[2:-1:2], strict=True)):
        y = _convolved(np.maximum(_convolved(x, *wide, 2**layer), 0), *narrow, 1)
        x, total = x + y, total + y
    return _convolved(np.maximum(total, 0), *net[-1], 1)


def confidence_weights() -> np.ndarray:
    """float64[CLUES] of performance.py: log odds that beats are right are so much of each clue."""
    return _stored()["confidence"].astype(np.float64)


def downbeat_weights() -> np.ndarray:
    """float64[CLUES] of downbeats.py: log odds that a measure begins are so much of each clue."""
    return _stored()["downbeats"].astype(np.float64)


def _convolved(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, apart: int) -> np.ndarray:
    """[frames, out] of x [frames, in]: weight [taps * in, out] sees that many frames, `apart` from each other."""
    taps = len(weight) // x.shape[1]
    if taps == 1:
        return x @ weight + bias
    reach, n, inputs = apart * (taps // 2), len(x), x.shape[1]
    padded = np.pad(x, ((reach, reach), (0, 0)))
    out = padded[:n] @ weight[:inputs] + bias
    for tap in range(1, taps):
        out += padded[apart * tap : apart * tap + n] @ weight[tap * inputs : (tap + 1) * inputs]
    return out


@cache
def _stored() -> dict[str, np.ndarray]:
    with files(__package__).joinpath(WEIGHTS).open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        return {name: stored[name] for name in stored.files}


@cache
def _net() -> list[tuple[np.ndarray, np.ndarray]]:
    """(weight [taps * in, out], bias [out]) of each convolution, in the order of their use."""
    stored = _stored()
    layers = sum(name.startswith("wide") for name in stored) // 2
    names = ["first", *(f"{kind}_{i}" for i in range(layers) for kind in ("wide", "narrow")), "last"]
    return [(_flat(stored[f"{name}_weight"]), stored[f"{name}_bias"].astype(np.float32)) for name in names]


def _flat(weight: np.ndarray) -> np.ndarray:
    """[taps * in, out] of [out, in, taps]."""
    return np.ascontiguousarray(weight.astype(np.float32).transpose(2, 1, 0).reshape(-1, len(weight)))
