"""A model, dataset and run small enough to train in a test.

As a program it trains them, slowly enough to be killed on the way: python -m tests.runs DATA_DIR OUTPUT_DIR --pause 0.3
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import ClusterConfig, InputError, ModelConfig, PrepareConfig, TrainConfig
from configs.model import AS_V121, V121_VOCAB_SIZE
from jax_impl.device import sharding
from jax_impl.model.museformer import MuseFormer
from jax_impl.training import train
from jax_impl.training.checkpoint import Checkpoints, load_model
from jax_impl.training.progress import Progress
from jax_impl.training.record import Record, plain, versions
from jax_impl.training.step import TrainState, make_step
from tests import ROOT
from tests.rows import random_song
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import write_manifest
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import record_batch, to_row

MODEL = ModelConfig(layers=2, width=64, ffn=64, max_bars=32, places=True, attributes=True, music=True, harmony=True)
OF_V121 = replace(MODEL, **AS_V121)  # but for its tokens


def with_harmony(model: MuseFormer) -> MuseFormer:
    """The same one, with sums to the logits, where it has such, that are not those of a new model, zeros."""
    for number, table in enumerate((model.harmony.chords, model.harmony.pitches) if model.config.harmony else ()):
        table.bias[...] = jax.random.normal(jax.random.key(number), table.bias.shape)
    return model


def write_dataset(folder: Path, songs: int = 40, bars: int = 3) -> Path:
    """A dataset of random songs; every eighth is for validation. Their first bar has four tracks, the others fewer."""
    folder.mkdir(parents=True)
    rows = [to_row(random_song(seed, bars), f"{seed}.mid") for seed in range(songs)]
    splits = {
        "train": [write_batch(folder, "train-00000.arrow", record_batch([row for i, row in enumerate(rows) if i % 8]))],
        "validation": [write_batch(folder, "validation-00000.arrow", record_batch(rows[::8]))],
    }
    write_manifest(folder, splits, [], PrepareConfig(), "test")
    return folder


def config(data_dir: Path, output_dir: Path, **changes) -> TrainConfig:
    """Eight steps of two micro batches, of all that songs are shown as, checkpoints after the fourth and the last."""
    values = dict(
        max_seq_len=256,
        max_spans=64,
        batch_size=1,
        gradient_accumulation_steps=2,
        steps=8,
        warmup_steps=2,
        learning_rate=3e-3,
        reorder=0.5,
        fill=0.5,
    )
    values |= dict(num_workers=0, log_every=3, validate_every=2, checkpoint_every=4)
    return TrainConfig(data_dir, output_dir, **values | changes)


def write_run_of_v121(run: Path, step: int = 0, without: tuple[str, ...] = ()) -> dict:
    """The checkpoint of a model of v1.2.1's tokens; its parameters. without: what models did not say of themselves when
    it was written.
    """
    model = replace(OF_V121, vocab_size=V121_VOCAB_SIZE)
    parameters = nnx.to_pure_dict(nnx.state(MuseFormer(model, nnx.Rngs(1))))
    told = {name: value for name, value in plain(model).items() if name not in without}
    record = Record(step, told, {}, 8, {}, "songs", {}, vocab.V121_FINGERPRINT, versions())
    with Checkpoints(run, keep_last=1) as checkpoints:
        checkpoints.save(TrainState(parameters, {"count": jnp.zeros(())}, step), record, validation_loss=None)
    return parameters


# Of a run whose parameters stay what they were begun with
UNMOVED = dict(steps=1, warmup_steps=0, learning_rate=1e-30, weight_decay=0.0)


def assert_begun_with(run: Path, given: dict, seed: int) -> None:
    """An UNMOVED run has these parameters of a model of v1.2.1's tokens, and behind their token table the rows that
    another new run of this seed has there.
    """
    now = nnx.to_pure_dict(nnx.state(load_model(run, "latest")[0]))
    new = jax.jit(make_step(OF_V121, config(Path(), Path(), seed=seed), total_steps=1).initialize)().parameters
    rows = np.asarray(new["tokens"]["embedding"])[V121_VOCAB_SIZE:]
    expected = given | {"tokens": {"embedding": np.concatenate([given["tokens"]["embedding"], rows])}}
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-25), now, expected)


def start(
    data_dir: Path, output_dir: Path, *arguments: str, devices: int = 1, log: Path | None = None, flags: str = ""
) -> subprocess.Popen:
    """This file as a program in another process with so many simulated devices and flags of XLA; it writes to
    OUTPUT_DIR.log or log.
    """
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    flags = f"{os.environ.get('XLA_FLAGS', '')} {flags} --xla_force_host_platform_device_count={devices}"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.runs", str(data_dir), str(output_dir), *arguments]
    with (log or output_dir.with_suffix(".log")).open("a", encoding="utf-8") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def wait_for(path: Path, process: subprocess.Popen, output_dir: Path) -> None:
    """Until the process has made this."""
    while not path.exists():
        assert process.poll() is None, output_dir.with_suffix(".log").read_text(encoding="utf-8")
        time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--changes", type=json.loads, default={}, help="of the usual config, as JSON")
    parser.add_argument(
        "--pause", type=float, default=0.0, help="seconds of each step, so that it can be killed on the way"
    )
    parser.add_argument("--cluster", type=json.loads, default={}, help="ClusterConfig as JSON")
    args = parser.parse_args()
    handle = Progress.step
    Progress.step = lambda *arguments: (handle(*arguments), time.sleep(args.pause))
    model = MODEL
    if "init_from" in args.changes:
        args.changes["init_from"], model = Path(args.changes["init_from"]), None
    try:
        sharding.join(ClusterConfig(**args.cluster))
        train.train(config(args.data_dir, args.output_dir, **args.changes), model)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
