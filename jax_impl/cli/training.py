"""Verbs for training: the run, its model as one file, and the memory it takes."""

import os
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from configs import ClusterConfig, TrainConfig
from configs.model import FilePrecision, ModelSize
from jax_impl.cli import process
from tokenizer.disk.destination import WEIGHTS, file_named, tell, to_be_written


def train(config: Annotated[TrainConfig, arg(name="")], cluster: Annotated[ClusterConfig, arg(name="")]) -> int:
    """Train a model on a dataset; the same command again goes on where it stopped.

    SIGTERM and Ctrl-C finish the step, save a checkpoint and end with exit status 143 or 130.
    """
    process.keep_programs()
    from jax_impl.device import sharding
    from jax_impl.training import train

    if cluster.distributed:
        sharding.join(cluster)
    else:
        sharding.split_cores(config)
    result = train.train(config)
    return 128 + result.signal if result.signal else 0


def export(
    run: Positional[Annotated[Path, arg(metavar="RUN")]],
    file: Positional[Annotated[str, arg(metavar="FILE")]],
    precision: FilePrecision = "fp32",
    checkpoint: str = "best",
    overwrite: bool = False,
) -> int:
    """Write a model as one safetensors file, to keep or to give away. Wherever a verb takes a RUN it takes such a file,
    and so does train --init-from.

    Args:
        run: the --output-dir of a training run, or such a file.
        file: the file (.safetensors), with the weights, what the model is and what its tokens mean, and no path of this
            machine; or a folder, where it is named as the run.
        precision: fp32 keeps every bit; fp16 takes half the bytes.
        checkpoint: best (lowest validation loss), latest, or a step.
        overwrite: write over a file that is there.
    """
    from jax_impl.training import checkpoint as checkpoints
    from jax_impl.training.found import is_file

    named = Path(os.path.abspath(run))
    path = file_named(file, WEIGHTS, f"{named.stem if is_file(run) else named.name}{WEIGHTS.suffixes[0]}", "FILE")
    with to_be_written(path, [run], flag="FILE", overwrite=overwrite):
        found = checkpoints.export(run, path, precision, checkpoint, overwrite)
    tell(path, f"the model of {run} after step {found.record.step}, {precision}, {path.stat().st_size / 1e6:.1f} MB")
    return 0


def memory(
    model_size: ModelSize = "large",
    batch_size: int = 4,
    max_seq_len: int = 8192,
    layers: bool = False,
    json: bool = False,
) -> int:
    """What a training step takes of a GPU with each --remat, and the largest batch that fits; no GPU is needed.

    The real step is compiled, for this machine's GPU or else for an H800 of 80 GB, and the compiler says. Minutes.

    Args:
        model_size: tiny, small, base, large or xlarge.
        batch_size: rows of a batch on one GPU.
        max_seq_len: tokens of a row.
        layers: instead, what each layer adds to 1 x 4096 tokens at width 512.
        json: lines for a program: a JSON object each, bytes.
    """
    from jax_impl.device import gpu_target

    gpu_target.add_plugin()
    from jax_impl.cli import memory_table

    if layers:
        memory_table.show_layers(json)
    else:
        memory_table.show(model_size, batch_size, max_seq_len, json)
    return 0
