"""Every number of every config is in the table of ranges, and what lies just outside is refused by its name, from
Python as at the command line.
"""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest

import configs
from configs import InputError, ranges
from configs.ranges import RANGES, Range

NEEDED = {  # what a config cannot be made without
    "TrainConfig": {"data_dir": Path("songs"), "output_dir": Path("run")},
    "FinetuneConfig": {"output_dir": Path("mine")},
    "DataConfig": dict(max_seq_len=64, max_spans=8, batch_size=1, max_bars=8, seed=0, num_workers=0),
    "ModelConfig": dict(layers=1, width=64, ffn=64),
    "MaskRule": dict(scope="span", typed=False),
    "ComputeConfig": dict(attention="xla", precision="fp32", remat="none"),
}
# A process of several is given with its coordinator.
TOGETHER = {
    "num_processes": dict(distributed=True, coordinator="host:1", process_id=0),
    "part": dict(parts=2**31 - 1),
    "process_id": dict(distributed=True, coordinator="host:1", num_processes=2**31 - 1),
}
FIELDS = [(kind, name) for kind, table in RANGES.items() for name in table]


def make(kind: str, field: str, value: object) -> object:
    """A config in which one field has this value; where it is several, as the other end is still possible."""
    wanted = type_of(kind, field)
    if "tuple" in str(wanted) and isinstance(value, int | float):
        value = (value, value)
    return getattr(configs, kind)(**NEEDED.get(kind, {}) | TOGETHER.get(field, {}) | {field: value})


def type_of(kind: str, field: str) -> object:
    return getattr(configs, kind).__dataclass_fields__[field].type


def is_whole(kind: str, field: str) -> bool:
    return "float" not in str(type_of(kind, field))


def refusal(kind: str, field: str, value: object) -> str:
    """What is said of a value, which names the field; "" where it is taken, or what is wrong is another matter, such as
    how two fields agree.
    """
    try:
        made = make(kind, field, value)
    except InputError as error:
        names = f"--{field.replace('_', '-')} must be", f"{kind}.{field} must be"
        return str(error) if str(error).startswith(names) else ""
    assert dataclasses.is_dataclass(made)
    return ""


def just_outside(limits: Range, whole: bool) -> list[float]:
    """Numbers beyond both ends, as near as can be, and those ends that do not belong to it."""
    step = (lambda value, to: value + (1 if to > value else -1)) if whole else math.nextafter
    below = [limits.least] if limits.above else [step(limits.least, -math.inf)]
    above = [limits.most] if limits.below else [step(limits.most, math.inf)]
    return [value for value in below + above if not (limits.zero and value == 0)]


def inside(limits: Range, whole: bool) -> list[float]:
    step = (lambda value, to: value + (1 if to > value else -1)) if whole else math.nextafter
    least = step(limits.least, math.inf) if limits.above else limits.least
    most = step(limits.most, -math.inf) if limits.below else limits.most
    return [least, most, *([0] if limits.zero else [])]


def test_every_number_of_every_config_has_a_range():
    for kind in configs.__all__:
        config = getattr(configs, kind)
        if not dataclasses.is_dataclass(config):
            continue
        numbers = [field.name for field in dataclasses.fields(config) if re.search(r"\b(int|float)\b", str(field.type))]
        assert set(numbers) == set(RANGES.get(kind, {})), kind


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_what_lies_just_outside_is_refused_and_the_ends_are_taken(kind, field):
    limits, whole = RANGES[kind][field], is_whole(kind, field)
    for value in just_outside(limits, whole):
        assert str(value) in refusal(kind, field, value), value
    for value in inside(limits, whole):
        assert refusal(kind, field, value) == "", value


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_what_is_no_number_or_none_of_its_kind_is_refused(kind, field):
    wrong = [math.nan, math.inf, -math.inf, 10**400, "3", "", b"3", True, np.True_, [[1]], {}, object(), 1j]
    wrong += [2.5] if is_whole(kind, field) else []
    wrong += [] if "None" in str(type_of(kind, field)) else [None]
    for value in wrong:
        assert refusal(kind, field, value), value


@pytest.mark.parametrize(("kind", "field"), FIELDS)
def test_numbers_of_numpy_become_python_s(kind, field):
    whole, limits = is_whole(kind, field), RANGES[kind][field]
    value = next(value for value in (64, 1, 0.5) if value in limits)
    number = (np.int16 if whole else np.float64)(value)
    is_pair = "tuple" in str(type_of(kind, field))
    there = getattr(make(kind, field, (number, number) if is_pair else number), field)
    assert all(type(item) is (int if whole else float) for item in (there if isinstance(there, tuple) else (there,)))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("SampleConfig", "grammar", 1),
        ("SampleConfig", "grammar", "yes"),
        ("Constraints", "strict", None),
        ("Constraints", "meter", (3, 4)),
        ("Constraints", "instruments", b"drums"),
        ("Constraints", "instruments", np.array(["drums"])),
        ("Constraints", "chords", None),
        ("TrainConfig", "precision", "fp16"),
        ("TrainConfig", "model_size", np.array(["tiny"])),
        ("TrainConfig", "data_dir", 3),
        ("TrainConfig", "data_dir", b"songs"),
        ("TrainConfig", "init_from", 3),
        ("PrepareConfig", "engine", None),
        ("PrepareConfig", "shard", 1),
    ],
)
def test_what_is_of_another_type_is_refused(kind, field, value):
    assert refusal(kind, field, value)


def test_lists_and_numbers_are_as_good_as_text_where_several_are_named():
    wanted = configs.Constraints(instruments=["drums", 33, np.int64(0)], add=33, chords=("C", "Am"))
    assert (wanted.instruments, wanted.add, wanted.chords) == ("drums,33,0", "33", "C Am")
    assert configs.TrainConfig("songs", "run").data_dir == Path("songs")


def test_a_range_says_what_it_holds():
    assert str(ranges.COUNT) == "at least 1" and str(ranges.POSITIVE) == "above 0"
    assert str(Range(0, 1, below=True)) == "at least 0 and below 1"
    assert str(Range(40, 250, zero="any")) == "from 40 to 250, or 0 (any)"
    with pytest.raises(InputError, match=f"--steps must be at most {2**31 - 1}, got {2**31}"):
        make("TrainConfig", "steps", 2**31)
    with pytest.raises(InputError, match="--port must be above 0, got 0"):
        ranges.within("--port", 0, ranges.POSITIVE)


@pytest.mark.parametrize("port", ["³", "0", "65536", "x", ""])
def test_a_coordinator_s_port_is_a_number(port):
    with pytest.raises(InputError, match="--coordinator must be HOST:PORT"):
        configs.ClusterConfig(distributed=True, coordinator=f"host:{port}", num_processes=1, process_id=0)
