"""The last checkpoint of a run in files of at most 15 MB: its parameters, rounded to bf16, without the optimizer's
moments, in a run that `generate` and `train --init-from` read like any other.

    python benchmarks/gpu/bring_back.py RUN OUT        there
    cat OUT/run.tar.gz.* | tar xz                      here
"""

import io
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import jax
import ml_dtypes
import numpy as np

from jax_impl.model.museformer import abstract_model
from jax_impl.training.checkpoint import Checkpoints, parameters_of
from jax_impl.training.found import find
from jax_impl.training.record import CONFIG_FILE
from jax_impl.training.step import TrainState
from tokenizer.disk.atomic import atomic_together

PIECE_BYTES, PIECES = 15 << 20, 4
BESIDE = (CONFIG_FILE, "metrics.jsonl", "loss.png")


def rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.bfloat16).astype(x.dtype)


def smaller(run: Path, target: Path) -> None:
    """A run with the last checkpoint of another."""
    found = find(run, "latest")
    _, abstract = abstract_model(found.record.model_config)
    on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), abstract)
    parameters = jax.tree.map(rounded, parameters_of(found, on_host))
    nothing = {"none": np.zeros(1, np.float32)}  # in place of the optimizer's moments
    with Checkpoints(target, keep_last=1) as checkpoints:
        checkpoints.save(TrainState(parameters, nothing, None), found.record, found.record.validation_loss)
    for name in BESIDE:
        if (run / name).exists():
            shutil.copy(run / name, target)


def main() -> None:
    run, out = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        smaller(run, Path(folder) / "run")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
            tar.add(Path(folder) / "run", "run")
    whole = packed.getvalue()
    if len(whole) > PIECES * PIECE_BYTES:
        sys.exit(f"{len(whole)} bytes are too many to bring back")
    for older in out.glob("run.tar.gz.*"):
        older.unlink()
    pieces = [out / f"run.tar.gz.{number}" for number in range(-(-len(whole) // PIECE_BYTES))]
    with atomic_together(pieces) as temporaries:
        for number, temporary in enumerate(temporaries):
            temporary.write_bytes(whole[number * PIECE_BYTES : (number + 1) * PIECE_BYTES])
    print(f"{len(whole)} bytes of the run brought back")


if __name__ == "__main__":
    main()
