"""Memory: what rematerialization keeps and repeats, which is chosen, the largest batch,
and what `memory` says where it cannot work.
"""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx

from configs import ComputeConfig, InputError, ModelConfig, TrainConfig
from configs.model import REMAT_CHOICES
from jax_impl.cli import main, memory_table
from jax_impl.device import gpu_target, memory
from jax_impl.model import flops
from jax_impl.model.museformer import REMAT_POLICIES, abstract_model
from jax_impl.training.step import cross_entropy
from tests.rows import batch_of, random_song
from tokenizer import vocabulary as vocab

LENGTH, SPANS = 256, 128  # whole pairs of tiles: nothing is padded
MODEL = ModelConfig(layers=1, width=256, ffn=512, max_bars=32, dropout=0.0)


@pytest.fixture(scope="module")
def batch():
    return batch_of([[random_song(seed)] for seed in range(2)], LENGTH)


def loss_of(model: ModelConfig, batch, remat: str, attention: str):
    """(function of parameters and dropout key, its arguments as shapes)."""
    graph, parameters = abstract_model(model)
    compute = ComputeConfig(attention=attention, precision="fp32", remat=remat)

    def loss(parameters, key):
        return cross_entropy(
            nnx.merge(graph, parameters)(batch, max_spans=SPANS, compute=compute, dropout_key=key), batch, "all"
        )

    return loss, (parameters, jax.eval_shape(lambda: jax.random.key(0)))


# ---------------------------------------------------------------- what is kept, what is repeated


def kept_per_layer(batch, remat: str) -> int:
    """Bytes that a layer adds, beside its weights, to what the forward pass hands to the backward pass."""

    def kept(layers: int) -> int:
        loss, arguments = loss_of(dataclasses.replace(MODEL, layers=layers), batch, remat, "xla")
        backward = jax.eval_shape(lambda parameters, key: jax.vjp(lambda p: loss(p, key), parameters)[1], *arguments)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))

    weights = sum(4 * leaf.size for leaf in jax.tree.leaves(abstract_model(MODEL)[1]["layers"]))
    return kept(3) - kept(2) - weights


def test_each_rematerialization_keeps_less_than_the_one_before(batch):
    assert list(REMAT_POLICIES) == list(REMAT_CHOICES[1:])
    kept = [kept_per_layer(batch, remat) for remat in REMAT_CHOICES]
    streams = 2 * (LENGTH + SPANS) * MODEL.width * 4
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] == streams  # whole layers: their input alone
    out, lse = streams, 2 * (LENGTH + SPANS) * MODEL.heads * 4
    assert kept[-2] == streams + out + lse


def test_the_estimate_of_what_is_repeated_is_what_xla_counts(batch):
    """Of the dense definition, where all pairs count."""

    def count(remat: str) -> float:
        # XLA counts a loop's body once
        loss, arguments = loss_of(dataclasses.replace(MODEL, layers=2), batch, remat, "reference")
        return jax.jit(jax.grad(loss)).lower(*arguments).cost_analysis()["flops"]

    summaries = SPANS / LENGTH
    pairs = (1 + summaries) * (LENGTH + SPANS)
    per_layer = flops._matrices(MODEL, 1, summaries) + 2 * MODEL.width * pairs
    forward = 2 * 2 * LENGTH * (per_layer + MODEL.width * vocab.SIZE)
    assert (count("layer") - count("none")) / forward == pytest.approx(
        flops.repeated(MODEL, "layer", summaries, pairs), rel=0.05
    )


# ---------------------------------------------------------------- what is chosen


def fake_program(total: int):
    analysis = SimpleNamespace(
        argument_size_in_bytes=3, output_size_in_bytes=3, alias_size_in_bytes=3, temp_size_in_bytes=total - 3
    )
    return SimpleNamespace(memory_analysis=lambda: analysis)


@pytest.mark.parametrize(("limit", "chosen"), [(100, "products"), (50, "products"), (35, "attention"), (20, "layer")])
def test_training_takes_the_fastest_rematerialization_that_fits(limit, chosen):
    needed = dict(zip(REMAT_CHOICES, (100, 50, 30, 20), strict=True))
    compute = ComputeConfig(attention="xla", precision="fp32", remat="layer")
    program, used = memory.fastest_that_fits(lambda compute: fake_program(needed[compute.remat]), compute, limit)
    assert used == dataclasses.replace(compute, remat=chosen)
    assert memory.of(program).total == needed[chosen]


