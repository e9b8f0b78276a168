"""The variants of ablation.py: models that differ from the first one in one thing, and what is measured of each.

What the product has is a field of its configs. What it has not, because it was no better, is patched into it here, in a
process that trains one variant.
"""

import argparse
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from configs import MASK_RULES, MODEL_SIZES, DataConfig, MaskRule, TrainConfig
from configs.model import AS_V121
from jax_impl.device import program_cache
from jax_impl.loading import loader
from jax_impl.model import flops, masks, museformer
from jax_impl.training import metrics, step
from jax_impl.training.checkpoint import load_model
from jax_impl.training.train import train
from tokenizer.dataset.songs import Dataset
from tokenizer.tokens.fields import OUTSIDE
from tokenizer.vocabulary import CLASS, Class

KINDS = {  # by the target
    "chord, first track": None,
    "chord, later tracks": None,
    "position": Class.POSITION,
    "pitch": Class.PITCH,
    "duration": Class.DURATION,
    "velocity": Class.VELOCITY,
}


@dataclass(frozen=True)
class Variant:
    """about: what it is. model: fields of ModelConfig that differ; train: of TrainConfig. patch: called first."""

    about: str
    model: dict = field(default_factory=dict)
    train: dict = field(default_factory=dict)
    patch: Callable[[], None] = lambda: None


def without_summaries() -> None:
    """RS sees nothing, so that what summaries gather leads nowhere."""
    masks.rs = lambda query, key: jnp.zeros(jnp.broadcast_shapes(query.index.shape, key.index.shape), bool)


def dense() -> None:
    """Every earlier token of the document is seen, and no summary."""
    without_summaries()
    masks.reachable = lambda query, key, rule: jnp.ones(jnp.broadcast_shapes(query.index.shape, key.index.shape), bool)


def from_the_next_bar() -> None:
    """Another track's bar b + 1, written long before, is near too."""
    as_it_is = masks.reachable

    def reachable(query: masks.Tokens, key: masks.Tokens, rule: MaskRule) -> jax.Array:
        both_play = (query.instrument < museformer.NO_INSTRUMENT) & (key.instrument < museformer.NO_INSTRUMENT)
        return as_it_is(query, key, rule) | (both_play & (query.bar - key.bar == -1) & (key.bar != OUTSIDE))

    masks.reachable = reachable


def bars() -> None:
    """An embedding of the bar's number on regular tokens, in a table of its own."""

    class Numbered(museformer.MuseFormer):
        def __init__(self, config, rngs):
            super().__init__(config, rngs)
            self.own_bars = nnx.Embed(config.max_bars, config.width, embedding_init=museformer.INIT, rngs=rngs)

        def _embed(self, batch, data, keys):
            streams = super()._embed(batch, data, (None, None))
            of_bar = self.own_bars.embedding[...][jnp.maximum(batch.bar, 0)]
            return streams._replace(regular=streams.regular + jnp.where((batch.bar >= 0)[..., None], of_bar, 0))

    museformer.MuseFormer = step.MuseFormer = Numbered


