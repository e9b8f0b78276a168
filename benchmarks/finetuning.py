"""Full weights or LoRA, with which optimizer and rate: a trained model tuned to a handful of songs, for equally many
minutes each, by the loss on those of them that are held out.

    PYTHONPATH=.:benchmarks python benchmarks/finetuning.py MODEL DATA_DIR --minutes 3 --name finetuning

DATA_DIR: prepared from songs that the model has not seen. LoRA (Hu et al. 2021): each matrix W of the layers is W + A B
with A of normal numbers, B of zeros, rank r; W, embeddings, norms and biases stay.
"""

import argparse
import dataclasses
import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import report
from flax import nnx

from configs import AugmentConfig, DataConfig, TrainConfig
from jax_impl.device import device
from jax_impl.loading import loader
from jax_impl.model.museformer import abstract_model
from jax_impl.training import by_kind
from jax_impl.training.checkpoint import load_model
from jax_impl.training.optimizer import optimizer
from jax_impl.training.step import count_targets, cross_entropy, validation_step
from tokenizer.dataset.songs import Dataset

VALIDATIONS, PROBE, WARMUP = 8, 12, 20
COMPILED = 2  # steps: the first compiles, and the second again, for its parameters come back with another sharding


class Variant(NamedTuple):
    optimizer: str
    rate: float
    rank: int = 0  # of LoRA, 0: all weights


VARIANTS = [
    Variant("adamw", 3e-4),
    Variant("adamw", 1e-3),
    Variant("adamw", 3e-3),
    Variant("muon", 1e-3),
    Variant("muon", 2e-3),
    Variant("muon", 4e-3),
    Variant("adamw", 3e-3, rank=16),
    Variant("adamw", 1e-2, rank=16),
    Variant("adamw", 1e-4),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of variants")
    parser.add_argument("--name", help="of the result")
    arguments = parser.parse_args()
    dataset, rows = Dataset(arguments.data_dir), []
    for number, variant in enumerate(VARIANTS):
        if arguments.only is None or number in arguments.only:
            rows.append(variant._asdict() | tuned(arguments.model, dataset, variant, arguments.minutes))
            print(rows[-1], flush=True)
    if arguments.name:
        songs = {split: len(dataset[split]) for split in ("train", "validation")}
        report.write_report(arguments.name, {"songs": songs, "minutes": arguments.minutes, "variants": rows})


def tuned(path: Path, dataset: Dataset, variant: Variant, minutes: float) -> dict:
    """steps, the losses at VALIDATIONS of them, and before any."""
    model, record = load_model(path, "best")
    graph, base = abstract_model(model.config)[0], nnx.to_pure_dict(nnx.state(model))
    config = TrainConfig(
        Path(), Path(), max_seq_len=record.train["max_seq_len"], batch_size=1, optimizer=variant.optimizer, dropout=0.0
    )
    shape = DataConfig(
        max_seq_len=config.max_seq_len,
        max_spans=config.row_spans,
        batch_size=1,
        max_bars=model.config.max_bars,
        seed=0,
        num_workers=0,
        augment=AugmentConfig(),
        reorder=0.3,
        fill=0.3,
    )
    compute = dataclasses.replace(device.compute_config(config), remat="products")
    whole = functools.partial(merged, base) if variant.rank else lambda parameters: parameters
    begun = lora(base, variant.rank) if variant.rank else base

    def loss(parameters: Any, batch: Any) -> jax.Array:
        logits = nnx.merge(graph, whole(parameters))(
            batch, max_spans=config.row_spans, compute=compute, dropout_key=None
        )
        targets = jnp.maximum(count_targets(batch, "all"), 1)
        return cross_entropy(logits, batch, "first", track_targets="all") / targets

    def trained(steps: int, validate: bool) -> tuple[list[float], float]:
        """Losses, and seconds of a step."""
        rate = optax.warmup_cosine_decay_schedule(0.0, variant.rate, WARMUP, max(steps, WARMUP + 1), variant.rate / 10)
        tx = optax.adamw(rate, 0.9, 0.95) if variant.rank else optimizer(config, rate)
        tx = optax.chain(optax.clip_by_global_norm(1.0), tx) if variant.rank else tx

        @jax.jit
        def step(parameters: Any, moments: Any, batch: Any) -> tuple:
            gradient = jax.grad(loss)(parameters, batch)
            updates, moments = tx.update(gradient, moments, parameters)
            return optax.apply_updates(parameters, updates), moments

        parameters, moments, losses = begun, tx.init(begun), []
        began, taken = 0.0, 0.0
        with loader.loader(dataset, shape, "train") as rows:
            for number in range(steps):
                if number == COMPILED:
                    jax.block_until_ready(parameters)
                    began = time.monotonic()
                parameters, moments = step(parameters, moments, next(rows))
                if validate and (number + 1) % max(steps // VALIDATIONS, 1) == 0:
                    losses.append(validation(parameters))
            jax.block_until_ready(parameters)
            taken = time.monotonic() - began
        return losses, taken / (steps - COMPILED)

    with loader.loader(dataset, shape, "validation") as rows:
        batches = list(rows)
    said = dict(graph=graph, max_spans=config.row_spans, chord_targets="first", compute=compute)
    score = jax.jit(lambda parameters, batch: validation_step(whole(parameters), batch, **said))

    def validation(parameters: Any) -> float:
        return by_kind.mean_nats([np.asarray(score(parameters, batch)) for batch in batches], batches)[0]

    _, seconds = trained(PROBE, validate=False)
    steps = int(60 * minutes / seconds)
    losses, seconds = trained(steps, validate=True)
    return {"steps": steps, "before": validation(begun), "losses": losses, "best": min(losses)}


def lora(base: Any, rank: int) -> Any:
    """{path: (A [L, in, r], B [L, r, out])} of the layers' matrices."""
    matrices = {path: leaf for path, leaf in jax.tree_util.tree_leaves_with_path(base) if _is_matrix(path, leaf)}
    keys = jax.random.split(jax.random.key(0), len(matrices))
    return {
        jax.tree_util.keystr(path): (
            jax.random.normal(key, (*leaf.shape[:2], rank)) / np.sqrt(leaf.shape[1]),
            jnp.zeros((leaf.shape[0], rank, leaf.shape[2])),
        )
        for key, (path, leaf) in zip(keys, matrices.items(), strict=True)
    }


def merged(base: Any, adapters: Any) -> Any:
    def whole(path: tuple, leaf: jax.Array) -> jax.Array:
        pair = adapters.get(jax.tree_util.keystr(path))
        return leaf if pair is None else leaf + pair[0] @ pair[1]

    return jax.tree_util.tree_map_with_path(whole, base)


def _is_matrix(path: tuple, leaf: Any) -> bool:
    return path[0].key == "layers" and leaf.ndim == 3 and path[-1].key == "kernel"


if __name__ == "__main__":
    main()