def test_a_batch_that_does_not_fit_at_all_is_refused_with_what_to_do():
    compute = ComputeConfig(attention="xla", precision="fp32", remat="none")
    with pytest.raises(InputError, match=r"takes 90\.0 GB .*remat layer, and 80\.0 GB .* smaller --batch-size"):
        memory.fastest_that_fits(lambda _: fake_program(90 * 10**9), compute, 80 * 10**9)


def test_muon_keeps_one_moment_of_what_it_moves():
    """4 bytes times 4 of a table and times 3 of a kernel, of 10^9 elements each."""
    parameters = {
        "tokens": {"embedding": np.broadcast_to(np.float32(0), (500, 2 * 10**6))},
        "out": {"kernel": np.broadcast_to(np.float32(0), 10**9)},
    }
    for optimizer, wanted in (("adamw", "32.0"), ("muon", "28.0")):
        config = TrainConfig(Path(), Path(), optimizer=optimizer)
        with pytest.raises(InputError, match=rf"{wanted} for the model and its optimizer"):
            memory.refuse_what_cannot_fit(config, parameters, 1, 10**9)


@pytest.mark.parametrize("rows", [1, 4, 48])
@pytest.mark.parametrize("fixed", [0, 4_790, 30_000])
@pytest.mark.parametrize("slope", [390, 1_700, 70_000])
def test_the_largest_batch_is_found_in_few_tries(rows, fixed, slope):
    """Memory grows by row, and a little faster once more rows are worked on at once."""
    tried = []

    def measure(rows: int) -> int:
        tried.append(rows)
        return fixed + rows * slope + 300 * min(rows, 4)

    most = memory.largest_batch(measure, rows, 80_000, group=4)
    tries = len(tried)
    candidates = [0, 1, 2, 3, *range(4, 1000, 4)]
    assert most == max(rows for rows in candidates if not rows or measure(rows) <= 80_000)
    assert tries <= 5


# ---------------------------------------------------------------- the verb


def test_without_the_compiler_for_gpus_memory_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(gpu_target, "BESIDE", tmp_path / "nothing")
    monkeypatch.setattr(gpu_target, "PLUGINS", ())
    monkeypatch.setattr(sys, "argv", ["hid-museformer", "memory", "--model-size", "tiny"])
    with pytest.raises(SystemExit) as exit_:
        main()
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count("\n") == 1
    assert "./hid memory" in error and f"jax-cuda12-plugin=={jax.__version__}" in error


def test_the_table_has_a_line_for_each_rematerialization_and_refuses_what_cannot_fit_before_compiling(
    monkeypatch, capsys
):
    target = memory_table.Target(jax.devices()[0], "xla", 80 * 10**9, {})
    monkeypatch.setattr(memory_table, "find_target", lambda: target)
    monkeypatch.setattr(memory_table, "measure", lambda model, rows, *_: memory.Memory(10**9, rows * 10**8))
    memory_table.show("tiny", 4, 1024)
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if line.startswith(REMAT_CHOICES)] == [*REMAT_CHOICES] * 2
    assert "1.4 GB" in said
    monkeypatch.setattr(memory_table, "measure", lambda *_: pytest.fail("compiled"))
    with pytest.raises(InputError, match=r"4 rows of 100000000 tokens, and 80\.0 GB are for it"):
        memory_table.show("tiny", 4, 10**8)


def test_memory_says_each_row_when_it_is_compiled_and_the_largest_batches_after_them(monkeypatch, capsys):
    target = memory_table.Target(jax.devices()[0], "xla", 80 * 10**9, {})
    monkeypatch.setattr(memory_table, "find_target", lambda: target)

    def measure(model, rows, length, remat, target):
        print("compiled", remat, rows)
        return memory.Memory(10**9, rows * 10**8)

    monkeypatch.setattr(memory_table, "measure", measure)
    memory_table.show("tiny", 4, 1024, as_json=True)
    said = capsys.readouterr().out.splitlines()
    for number, remat in enumerate(REMAT_CHOICES):
        compiled, row = said[2 * number : 2 * number + 2]
        assert compiled == f"compiled {remat} 4"
        assert json.loads(row).items() >= {"remat": remat, "rows": 4, "total": 14 * 10**8, "model_size": "tiny"}.items()
    most = [json.loads(line) for line in said[2 * number + 2 :] if line.startswith("{")]
    assert [row["remat"] for row in most] == [*REMAT_CHOICES]
    assert all(row["largest_rows"] == 768 and row["total"] == 778 * 10**8 for row in most)
