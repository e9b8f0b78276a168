"""Checkpoints both ways: v1.2.1's PyTorch files and this program's run folders. Behind `import-torch` and `export-torch`."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from configs import MASK_RULES, InputError, ModelConfig, TrainConfig
from configs.model import HEAD_DIM
from jax_impl.checkpoint import Checkpoints, Record, load_model, plain, versions
from jax_impl.optimizer import optimizer
from jax_impl.step import TrainState
from jax_impl.v121 import WeightsError, from_v121, to_v121
from tokenizer import vocabulary as vocab
from torch_ref import checkpoint as torch_file

HEADS = ("num_heads", "n_heads", "nhead", "heads")  # what the number of heads may be called in a file's args


def import_torch(path: Path, run: Path, rule: str) -> ModelConfig:
    """Writes a run folder, at step 0, that `generate`, `parity` and `train --init-from` take. Raises InputError and then
    writes nothing."""
    if Path(run).exists():
        raise InputError(f"{run}: exists already; name a new folder")
    weights, args = torch_file.read(path)
    try:
        config, parameters = from_v121(weights, MASK_RULES[rule])
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    for name in HEADS:
        if name in args and args[name] * HEAD_DIM != config.width:
            width = config.width / args[name]
            raise WeightsError(f"{path}: {name} {args[name]} makes heads {width:g} wide; this program's are {HEAD_DIM}")
    settings = TrainConfig(data_dir=Path(path).absolute(), output_dir=Path(run))
    parameters = jax.tree.map(jnp.asarray, parameters)
    state = TrainState(parameters, optimizer(settings, lambda step: settings.learning_rate).init(parameters), jnp.zeros((), jnp.int32))
    record = Record(
        step=0,
        model=plain(config),
        train=plain(settings),
        total_steps=0,
        data={},
        dataset="",
        window={},
        vocabulary=vocab.FINGERPRINT,
        versions=versions(),
        checksums={},
    )
    with Checkpoints(run, keep_last=1) as checkpoints:
        checkpoints.save(state, record, validation_loss=None)
        checkpoints.finish()
    return config


def export_torch(run: Path, path: Path) -> ModelConfig:
    """Writes the best checkpoint of a run as a file that torch_ref and v1.2.1's names fit. Raises InputError."""
    model, _ = load_model(run, "best")
    weights = to_v121(nnx.to_pure_dict(nnx.state(model)))
    config = model.config
    torch_file.write(weights, {**dataclasses.asdict(config), "num_heads": config.heads, "vocabulary": vocab.FINGERPRINT}, path)
    return config
