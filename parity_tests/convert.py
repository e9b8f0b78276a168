"""Checkpoints both ways: v1.2.1's PyTorch files and this program's run folders.
Behind `import-torch` and `export-torch`.
"""

import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from configs import MASK_RULES, InputError, MaskRule, ModelConfig, TrainConfig
from configs.model import HEAD_DIM, V121_VOCAB_SIZE
from jax_impl.model.v121 import WeightsError, from_v121, to_v121
from jax_impl.training.checkpoint import Checkpoints, load_model
from jax_impl.training.found import find
from jax_impl.training.optimizer import optimizer
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState
from tokenizer import vocabulary as vocab
from tokenizer.disk.atomic import WriteError, move_aside
from torch_ref import checkpoint as torch_file

RULE = "mask_rule"  # in the args of files that export_torch writes


def import_torch(path: Path, run: Path, rule: str, overwrite: bool = False) -> ModelConfig:
    """Writes a run folder, at step 0, that `generate`, `parity` and `train --init-from` take. Raises InputError and
    then writes nothing.
    """
    run = Path(os.path.abspath(run))
    if os.path.lexists(run) and not overwrite:
        raise InputError(f"{run}: exists already; name a new folder, or --overwrite to move this one aside")
    weights, args = torch_file.read(path)
    try:
        config, parameters = from_v121(weights, MASK_RULES[rule])
        if config.vocab_size != V121_VOCAB_SIZE:
            raise WeightsError(f"its {config.vocab_size} tokens are not those of v1.2.1, which has {V121_VOCAB_SIZE}")
        _check_args(args, config, rule)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    settings = TrainConfig(data_dir=Path(path).absolute(), output_dir=run, optimizer="adamw")
    parameters = jax.tree.map(jnp.asarray, parameters)
    state = TrainState(
        parameters, optimizer(settings, lambda step: settings.learning_rate).init(parameters), jnp.zeros((), jnp.int32)
    )
    record = Record(
        step=0,
        model=plain(config),
        train=plain(settings),
        total_steps=0,
        data={},
        dataset="",
        window={},
        vocabulary=vocab.V121_FINGERPRINT,
        versions=versions(),
        checksums={},
    )
    temporary = run.with_name(f".{run.name}.tmp{os.getpid()}")
    try:
        with Checkpoints(temporary, keep_last=1) as checkpoints:
            checkpoints.save(state, record, validation_loss=None)
            checkpoints.finish()
        if os.path.lexists(run):
            print(f"{run}: moved to {move_aside(run, 'old')}")
        os.replace(temporary, run)
    except OSError as error:
        raise WriteError(run, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return config


def _sizes(config: ModelConfig) -> dict[tuple[str, ...], int]:
    """A model's sizes by what a file's args may call them; v1.2.1's name first. The shapes say all of them too, and
    must agree.
    """
    return {
        ("num_heads", "n_heads", "nhead", "heads"): config.heads,
        ("embed_dim", "d_model", "width"): config.width,
        ("num_layers", "n_layers", "layers"): config.layers,
        ("ffn_dim", "ffn"): config.ffn,
        ("max_bars",): config.max_bars,
    }


def _check_args(args: dict, config: ModelConfig, rule: str) -> None:
    """Raises WeightsError where the args of a file say something else than its shapes, or than the rule asked for."""
    for names, size in _sizes(config).items():
        for name in names:
            if name in args and args[name] != size:
                wide = (
                    f"; that makes heads {config.width / args[name]:g} wide, this program's are {HEAD_DIM}"
                    if "heads" in names
                    else ""
                )
                raise WeightsError(f"its args say {name} {args[name]}, its weights {size}{wide}")
    if args.get(RULE, rule) != rule:
        raise WeightsError(f"its model was trained under the rule {args[RULE]}; give --mask-rule {args[RULE]}")


def export_torch(run: Path, path: Path) -> ModelConfig:
    """Writes the best checkpoint of a run as a file that v1.2.1 can read. Raises InputError."""
    found = find(run, "best")
    config = found.record.model_config
    if config.vocab_size != V121_VOCAB_SIZE:
        raise InputError(
            f"{run}: a model of {config.vocab_size} tokens, of which v1.2.1 has {V121_VOCAB_SIZE}: no times between "
            "sixteenths, no notes above 64 of them, no meters of n/16, no tempi below 40 and above 250. `generate` "
            "writes its music here; a run of import-torch can be exported"
        )
    weights = to_v121(nnx.to_pure_dict(nnx.state(load_model(run, found.record.step)[0])))
    args = {names[0]: size for names, size in _sizes(config).items()}
    args |= {"vocab_size": config.vocab_size, "dropout": config.dropout}
    torch_file.write(weights, args | {RULE: rule_name(config.mask_rule)}, path)
    return config


def rule_name(rule: MaskRule) -> str:
    return next(name for name, named in MASK_RULES.items() if named == rule)
