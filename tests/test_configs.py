"""Configs: no field that nobody reads, no preset that cannot be made."""

import ast
import dataclasses
import re
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from configs import (
    MODEL_SIZES,
    AugmentConfig,
    ClusterConfig,
    ComputeConfig,
    Constraints,
    DataConfig,
    EvaluateConfig,
    InputError,
    MaskRule,
    ModelConfig,
    PrepareConfig,
    SampleConfig,
    TrainConfig,
    presets,
)
from configs.model import V121_VOCAB_SIZE, VOCAB_SIZE, VocabSize
from tests import ROOT
from tokenizer import vocabulary as vocab

CONFIGS = (
    AugmentConfig,
    ClusterConfig,
    ComputeConfig,
    Constraints,
    DataConfig,
    EvaluateConfig,
    MaskRule,
    ModelConfig,
    PrepareConfig,
    SampleConfig,
    TrainConfig,
)


def reads(source: str) -> set[str]:
    """Names of the attributes that a program takes a value from to use it: x.NAME, outside of __post_init__, which only
    says what values make no sense, and not as a statement that does nothing or only within an assert.
    """
    tree = ast.parse(source)
    idle = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"]
    idle += [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    idle += [node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Attribute)]
    unused = {id(part) for node in idle for part in ast.walk(node)}
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in unused
    }


@pytest.fixture(scope="module")
def attributes_read() -> dict[Path, set[str]]:
    """Of each file of the program."""
    files = [path for folder in ("configs", "jax_impl", "tokenizer") for path in (ROOT / folder).rglob("*.py")]
    return {path: reads(path.read_text(encoding="utf-8")) for path in files}


def names(config: type, path: Path) -> bool:
    """Whether a file has to do with this config: it names the class, or is handed one by a file that does."""
    return config.__name__ in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_is_read_where_its_config_is_at_hand(config, attributes_read):
    """A field of the same name in another config does not count, unless one file has to do with both."""
    at_hand = set().union(*(found for path, found in attributes_read.items() if names(config, path)))
    unread = {field.name for field in dataclasses.fields(config)} - at_hand
    assert not unread


@pytest.mark.parametrize(
    "mention",
    [
        "def f(x: C): return dict(field=x)",
        "def f(x: C): x.field",
        "def f(x: C): assert x.field > 0",
        "def f(x: C): x.field = 3",
        "def f(x: C): 'field'",
        "class C:\n    field: int\n    def __post_init__(self): check(self.field)",
    ],
)
def test_a_field_that_is_only_mentioned_is_not_read(mention):
    assert "field" not in reads(mention)
    assert "field" in reads("def f(x: C): return x.field + 1")


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_cannot_be_changed(config):
    assert config.__dataclass_params__.frozen


@pytest.mark.parametrize(
    "preset", [presets.demo, presets.laptop, presets.headline, partial(presets.shipped, steps=100)]
)
def test_every_preset_can_be_made(preset):
    run = preset(Path("songs"), Path("run"))
    assert run.model_size in MODEL_SIZES
    assert run.row_spans == (run.max_spans or run.max_seq_len * 3 // 16)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("steps", 0),
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("dropout", 1.0),
        ("final_learning_rate", 1.5),
        ("keep_last", 0),
        ("fsdp_devices", 0),
        ("resume_from", 0),
        ("weight_decay", float("inf")),
        ("learning_rate", float("inf")),
        ("learning_rate", float("nan")),
        ("clip_norm", float("inf")),
        ("seed", 1 << 31),
        ("max_seq_len", 1 << 31),
    ],
)
def test_nonsense_is_refused_by_the_flag_s_name(field, value):
    with pytest.raises(InputError, match=f"--{field.replace('_', '-')} must be .*, got {value}"):
        TrainConfig(Path("songs"), Path("run"), **{field: value})


def test_every_flag_of_training_has_a_help_text():
    source = (ROOT / "configs" / "train.py").read_text(encoding="utf-8").splitlines()
    for field in dataclasses.fields(TrainConfig):
        (line,) = [line for line in source if line.startswith(f"    {field.name}:")]
        assert "  # " in line, field.name