ATTRIBUTES, PLACES, MUSIC = {"attributes": True}, {"places": True}, {"music": True}
HARMONY = {"harmony": True}
TYPED = {"mask_rule": MaskRule(scope="span", typed=True)}
FIRST, MUON, ALL = {"chord_targets": "first"}, {"optimizer": "muon"}, {"chord_targets": "all"}
BASE = ATTRIBUTES | PLACES
FAST = FIRST | MUON | {"learning_rate": 8e-3}
VARIANTS = {
    "span": Variant("the rule span: bar summaries for what is far, near bars note by note"),
    "dense": Variant("dense causal attention, no summaries", patch=dense),
    "near alone": Variant("span without RS: what summaries gather leads nowhere", patch=without_summaries),
    "typed": Variant("span and v1.2.1's table of kinds", TYPED),
    "next bar": Variant("near bars from b + 1", patch=from_the_next_bar),
    "music": Variant("half of each head's rotary frequencies by musical time", MUSIC),
    "places": Variant("an embedding of the place in the bar", PLACES),
    "bars and places": Variant("embeddings of the bar and the place in it", PLACES, patch=bars),
    "attributes": Variant("embeddings of root, quality, class, octave, family", ATTRIBUTES),
    "first chords": Variant("a chord that the first track has said is no target", train=FIRST),
    "first chords, attributes, places": Variant("three of them", BASE, FIRST),
    "first chords, attributes, bars and places": Variant("and bars", BASE, FIRST, bars),
    "music, first chords, attributes": Variant("three of them", ATTRIBUTES | MUSIC, FIRST),
    "music, first chords, attributes, places": Variant("four of them", BASE | MUSIC, FIRST),
    "music, first chords, attributes, bars and places": Variant("and bars", BASE | MUSIC, FIRST, bars),
    "muon": Variant("the three, and Muon for the layers' matrices", BASE, FIRST | MUON),
    "muon, twice the rate": Variant("likewise at twice the rate", BASE, FIRST | MUON | {"learning_rate": 4e-3}),
    "muon, eight times the rate": Variant("likewise, eight times", BASE, FIRST | MUON | {"learning_rate": 1.6e-2}),
    "muon, span": Variant("span and Muon alone", train=MUON),
    "muon, music": Variant("the three, Muon, musical time", BASE | MUSIC, FIRST | MUON),
    "muon, dense": Variant("the three, Muon, dense", BASE, FIRST | MUON, dense),
    "muon, near alone": Variant("the three, Muon, without RS", BASE, FIRST | MUON, without_summaries),
    "adamw, twice the rate": Variant("the three at twice the rate", BASE, FIRST | {"learning_rate": 4e-3}),
    "base": Variant("the three, and Muon at 8e-3", BASE, FAST),
    "base, music": Variant("and musical time", BASE | MUSIC, FAST),
    "base, music for places": Variant("musical time instead of places", ATTRIBUTES | MUSIC, FAST),
    "base, bars": Variant("and an embedding of the bar", BASE, FAST, bars),
    "base, typed": Variant("and v1.2.1's table of kinds", BASE | TYPED, FAST),
    "base, next bar": Variant("and near bars from b + 1", BASE, FAST, from_the_next_bar),
    "base, harmony": Variant("and chords and pitches by the chords before", BASE | MUSIC | HARMONY, FAST),
    "base, harmony, heavy chords": Variant(
        "and which chord comes counts five times", BASE | MUSIC | HARMONY, FAST | {"chord_weight": 5.0}
    ),
    "base, heavy chords": Variant("and chords of the first track count five times", BASE, FAST | {"chord_weight": 5.0}),
    "base, all chords": Variant("and all chords as targets", BASE, FAST | ALL),
    "base, no places": Variant("without places", ATTRIBUTES, FAST),
    "base, no attributes": Variant("without attributes", PLACES, FAST),
    "base, dense": Variant("with dense attention", BASE, FAST, dense),
    "base, near alone": Variant("without RS", BASE, FAST, without_summaries),
}


