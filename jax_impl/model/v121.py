"""Weights under v1.2.1's parameter names, both ways. One table says which of ours is made of which of theirs.
For import-torch, export-torch and parity.

v1.2.1 keeps a matrix per projection, [out, in], and a set per layer; ours are fused side by side, [in, out], and
stacked over layers.
"""

import re
from typing import Any

import jax
import numpy as np

from configs import InputError, ModelConfig
from configs.model import HEAD_DIM, V121_VOCAB_SIZE, VOCAB_SIZE, MaskRule
from jax_impl.model.museformer import abstract_model
from jax_impl.model.operations import rotary_frequencies

# Ours (path; under "layers" stacked over layers) -> theirs, joined along the output axis.
TABLE: dict[tuple[str, ...], tuple[str, ...]] = {
    ("tokens", "embedding"): ("token_embedding.weight",),
    ("instruments", "embedding"): ("instrument_embedding.weight",),
    ("bars", "embedding"): ("summary_embedding.embedding.weight",),
    ("norm", "scale"): ("output_norm.weight",),
    ("norm", "bias"): ("output_norm.bias",),
    ("layers", "kv2", "kernel"): ("attention.sum_k2_proj.weight", "attention.sum_v2_proj.weight"),
    ("layers", "kv2", "bias"): ("attention.sum_k2_proj.bias", "attention.sum_v2_proj.bias"),
}
for _ours, _theirs in (("summary", "sum"), ("regular", "reg")):
    for _leaf, _suffix in (("kernel", "weight"), ("bias", "bias")):
        TABLE["layers", _ours, "qkv", _leaf] = tuple(f"attention.{_theirs}_{part}_proj.{_suffix}" for part in "qkv")
        TABLE["layers", _ours, "out", _leaf] = (f"attention.{_theirs}_out_proj.{_suffix}",)
    TABLE["layers", _ours, "gate_up", "kernel"] = (f"{_theirs}_ffn_gate.weight", f"{_theirs}_ffn_up.weight")
    TABLE["layers", _ours, "down", "kernel"] = (f"{_theirs}_ffn_down.weight",)
    for _norm, _name in (("attention_norm", "attn_norm"), ("ffn_norm", "ffn_norm")):
        TABLE["layers", _ours, _norm, "scale"] = (f"{_theirs}_{_name}.weight",)
        TABLE["layers", _ours, _norm, "bias"] = (f"{_theirs}_{_name}.bias",)

# What models that come from v1.2.1 have not
OURS = {
    ("attributes", "embedding"): ("attribute_embedding.weight",),
    ("places", "embedding"): ("place_embedding.weight",),
    ("harmony", "chords", "bias"): ("harmony.chords",),
    ("harmony", "pitches", "bias"): ("harmony.pitches",),
}

TIED = {"lm_head.weight": "token_embedding.weight"}  # the same matrix under a second name
CONSTANT = re.compile(r"layers\.\d+\.attention\.rope\.inv_freq")  # follows from the head width


class WeightsError(InputError):
    """Weights that are no model of this kind; the message says which and why."""


def from_v121(weights: dict[str, np.ndarray], rule: MaskRule) -> tuple[ModelConfig, dict]:
    """(config, parameters as nested dicts of fp32 arrays) of a state dict. Every one of its entries is used. Raises
    WeightsError.
    """
    left = dict(weights)
    config = _config(left, rule)
    parameters: dict = {}
    for path, names in (TABLE | {path: names for path, names in OURS.items() if names[0] in weights}).items():
        if path[0] == "layers":
            value = np.stack(
                [
                    _join([_take(left, f"layers.{layer}.{name}") for name in names], path)
                    for layer in range(config.layers)
                ]
            )
        else:
            value = _join([_take(left, name) for name in names], path)
        node = parameters
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    for name, twin in TIED.items():
        if name in left and not np.array_equal(left.pop(name), weights[twin]):
            raise WeightsError(
                f"{name} differs from {twin}: a model whose output is not tied to its token table cannot be imported"
            )
    unknown = sorted(name for name in left if not CONSTANT.fullmatch(name))
    if unknown:
        raise WeightsError(f"{len(unknown)} weights have no place in this model: {', '.join(unknown[:5])}")
    _check_shapes(parameters, config)
    return config, parameters