@pytest.mark.parametrize("shard", ["0/8", "9/8", "1", "/", "1/0", "-1/8", "1/8/9", "a/b"])
def test_a_part_that_is_none_of_its_parts_is_refused(shard):
    PrepareConfig(shard="8/8")
    with pytest.raises(InputError, match=f"--shard must be I/N with I from 1 to N, such as 2/8, got {shard}"):
        PrepareConfig(shard=shard)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_every_number_of_training_is_finite(value):
    floats = [field.name for field in dataclasses.fields(TrainConfig) if field.type is float]
    assert len(floats) > 6
    for name in floats:
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must be a finite number, .*, got"):
            TrainConfig(Path("songs"), Path("run"), **{name: value})


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"steps": 2**31}, "--steps must be at most 2147483647"),
        ({"batch_size": 2**20}, "--batch-size 1048576 x --max-seq-len 8192 are 8589934592 tokens a step"),
    ],
)
def test_sizes_that_cannot_be_counted_are_refused(sizes, message):
    with pytest.raises(InputError, match=message):
        TrainConfig(Path("songs"), Path("run"), **sizes)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_seconds": float("nan")}, "--min-seconds must be a finite number"),
        ({"max_seconds": float("nan")}, "--max-seconds must be a finite number"),
        ({"min_bars": -1}, "--min-bars must be at least 0, got -1"),
        ({"max_bars": 0}, "--max-bars must be at least 1, got 0"),
        ({"min_bars": 10, "max_bars": 5}, "--min-bars 10 and --max-bars 5 leave no song"),
    ],
)
def test_limits_that_leave_no_song_are_refused(limits, message):
    PrepareConfig(min_bars=5, max_bars=5)
    with pytest.raises(InputError, match=message):
        PrepareConfig(**limits)


def test_more_summaries_than_tokens_are_refused():
    with pytest.raises(InputError, match="--max-spans 129 is more than --max-seq-len 128"):
        TrainConfig(Path("songs"), Path("run"), max_seq_len=128, max_spans=129)


def test_a_model_has_all_tokens_or_those_of_v121():
    assert get_args(VocabSize) == (VOCAB_SIZE, V121_VOCAB_SIZE) == (vocab.SIZE, vocab.V121_SIZE)
    assert {model.vocab_size for model in MODEL_SIZES.values()} == {vocab.SIZE}
    assert type(ModelConfig(1, 64, 64, vocab_size=np.int16(643)).vocab_size) is int


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ModelConfig(layers=0, width=64, ffn=64), "ModelConfig.layers must be at least 1, got 0"),
        (lambda: ModelConfig(layers=1, width=0, ffn=64), "ModelConfig.width must be at least 1, got 0"),
        (lambda: ModelConfig(layers=1, width=96, ffn=64), "width 96 must be a multiple of the head width 64"),
        (lambda: ModelConfig(layers=1, width=64, ffn=64, dropout=1.0), "ModelConfig.dropout must be at least 0 and"),
        (lambda: ModelConfig(1, 64, 64, vocab_size=700), "ModelConfig.vocab_size must be one of 724, 643, got 700"),
        (lambda: ModelConfig(1, 64, 64, vocab_size=True), "ModelConfig.vocab_size must be one of 724, 643, got True"),
        (lambda: ModelConfig(1, 64, 64, vocab_size="643"), "ModelConfig.vocab_size must be one of 724, 643, got '643'"),
        (lambda: MaskRule("span", False, near_bars=-1), "MaskRule.near_bars must be at least 0, got -1"),
        (lambda: MaskRule("span", False, far_offsets=4), "MaskRule.far_offsets must be a tuple, got 4"),
        (lambda: MaskRule("track", False), "MaskRule.scope must be one of span, bar, got 'track'"),
    ],
)
def test_a_model_that_cannot_be_is_refused(make, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AugmentConfig(transpose=(6, -5)), r"AugmentConfig.transpose must be \(least, most\), got \(6, -5\)"),
        (lambda: DataConfig(64, 12, 2, 32, 0, 0, part=2, parts=2), "DataConfig: there is no part 2 of 2"),
        (lambda: TrainConfig("a", "b", tracker_project="x"), "--tracker-project x is for --tracker wandb"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