def trained_and_scored(variant: Variant, arguments: argparse.Namespace) -> dict:
    """Trains it on --data, scores it on --held-out; plain JSON values."""
    program_cache.keep()
    variant.patch()
    model = dataclasses.replace(MODEL_SIZES[arguments.model_size], dropout=0.0)
    model = dataclasses.replace(model, **AS_V121 | variant.model)
    folder = Path(tempfile.mkdtemp())
    steps = arguments.steps
    flags = dict(model_size=arguments.model_size, max_seq_len=arguments.max_seq_len, batch_size=arguments.batch_size)
    flags |= dict(steps=steps, learning_rate=arguments.learning_rate, warmup_steps=min(50, steps // 4), dropout=0.0)
    flags |= dict(
        num_workers=0,
        augment=True,
        seed=arguments.seed,
        log_every=20,
        chord_targets="all",
        optimizer="adamw",
    )
    flags |= dict(validate_every=steps, checkpoint_every=steps, validation_batches=1) | variant.train
    began = time.perf_counter()
    if train(TrainConfig(arguments.data, folder / "run", **flags), model).signal:
        raise SystemExit("stopped")  # what it has learned so far is no result
    seconds = time.perf_counter() - began
    trained = load_model(folder / "run", "latest")[0]
    lines = [line for line in metrics.read(folder / "run" / metrics.FILE) if line["kind"] == "train"]
    shutil.rmtree(folder)
    scored = {data.name: scores(trained, batches_of(data, model, arguments)) for data in arguments.held_out}
    some = batches_of(arguments.held_out[0], model, arguments)[:4]
    spans = some_spans(arguments)
    return {
        "training": {name: value for name, value in flags.items() if name != "seed"},
        "tokens": lines[-1]["tokens"],
        "seconds": round(seconds, 1),
        "loss": [[line["step"], round(line["loss"], 4)] for line in lines],
        "mflops_a_token": round(flops.per_token(model, some, spans) / 1e6, 2),
        "pairs_a_token": round(pairs_a_token(model, some, spans), 1),
        "held_out": scored,
    }


def batches_of(data: Path, model, arguments: argparse.Namespace) -> list:
    spans = some_spans(arguments)
    config = DataConfig(arguments.max_seq_len, spans, arguments.batch_size, model.max_bars, seed=0, num_workers=0)
    with loader.loader(Dataset(data), config, "validation") as rows:
        return [batch for batch, _ in zip(rows, range(arguments.batches), strict=False)]


def some_spans(arguments: argparse.Namespace) -> int:
    return arguments.max_seq_len * 3 // 16


def pairs_a_token(model, batches: list, spans: int) -> float:
    """Visible (query, key) pairs of both masks, a real token."""
    pairs = tokens = 0
    for batch in batches:
        data = masks.summaries(batch, model.mask_rule, spans)
        for mask in (masks.summarize_mask, masks.update_mask):
            pairs += float(flops.visible_pairs(mask(batch, data, model.mask_rule)))
        tokens += int((batch.document > 0).sum())
    return pairs / tokens


def scores(model: museformer.MuseFormer, batches: list) -> dict:
    """Nats a token, as a sampler needs it and with all chords as targets, and by kind of target."""
    from jax_impl.device import device

    graph, parameters = nnx.split(model)
    spans = batches[0].tokens.shape[1] * 3 // 16

    @jax.jit
    def nats(parameters, batch):
        logits = nnx.merge(graph, parameters)(
            batch, max_spans=spans, compute=device.sampling_compute(), dropout_key=None
        )
        return [step.token_losses(logits, batch, chords) for chords in ("first", "all")]

    sums: dict[str, np.ndarray] = {}
    for batch in batches:
        first, all_ = map(np.asarray, nats(parameters, batch))
        counts = batch.weights > 0
        class_ = CLASS[batch.targets]
        known = batch.known > 0
        of_kind = {name: class_ == class_of for name, class_of in KINDS.items() if class_of is not None}
        of_kind |= {"chord, first track": (class_ == Class.CHORD) & ~known, "chord, later tracks": known}
        of_kind["structure"] = ~np.any(list(of_kind.values()), axis=0)
        of_kind["all"] = np.ones_like(known)
        for name, of in of_kind.items():
            here = counts & of
            told = np.array([first[here].sum(), all_[here].sum(), here.sum()], np.float64)
            sums[name] = sums.get(name, 0) + told
    return {name: [round(float(value), 3) for value in told] for name, told in sums.items()}


assert MASK_RULES["span"] == MODEL_SIZES["tiny"].mask_rule
