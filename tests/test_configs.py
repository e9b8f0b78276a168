"""Configs: no field that nobody reads, no preset that cannot be made."""

import ast
import dataclasses
from pathlib import Path

import pytest

from configs import (
    MODEL_SIZES,
    AugmentConfig,
    ClusterConfig,
    ComputeConfig,
    Constraints,
    DataConfig,
    InputError,
    MaskRule,
    ModelConfig,
    PrepareConfig,
    SampleConfig,
    TrainConfig,
    presets,
)
from tests import ROOT

CONFIGS = (
    AugmentConfig,
    ClusterConfig,
    ComputeConfig,
    Constraints,
    DataConfig,
    MaskRule,
    ModelConfig,
    PrepareConfig,
    SampleConfig,
    TrainConfig,
)


@pytest.fixture(scope="module")
def attributes_read() -> set[str]:
    """Names of all attributes that the program reads from anything, x.NAME."""
    names = set()
    for folder in ("configs", "jax_impl", "tokenizer"):
        for path in (ROOT / folder).rglob("*.py"):
            reads = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute))
            names |= {node.attr for node in reads if isinstance(node.ctx, ast.Load)}
    return names


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_is_read_somewhere(config, attributes_read):
    unread = {field.name for field in dataclasses.fields(config)} - attributes_read
    assert not unread


@pytest.mark.parametrize("config", CONFIGS)
def test_configs_cannot_be_changed(config):
    assert config.__dataclass_params__.frozen


@pytest.mark.parametrize("preset", [presets.demo, presets.laptop, presets.headline])
def test_every_preset_can_be_made(preset):
    run = preset(Path("songs"), Path("run"))
    assert run.model_size in MODEL_SIZES
    assert run.row_spans == run.max_seq_len * 3 // 16


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
    source = (ROOT / "configs" / "train.py").read_text().splitlines()
    for field in dataclasses.fields(TrainConfig):
        (line,) = [line for line in source if line.startswith(f"    {field.name}:")]
        assert "  # " in line, field.name


@pytest.mark.parametrize("shard", ["0/8", "9/8", "1", "/", "1/0", "-1/8", "1/8/9", "a/b"])
def test_a_part_that_is_none_of_its_parts_is_refused(shard):
    PrepareConfig(shard="8/8")
    with pytest.raises(InputError, match=f"--shard must be I/N with I from 1 to N, such as 2/8, got {shard}"):
        PrepareConfig(shard=shard)
