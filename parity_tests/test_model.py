"""The parts of the model one by one, then the whole, in JAX and PyTorch:
within what fp32 rounding explains, and no more.
"""

import functools
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from configs import MASK_RULES, MODEL_SIZES, ComputeConfig, Constraints, ModelConfig, SampleConfig, TrainConfig
from configs.model import AS_V121
from jax_impl.attention import attention, pack_dense
from jax_impl.batch import Batch, stack_rows
from jax_impl.model import masks as jax_masks
from jax_impl.model import museformer as jax_module
from jax_impl.model import operations
from jax_impl.model.v121 import from_v121, to_v121
from jax_impl.sampling.sample import Sampler
from jax_impl.sampling.task import task_of
from jax_impl.training.optimizer import learning_rate
from jax_impl.training.step import TrainState, make_step
from parity_tests.compare import BUDGET, compare, expected_values, forward_values, judge, mask_pairs, table
from parity_tests.pairs import jax_model, magnified, torch_model
from tests.rounding import EPSILON, FACTOR, apart, budget
from tests.rows import batch_of, random_song, short_hidden_song
from tokenizer import vocabulary as vocab
from tokenizer.tokens import fields
from torch_ref import train as torch_train
from torch_ref.model import Rotary, attend
from torch_ref.rows import Rows

SLOTS = 64
CONFIG = ModelConfig(
    layers=2, width=128, ffn=96, max_bars=16, dropout=0.0, places=True, attributes=True, music=True, harmony=True
)
FP32 = ComputeConfig(attention="xla", precision="fp32", remat="layer")


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of([[random_song(1), random_song(2, bars=6)], [random_song(3)]], 320)


def close(ours, theirs: torch.Tensor, truth: torch.Tensor) -> None:
    """ours is no further from the truth than rounding explains, of which theirs is a measure."""
    truth = truth.detach().numpy()
    assert apart(ours, truth) <= budget(apart(theirs.detach().numpy(), truth))


# ---------------------------------------------------------------- the parts


def test_the_norm_has_the_same_epsilon_even_where_nothing_varies():
    random = np.random.default_rng(0)
    x = (random.normal(size=(5, 64)) * np.array([[1e-4], [1e-2], [1], [10], [1000]])).astype(np.float32)
    norm = nnx.LayerNorm(64, rngs=nnx.Rngs(0))
    ours = lambda x: operations.normed(x, norm)
    theirs, other = torch.nn.LayerNorm(64, eps=1e-5), torch.nn.LayerNorm(64, eps=1.001e-5)
    rows, exact = torch.tensor(x), torch.tensor(x).double()
    close(ours(jnp.asarray(x)), theirs(rows), theirs.double()(exact))
    with pytest.raises(AssertionError):
        close(ours(jnp.asarray(x)), other(rows), other.double()(exact))


def test_rotations_turn_the_same_pairs_by_the_same_angles():
    """Angles are products of the same two fp32 numbers in both; what differs is how sines are rounded."""
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 64)).astype(np.float32)
    position = np.array([[0, 1, 2, 5, 100, 1000, 8191], [3, 3, 0, 7, 20, 500, 24575]])
    time = np.array([[0, 6, 8, 192, 100, 12_000, 98_304], [3, 3, 0, 7, 96, 500, 24_575]])
    turned = lambda by_music, *at: Rotary(by_music)(torch.tensor(x), *map(torch.tensor, at))
    np.testing.assert_array_equal(operations.rotary_frequencies(), Rotary(False).inv_freq)
    for by_music in (False, True):
        rotation = operations.rotation(jnp.asarray(position), jnp.asarray(time) if by_music else None)
        ours = operations.rotate(jnp.asarray(x), rotation)
        assert apart(ours, turned(by_music, position, time)) <= budget(EPSILON)
        assert apart(ours, turned(by_music, position * (1 + 1e-6), time)) > 10 * budget(EPSILON)
        assert (apart(ours, turned(by_music, position, time * (1 + 1e-6))) > 10 * budget(EPSILON)) == by_music