def to_v121(parameters: dict) -> dict[str, np.ndarray]:
    """The state dict of parameters (nested dicts of arrays), under v1.2.1's names. Inverse of from_v121."""
    weights: dict[str, np.ndarray] = {}
    for path, names in (TABLE | {path: names for path, names in OURS.items() if path[0] in parameters}).items():
        value: Any = parameters
        for key in path:
            value = value[key]
        value = np.asarray(value, np.float32)
        if path[0] != "layers":
            weights |= dict(zip(names, _cut(value, len(names), path), strict=True))
            continue
        for layer, of_layer in enumerate(value):
            parts = _cut(of_layer, len(names), path)
            weights |= {f"layers.{layer}.{name}": part for name, part in zip(names, parts, strict=True)}
    layers = len(parameters["layers"]["kv2"]["bias"])
    weights |= {f"layers.{layer}.attention.rope.inv_freq": rotary_frequencies() for layer in range(layers)}
    return weights | {name: weights[twin] for name, twin in TIED.items()}


def _join(parts: list[np.ndarray], path: tuple[str, ...]) -> np.ndarray:
    joined = np.concatenate([np.asarray(part, np.float32) for part in parts])
    return joined.T if path[-1] == "kernel" else joined


def _cut(value: np.ndarray, parts: int, path: tuple[str, ...]) -> list[np.ndarray]:
    return [np.ascontiguousarray(part) for part in np.split(value.T if path[-1] == "kernel" else value, parts)]


def _take(left: dict[str, np.ndarray], name: str) -> np.ndarray:
    if name not in left:
        raise WeightsError(f"the weight {name} is missing")
    return left.pop(name)


def _config(weights: dict[str, np.ndarray], rule: MaskRule) -> ModelConfig:
    """Sizes from the shapes."""
    layers = {int(match[1]) for name in weights if (match := re.match(r"layers\.(\d+)\.", name))}
    if not layers:
        raise WeightsError("its model_state_dict is not of v1.2.1's model: no weight of a layer (layers.0. ...)")
    if layers != set(range(len(layers))):
        raise WeightsError(f"layers {sorted(layers)} are not 0, 1, 2, ...")
    for name in ("token_embedding.weight", "summary_embedding.embedding.weight", "layers.0.reg_ffn_gate.weight"):
        if name not in weights or weights[name].ndim != 2:
            raise WeightsError(f"the weight {name} is missing or no matrix")
    tokens, width = weights["token_embedding.weight"].shape
    if tokens not in (V121_VOCAB_SIZE, VOCAB_SIZE):
        raise WeightsError(
            f"token_embedding.weight has {tokens} tokens, the vocabulary of v1.2.1 {V121_VOCAB_SIZE} and that of this "
            f"program {VOCAB_SIZE}"
        )
    if width % HEAD_DIM:
        raise WeightsError(f"the width {width} is no multiple of this program's head width {HEAD_DIM}")
    inv_freq = weights.get("layers.0.attention.rope.inv_freq")
    if inv_freq is not None and 2 * len(inv_freq) != HEAD_DIM:
        raise WeightsError(f"heads are {2 * len(inv_freq)} wide; this program's are {HEAD_DIM}")
    return ModelConfig(
        layers=len(layers),
        width=width,
        ffn=weights["layers.0.reg_ffn_gate.weight"].shape[0],
        mask_rule=rule,
        max_bars=weights["summary_embedding.embedding.weight"].shape[0],
        vocab_size=tokens,
        places=OURS["places", "embedding"][0] in weights,
        attributes=OURS["attributes", "embedding"][0] in weights,
        harmony=OURS["harmony", "chords", "bias"][0] in weights,
    )


def _check_shapes(parameters: dict, config: ModelConfig) -> None:
    """Against the model itself. Raises WeightsError naming the first that differs."""
    _, abstract = abstract_model(config)
    for path, expected in jax.tree_util.tree_leaves_with_path(abstract):
        value: Any = parameters
        for key in path:
            value = value[key.key]
        if value.shape != expected.shape:
            theirs = (TABLE | OURS)[tuple(key.key for key in path)]
            raise WeightsError(
                f"{' + '.join(theirs)}: shape {value.shape} where a model of this size has {expected.shape}"
            )
