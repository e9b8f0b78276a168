"""How far the JAX and the PyTorch program are apart:
largest differences by size and rule, and to what v1.2.1 itself computed.

    PYTHONPATH=. python benchmarks/parity.py

fp32 on the CPU. Of two packed rows of 512 tokens, with weights magnified so that mistakes show: logits, loss and
gradients, JAX against PyTorch and each against PyTorch in fp64, as shares of the largest value (gradients: of each
parameter's own). Of v1.2.1's song, where its outputs lie beside the project: masks, streams, logits (absolute) and
gradients (relative). Writes benchmarks/results/parity.json.
"""

from dataclasses import replace

import numpy as np
import torch
from report import write_report

from configs import MASK_RULES, MODEL_SIZES
from jax_impl.batch import pack_row, stack_rows
from jax_impl.model.v121 import from_v121
from parity_tests import golden
from parity_tests.compare import CALLS, expected_values, jax_values
from parity_tests.pairs import magnified
from parity_tests.report import SLOTS, rows

SIZES = ("tiny", "small")


def main() -> None:
    torch.set_num_threads(2)
    results = {f"{size}, {rule}": of_size(size, rule) for size in SIZES for rule in MASK_RULES}
    if golden.FOLDER.exists():
        results["v1.2.1"] = of_golden()
    write_report("parity", results)


def of_size(size: str, rule: str) -> dict[str, dict[str, float]]:
    config = replace(MODEL_SIZES[size], mask_rule=MASK_RULES[rule], dropout=0.0)
    weights, batch = magnified(config), rows()
    ours, expected = jax_values(weights, config, batch, SLOTS, "xla"), expected_values(weights, config, batch, SLOTS)
    found: dict[str, dict[str, float]] = {}
    for name, one in expected.items():
        kind = name.split()[0]
        if kind not in ("logits", "loss", "gradient") or not one.truth.any():
            continue
        where = ... if one.where is None else one.where
        got, fp32, truth = (
            np.asarray(x, np.float64).reshape(one.truth.shape)[where] for x in (ours[name], one.fp32, one.truth)
        )
        errors = {"jax_pytorch": got - fp32, "jax_fp64": got - truth, "pytorch_fp64": fp32 - truth}
        for pair, error in errors.items():
            value = float(np.abs(error).max() / np.abs(truth).max())
            found.setdefault(kind, {})[pair] = max(found.setdefault(kind, {}).get(pair, 0.0), value)
    return {kind: {pair: float(f"{value:.2g}") for pair, value in errors.items()} for kind, errors in found.items()}


def of_golden() -> dict[str, dict[str, float]]:
    song, weights = golden.load(golden.SONG), golden.load(f"{golden.NAME}_weights")
    config, _ = from_v121(weights, MASK_RULES["v121"])
    config = replace(config, dropout=0.0)
    bars, length = int(song["num_bars"]), len(song["token_ids"])
    slots = -(-bars // 64) * 64
    fields = golden.fields(song)
    batch = stack_rows([pack_row([fields], length)])
    expected = expected_values(weights, config, batch, slots)
    keys = np.r_[0:bars, slots : slots + length]
    theirs = {
        "mask of summarize": song["summarize_mask"],
        "mask of update": song["updating_mask"],
        "logits": song["logits"],
    }
    for stream, first, rest in (("summary", "sum_x0", "sum_x_layers"), ("regular", "x0", "x_layers")):
        theirs[f"embedding of {stream}"] = song[first]
        theirs |= {f"stream of {stream} after layer {layer}": value for layer, value in enumerate(song[rest], start=1)}
    gradients = golden.load(f"{golden.SONG}_grads")
    gradients.pop("loss")
    theirs |= {f"gradient of {name}": value for name, value in gradients.items()}
    found = {}
    for program, values in (
        ("jax", jax_values(weights, config, batch, slots, "xla")),
        ("pytorch", {name: one.fp32 for name, one in expected.items()}),
    ):
        largest: dict[str, float] = {}
        for name, value in theirs.items():
            got = np.asarray(values[name])
            if name.startswith("mask"):
                got = got[0][: bars if name == f"mask of {CALLS[0]}" else length][:, keys]
            elif not name.startswith("gradient"):
                got = got[0][: len(value)]
            error = float(np.abs(got.astype(np.float64) - value).max())
            kind = name.split()[0]
            largest[kind] = max(
                largest.get(kind, 0.0), error / float(np.abs(value).max()) if kind == "gradient" else error
            )
        found[program] = {kind: float(f"{value:.2g}") for kind, value in largest.items()}
    return found


if __name__ == "__main__":
    main()