@pytest.mark.parametrize("phase", ["SS", "SR", "RS", "RR"])
@pytest.mark.parametrize("rule", MASK_RULES)
def test_each_phase_alone_attends_the_same(batch, rule, phase):
    """One phase of each mask at a time, over the same random q, k, v."""
    config = replace(CONFIG, mask_rule=MASK_RULES[rule])
    pairs = {call: (ours, theirs) for call, ours, theirs in mask_pairs(batch, Rows.of(batch._asdict()), config, SLOTS)}
    ours, theirs = (mask.copy() for mask in pairs["summarize" if phase[0] == "S" else "update"])
    for mask in (ours, theirs):
        mask[:, :, SLOTS:] &= phase[1] == "R"
        mask[:, :, :SLOTS] &= phase[1] == "S"
    assert ours.any()
    random = np.random.default_rng(0)
    q, k, v = (
        random.normal(size=(2, 2, length, 64)).astype(np.float32)
        for length in (ours.shape[1], ours.shape[2], ours.shape[2])
    )
    got = attention(jnp.asarray(q), jnp.asarray(k), jnp.asarray(v), pack_dense(ours), impl="xla")
    tensors = [torch.tensor(x) for x in (q, k, v)]
    mask = torch.tensor(theirs)[:, None]
    close(got, attend(*tensors, mask, "dense"), attend(*(x.double() for x in tensors), mask, "dense"))


@pytest.mark.parametrize("stream", ["summary", "regular"])
def test_the_feed_forward_is_the_same(stream):
    weights = magnified(CONFIG)
    ours = jax_model(weights, CONFIG).layers
    graph, state = nnx.split(getattr(ours, stream))
    first = nnx.merge(graph, jax.tree.map(lambda x: x[0], state))
    x = np.random.default_rng(0).normal(size=(2, 9, 128)).astype(np.float32)

    def theirs(model, x):
        layer, prefix = model.layers[0], {"summary": "sum", "regular": "reg"}[stream]
        part = lambda name: getattr(layer, f"{prefix}_ffn_{name}")
        normed = part("norm")(x)
        return part("down")(torch.nn.functional.silu(part("gate")(normed)) * part("up")(normed))

    model = torch_model(weights, CONFIG)
    single = theirs(model, torch.tensor(x))
    close(first.feed_forward(jnp.asarray(x)), single, theirs(model.double(), torch.tensor(x).double()))


# ---------------------------------------------------------------- the whole


@pytest.mark.parametrize(("size", "rule", "tokens"), [("tiny", "v121", 643), ("small", "span", 724)])
def test_masks_streams_logits_loss_and_gradients_agree(size, rule, tokens):
    """Of models of v1.2.1's tokens, and of ours with hidden bars."""
    config = replace(MODEL_SIZES[size], mask_rule=MASK_RULES[rule], max_bars=32, vocab_size=tokens)
    config = replace(config, **AS_V121) if rule == "v121" else config
    songs = [random_song(seed, size=tokens) for seed in (1, 2)]
    batch = batch_of([songs, [random_song(3, size=tokens) if tokens == 643 else short_hidden_song()]], 384)
    lines = compare(magnified(config), config, batch, SLOTS, "xla")
    assert len(lines) > 100
    assert all(line.holds for line in lines), "\n" + table(lines)


# ---------------------------------------------------------------- one fault at a time in the JAX program


SMALL = replace(CONFIG, layers=1, width=64, ffn=64)
SPLIT, ROTATE, ATTENTION, SUMMARIES = (
    jax_module.split_heads,
    jax_module.rotate,
    jax_module.attention,
    jax_masks.summaries,
)


def interleaved(x, rotation):
    cos, sin = (jnp.repeat(part, 2, axis=-1) for part in rotation)
    turned = jnp.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
    return x * cos + turned * sin


def order(*places):
    """Projections in another order: of q, k, v; of k2, v2 where there are two."""
    return lambda x, parts: [SPLIT(x, parts)[place] for place in (places if parts == 3 else (0, 1))]


def data(name, change):
    """One array of what the summaries are made of."""
    return lambda m: m.setattr(
        jax_masks, "summaries", lambda *a: (d := SUMMARIES(*a))._replace(**{name: change(getattr(d, name))})
    )


FAULTS = {
    "epsilon": lambda m: m.setattr(operations, "NORM_EPSILON", 1e-6),
    "rotation base": lambda m: m.setattr(operations, "ROPE_BASE", 10001.0),
    "rotation of neighbours": lambda m: m.setattr(jax_module, "rotate", interleaved),
    "rotation the other way": lambda m: m.setattr(jax_module, "rotate", lambda x, r: ROTATE(x, (r[0], -r[1]))),
    "scale of the scores": lambda m: m.setattr(
        jax_module, "attention", lambda q, *a, **k: ATTENTION(q * 1.001, *a, **k)
    ),
    "q and k swapped": lambda m: m.setattr(jax_module, "split_heads", order(1, 0, 2)),
    "k and v swapped": lambda m: m.setattr(jax_module, "split_heads", order(0, 2, 1)),
    "k2 and v2 swapped": lambda m: m.setattr(
        jax_module, "split_heads", lambda x, parts: SPLIT(x, parts)[:: -1 if parts == 2 else 1]
    ),
    "another activation": lambda m: m.setattr(jax_module.jax.nn, "silu", jax.nn.gelu),
    "summaries one place on": data("position", lambda x: x + 1),
    "summaries one place on as keys of tokens": data("key_position", lambda x: x + 1),
    "tokens one place on": data("token_position", lambda x: x + 1),
    "bars one row on": data("bar", lambda x: x + 1),
    "instruments one row on": data("instrument", lambda x: x + 1),
}


@pytest.fixture(scope="module", params=MASK_RULES)
def sound(request, batch):
    """What one small model should say, and what it is made of."""
    config = replace(SMALL, mask_rule=MASK_RULES[request.param])
    weights = magnified(config)
    return config, weights, expected_values(weights, config, batch, SLOTS)


def faulty(batch, sound) -> list[str]:
    """What does not hold, up to the logits. Without jit: operations stay compiled from fault to fault."""
    config, weights, expected = sound
    with jax.disable_jit():
        lines = judge(forward_values(weights, config, batch, SLOTS, "reference"), expected)
    return [line.name for line in lines if not line.holds]


def test_without_a_fault_everything_holds(batch, sound):
    assert faulty(batch, sound) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found(batch, sound, monkeypatch, fault):
    FAULTS[fault](monkeypatch)
    assert faulty(batch, sound), f"{fault} makes no difference"


def test_a_stream_that_passes_no_gradient_is_found(batch, monkeypatch):
    """Right in every value, wrong in what it learns: the summaries as keys and values of the tokens."""
    monkeypatch.setattr(
        jax_module, "split_heads", lambda x, parts: SPLIT(jax.lax.stop_gradient(x) if parts == 2 else x, parts)
    )
    failed = [line for line in compare(magnified(SMALL), SMALL, batch, SLOTS, "xla") if not line.holds]
    assert {line.kind for line in failed} == {"gradient"}
    assert "gradient of layers.0.attention.sum_k2_proj.weight" in {line.name for line in failed}


# ---------------------------------------------------------------- training and sampling


def test_the_learning_rate_is_the_same_at_every_step():
    settings = TrainConfig(Path(), Path(), learning_rate=3e-3, warmup_steps=7, final_learning_rate=0.1)
    ours = [float(learning_rate(step, settings, 40)) for step in range(40)]
    theirs = [torch_train.learning_rate(step, 3e-3, 7, 40, 0.1) for step in range(40)]
    np.testing.assert_allclose(ours, theirs, rtol=budget(EPSILON))


@pytest.mark.parametrize("tokens", [643, 724])
def test_twenty_optimizer_steps_stay_together(tokens):
    """Two micro batches with unlike numbers of targets a step, warm-up, cosine, decay and clipping: losses, gradient
    norms and every parameter's whole update stay as close to fp64 as PyTorch's in fp32 do.
    """
    config = replace(CONFIG, width=64, vocab_size=tokens)
    weights = magnified(config, scale=1.5)
    settings = TrainConfig(
        Path(),
        Path(),
        max_seq_len=320,
        max_spans=SLOTS,
        learning_rate=1e-3,
        warmup_steps=4,
        clip_norm=5.6,
        optimizer="adamw",
        chord_targets="all",
    )
    song = functools.partial(random_song, size=tokens)
    steps = [[batch_of([[song(3 * i), song(3 * i + 1)]], 320), batch_of([[song(3 * i + 2)]], 320)] for i in range(4)]

    tx, _, step = make_step(config, settings, total_steps=20)
    parameters = jax.tree.map(jnp.asarray, from_v121(weights, config.mask_rule)[1])
    state = TrainState(parameters, tx.init(parameters), jnp.zeros((), jnp.int32))
    step = jax.jit(functools.partial(step, compute=FP32))
    ours = []
    for number in range(20):
        state, measured = step(state, stack_rows(steps[number % 4]))
        ours.append((float(measured.loss), float(measured.gradient_norm)))
    updates = {name: value - weights[name] for name, value in to_v121(state.parameters).items() if name in weights}

    truth, fp32 = (
        trained(torch_model(weights, config).to(dtype), settings, steps) for dtype in (torch.float64, torch.float32)
    )
    error = lambda x, y: float(np.abs(x - y).max() / np.abs(y).max())
    losses, norms = np.array(truth[0]).T
    assert losses[-1] < 0.9 * losses[0] and norms.max() > settings.clip_norm > norms.min()
    for got, rounded, exact in zip(np.array(ours).T, np.array(fp32[0]).T, (losses, norms), strict=True):
        assert error(got, exact) <= BUDGET * error(rounded, exact)
    # What nothing depends on, the last layer's way out of the summaries, PyTorch's AdamW leaves alone, while in optax
    # it decays.
    learned = {name: update for name, update in truth[1].items() if update.any()}
    assert len(truth[1]) - len(learned) == 7
    worst = max(error(fp32[1][name], update) for name, update in learned.items())
    for name, update in learned.items():
        assert error(updates[name], update) <= BUDGET * worst, name


def trained(model, settings: TrainConfig, steps: list) -> tuple[list, dict[str, np.ndarray]]:
    """((loss, gradient norm) of 20 steps, update of every parameter by name)."""
    model.train()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    adamw = torch_train.optimizer(
        model, settings.learning_rate, (settings.beta1, settings.beta2), settings.weight_decay
    )
    curve = []
    for number in range(20):
        rows = [Rows.of(micro._asdict()) for micro in steps[number % 4]]
        rate = torch_train.learning_rate(
            number, settings.learning_rate, settings.warmup_steps, 20, settings.final_learning_rate
        )
        curve.append(torch_train.step(model, adamw, rows, SLOTS, rate, settings.clip_norm))
    return curve, {name: (parameter.detach() - before[name]).numpy() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(("rule", "seed"), [("span", 0), ("v121", 0)])
def test_greedy_continuation_takes_the_same_tokens(rule, seed):
    """Weights that say more than one token for ever, and no more bars than the sampler has room for."""
    config = replace(CONFIG, width=64, max_bars=64, mask_rule=MASK_RULES[rule])
    weights = magnified(config, seed, scale=12.0)
    settings = SampleConfig(temperature=0, top_p=1, max_length=60, grammar=False)
    (song,) = Sampler(jax_model(weights, config), task_of(config, settings, FP32, None, Constraints())).samples()
    reference = torch_model(weights, config)
    ids = [vocab.BOS]
    while len(ids) < len(song.ids):
        rows = Rows.of(batch_of([[fields.compute(np.array(ids))]], len(ids))._asdict())
        with torch.no_grad():
            logits = reference(rows, SLOTS).logits[0, -1]
        logits[[vocab.PAD, vocab.BOS, vocab.MASK, vocab.UNK]] = -torch.inf
        ids.append(int(logits.argmax()))
    assert ids == song.ids.tolist()
    assert len(set(ids)) > 8 and fields.compute(song.ids).span.max() > 2


def test_a_step_in_bf16_keeps_parameters_and_loss_in_fp32(batch):
    weights = magnified(replace(CONFIG, width=64), scale=1.0)
    model = torch_model(weights, replace(CONFIG, width=64))
    rows = Rows.of(batch._asdict())
    adamw = torch_train.optimizer(model, 1e-3, (0.9, 0.95), 0.1)
    rough, _ = torch_train.step(model, adamw, [rows], SLOTS, 1e-3, 1.0, dtype=torch.bfloat16)

    def loss(weights) -> float:
        summed, targets = torch_train.loss(
            torch_model(weights, replace(CONFIG, width=64))(rows, SLOTS).logits, rows, "all"
        )
        return float((summed / targets).detach())

    exact = loss(weights)
    rounded = loss({name: torch.tensor(value).bfloat16().float().numpy() for name, value in weights.items()})
    assert 0 < abs(rough - exact) <= FACTOR * abs(rounded - exact)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
