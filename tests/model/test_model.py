"""The properties the model exists for: nothing depends on a later token, on the batch, on the packing or on padding.

Programs are optimized here, as users' are, for bits are compared. Each property is also shown to fail on a planted
fault, so that its test is known to be able to.
"""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import MASK_RULES, MODEL_SIZES, ComputeConfig, ModelConfig
from configs.model import AS_V121
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.model import attributes, masks
from jax_impl.model.museformer import MuseFormer, Streams, abstract_model
from jax_impl.model.operations import dropout, random_bits, rotate, rotation
from tests.rounding import EPSILON, FACTOR, apart, budget, moved
from tests.rows import batch_of, ids, random_song
from tests.runs import with_harmony
from tokenizer import vocabulary as vocab
from tokenizer.tokens import fields
from tokenizer.tokens.fields import BAR_STEPS, TokenFields
from tokenizer.vocabulary import SIXTEENTH, Class

CONFIG = ModelConfig(layers=2, width=64, ffn=96, max_bars=16)
RR = masks.rr
REFERENCE = ComputeConfig(attention="reference", precision="fp32", remat="none")
XLA = replace(REFERENCE, attention="xla")
OPTIMIZED = {"xla_backend_optimization_level": 2, "xla_llvm_disable_expensive_passes": False}
jit = functools.partial(jax.jit, compiler_options=OPTIMIZED)


def model_of(rule: str = "span", **changes) -> MuseFormer:
    """A small model with weights magnified until attention matters."""
    model = MuseFormer(replace(CONFIG, mask_rule=MASK_RULES[rule], **changes), nnx.Rngs(0))
    nnx.update(model, jax.tree.map(lambda x: x * 6 if x.ndim > 1 else x, nnx.state(model, nnx.Param)))
    return with_harmony(model)


def run(model: MuseFormer, batch: Batch, compute: ComputeConfig = REFERENCE) -> tuple[np.ndarray, Streams]:
    """Logits and the streams of every layer, compiled anew (so that planted faults are compiled in)."""
    graph, parameters = nnx.split(model)

    @jit
    def forward(parameters, batch):
        model = nnx.merge(graph, parameters)
        logits = model(batch, max_spans=64, compute=compute, dropout_key=None)
        return logits, model.layer_streams(batch, max_spans=64, compute=compute)

    return jax.tree.map(np.asarray, forward(parameters, batch))


# ---------------------------------------------------------------- influence


def influence_on_the_past(model: MuseFormer) -> list[str]:
    """Changes one token at a time to a random one; names what moved before it, in logits or in any layer's streams, bit
    for bit.
    """
    song = random_song(0, bars=4)
    random = np.random.default_rng(0)
    changed_at = range(1, len(song))
    rows = [pack_row([song], len(song))]
    for j in changed_at:
        changed = song.ids.copy()
        changed[j] = (changed[j] + 1 + random.integers(vocab.SIZE - 1)) % vocab.SIZE
        rows.append(pack_row([fields.compute(changed)], len(song)))
    logits, streams = run(model, stack_rows(rows))
    spans_ended = np.asarray(masks.summaries(rows_as_batch(rows), model.config.mask_rule, 64).visible)[0]
    moved = []
    for row, j in enumerate(changed_at, start=1):
        if (logits[row, :j] != logits[0, :j]).any():
            moved.append(f"logits before token {j}")
        for layer in range(len(streams.regular)):
            if (streams.regular[layer, row, :j] != streams.regular[layer, 0, :j]).any():
                moved.append(f"regular stream of layer {layer} before token {j}")
            ended = spans_ended[j - 1]  # summaries of spans that surely ended before token j
            if (streams.summary[layer, row, :ended] != streams.summary[layer, 0, :ended]).any():
                moved.append(f"summary stream of layer {layer} before token {j}")
    assert (logits[1:] != logits[0]).any(axis=(1, 2)).all(), "a changed token must change its own logits"
    return moved


def rows_as_batch(rows: list[Batch]) -> Batch:
    return jax.tree.map(jnp.asarray, stack_rows(rows))


def test_no_token_influences_anything_before_it():
    assert influence_on_the_past(model_of()) == []


@pytest.mark.parametrize(
    ("clause", "fault"),
    [
        ("rs", lambda q, k: masks._same_document(q, k) & (k.index <= q.visible)),  # tokens see the bar being written
        ("ss", lambda q, k: masks._same_document(q, k)),  # summaries see later summaries
        ("rr", lambda q, k, rule: masks._same_document(q, k) & masks.reachable(q, k, rule)),  # not causal
        ("sr", lambda q, k: masks._same_document(q, k) & (k.pooled_by >= q.index)),  # a summary pools later bars
    ],
    ids=["rs", "ss", "rr", "sr"],
)
def test_influence_is_found_when_a_clause_leaks(monkeypatch, clause, fault):
    monkeypatch.setattr(masks, clause, fault)
    assert influence_on_the_past(model_of())


def test_the_rule_of_v121_does_leak_through_its_bar_summaries():
    assert influence_on_the_past(model_of("v121"))


# ---------------------------------------------------------------- batch, packing, padding


def forward_of(model: MuseFormer, compute: ComputeConfig):
    """(logits as a function of parameters and batch, parameters), compiled anew (so that planted faults are)."""
    graph, parameters = nnx.split(model)

    def forward(parameters, batch):
        return nnx.merge(graph, parameters)(batch, max_spans=64, compute=compute, dropout_key=None)

    return jit(forward), parameters


def retold(song: TokenFields) -> TokenFields:
    """Another song of the same shape: every token is there, but with another pitch, loudness, length or chord."""
    ids = song.ids.copy()
    for kind in (Class.PITCH, Class.VELOCITY, Class.DURATION, Class.CHORD):
        tokens, of_kind = np.flatnonzero(vocab.CLASS == kind), vocab.CLASS[ids] == kind
        ids[of_kind] = tokens[(np.searchsorted(tokens, ids[of_kind]) + 3) % len(tokens)]
    return fields.compute(ids)


def differences_around(model: MuseFormer, compute: ComputeConfig) -> tuple[list[str], float]:
    """What a song's logits owe to what lies around it.

    In one program, at one place: where they change by a bit. And between the song alone and in a batch, packed behind
    others, with padding, which are other programs and other sums: the largest difference, as a share of what rounding
    explains.
    """
    forward, parameters = forward_of(model, compute)
    song, stranger, other = random_song(1), random_song(2), random_song(3, bars=4)
    length = len(song) + len(stranger) + len(other) + 9
    rows = [[stranger, song, other], [other], [song], [other, stranger, song]]
    starts = {0: len(stranger), 2: 0, 3: len(other) + len(stranger)}

    def in_place(rows) -> dict[int, np.ndarray]:
        logits = np.asarray(forward(parameters, batch_of(rows, length)))
        return {row: logits[row, start : start + len(song)] for row, start in starts.items()}

    together, changed = in_place(rows), []
    for name, others in {
        "another song before it": [[retold(stranger), song, other], [other], [song], [other, retold(stranger), song]],
        "another song behind it": [[stranger, song, retold(other)], [other], [song, stranger], rows[3]],
        "nothing behind it, another in the next row": [[stranger, song], [stranger], [song], rows[3]],
        "another song in the rows before": [rows[0], [stranger, other], [song], rows[3]],
    }.items():
        changed += [f"{name}, row {row}" for row, x in in_place(others).items() if (x != together[row]).any()]
    changed += [
        f"another song in the row before, row {row}"
        for row, x in in_place([[other, stranger, retold(song)], [other], [song], rows[3]]).items()
        if row != 0 and (x != together[row]).any()
    ]

    alone = batch_of([[song]], len(song))
    want = np.asarray(forward(parameters, alone))
    rounding = moved(lambda parameters: forward(parameters, alone), parameters)
    got = np.stack(list(together.values()))
    return changed, apart(got, np.broadcast_to(want, got.shape)) / budget(rounding)


@pytest.mark.parametrize("rule", MASK_RULES)
@pytest.mark.parametrize("compute", [REFERENCE, XLA], ids=["reference", "xla"])
def test_a_songs_logits_are_the_same_alone_batched_packed_and_padded(rule, compute):
    changed, difference = differences_around(model_of(rule), compute)
    assert changed == []
    assert difference <= 1


def one_samples_mask(build):
    """The fault of v1.2.1: the mask of the first row serves the whole batch."""

    def faulty(batch, data, rule):
        return jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), build(batch, data, rule))

    return faulty


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("_same_document", lambda q, k: (q.document > 0) & (k.document > 0)),  # packed songs see each other
        ("rr", lambda q, k, rule: RR(q, k, rule) | ((q.document > 0) & (k.document == 0))),  # padding is seen
        ("update_mask", one_samples_mask(masks.update_mask)),
        ("summarize_mask", one_samples_mask(masks.summarize_mask)),
    ],
    ids=["packed songs", "padding", "one update mask", "one summarize mask"],
)
def test_a_difference_is_found_when_songs_mix(monkeypatch, name, fault):
    monkeypatch.setattr(masks, name, fault)
    changed, difference = differences_around(model_of(), REFERENCE)
    assert changed and difference > 10


def test_padding_rows_and_padding_tokens_stay_finite():
    song = random_song(1)
    logits, streams = run(model_of(), batch_of([[song], []], len(song) + 40))
    assert np.isfinite(logits).all()
    assert all(np.isfinite(stream).all() for stream in streams)


# ---------------------------------------------------------------- the parts


def test_sizes_have_the_parameters_that_v121_counts_and_a_row_for_each_token_of_ours():
    def count(config: ModelConfig) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(abstract_model(config)[1]))

    millions = {"small": 17.66, "base": 136.82, "large": 398.75, "xlarge": 1085.46}
    for size, expected in millions.items():
        theirs = count(replace(MODEL_SIZES[size], vocab_size=643, **AS_V121))
        assert round(theirs / 1e6, 2) == expected, size
        ours = 81 + BAR_STEPS + attributes.COUNT  # rows of tables
        of_harmony = 3 * 20 * 19 * 12 + 20 * 12  # chords before and next, pitches over a chord
        assert count(MODEL_SIZES[size]) - theirs == ours * MODEL_SIZES[size].width + of_harmony


@pytest.mark.parametrize("tokens", [643, 724])
def test_a_model_says_a_number_of_each_of_its_tokens(tokens):
    song = random_song(1, size=tokens)
    logits, _ = run(model_of(vocab_size=tokens), batch_of([[song]], len(song)))
    assert logits.shape == (1, len(song), tokens) and np.isfinite(logits).all()


def test_rotation_depends_on_the_distance_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 64))
    at = lambda x, position, time: rotate(x, rotation(jnp.array([[position]]), jnp.array([[time]])))[0, 0, 0]
    product = lambda of_q, of_k: float(at(q, *of_q) @ at(k, *of_k))
    rounding = 1009 * EPSILON * float(jnp.abs(q * k).sum())  # an angle is rounded with its position, the fastest most
    assert abs(product((9, 60), (2, 12)) - product((1009, 6060), (1002, 6012))) <= rounding
    for otherwise in ((5, 12), (2, 18)):
        assert abs(product((9, 60), (2, 12)) - product((9, 60), otherwise)) > 10 * rounding
    np.testing.assert_array_equal(at(q, 0, 0), q[0, 0, 0])


def test_a_sixteenth_turns_odd_frequencies_as_a_position_does_and_without_times_none_is_turned_by_them():
    by_both = rotation(jnp.array([[7]]), jnp.array([[7 * SIXTEENTH]]))
    by_index = rotation(jnp.array([[7]]), None)
    np.testing.assert_allclose(by_both, by_index, rtol=0, atol=8 * EPSILON)
    other = rotation(jnp.array([[7]]), jnp.array([[8 * SIXTEENTH]]))
    moved = np.abs(np.subtract(other, by_index)).max(axis=(0, 1, 2, 3)) > 8 * EPSILON
    assert moved.tolist() == [index % 2 == 1 for index in range(32)]


def test_computing_otherwise_changes_no_gradient():
    """No more than rounding does: how much that is depends on the magnified weights and on the dropped-out units."""
    model, batch = model_of(), batch_of([[random_song(1), random_song(2)], [random_song(3)]], 300)
    graph, parameters = nnx.split(model)

    @functools.partial(jax.jit, static_argnums=3)
    @jax.grad
    def gradients(parameters, batch, key, compute):
        logits = nnx.merge(graph, parameters)(batch, max_spans=64, compute=compute, dropout_key=key)
        return (jax.nn.log_softmax(logits)[..., 5] * batch.weights).mean()

    key = jax.random.key(1)
    want = gradients(parameters, batch, key, REFERENCE)
    allowed = budget(moved(lambda parameters: gradients(parameters, batch, key, REFERENCE), parameters))
    for otherwise in ({"remat": "layer", "layer_rows": 1}, {"remat": "products"}):
        assert apart(gradients(parameters, batch, key, replace(XLA, **otherwise)), want) <= allowed, otherwise
    other = gradients(parameters, batch, jax.random.key(2), REFERENCE)  # other units dropped out
    assert apart(other, want) > 10 * allowed


def test_bf16_computes_the_same_music():
    """As far from the exact logits as the exact program is with weights rounded to bf16."""
    model, batch = model_of(), batch_of([[random_song(1)]], 128)
    real = batch.document > 0
    forward, parameters = forward_of(model, REFERENCE)

    def exact_with(weights) -> np.ndarray:
        rounded = jax.tree.map(lambda x: x.astype(weights).astype(x.dtype), parameters)
        return np.asarray(forward(rounded, batch))[real]

    exact = exact_with(jnp.float32)
    error = lambda logits: np.abs(logits - exact).mean()
    rough = np.asarray(forward_of(model, replace(REFERENCE, precision="bf16"))[0](parameters, batch))
    assert rough.dtype == np.float32
    assert 0 < error(rough[real]) <= FACTOR * error(exact_with(jnp.bfloat16))
    assert error(exact_with(jnp.float8_e4m3fn)) > FACTOR * error(exact_with(jnp.bfloat16))


def test_dropout_needs_a_key_differs_from_row_to_row_and_keeps_the_mean():
    model, batch = model_of(), batch_of([[random_song(1)], [random_song(1)]], 128)
    graph, parameters = nnx.split(model)

    @jax.jit
    def call(parameters, batch, key):
        return nnx.merge(graph, parameters)(batch, max_spans=64, compute=REFERENCE, dropout_key=key)

    first, again, other = (np.asarray(call(parameters, batch, jax.random.key(seed))) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, np.asarray(forward_of(model, REFERENCE)[0](parameters, batch)))
    kept = dropout(jnp.ones((10, 100, 100)), 0.1, jax.random.key(0))
    assert set(np.unique(kept).tolist()) == {0.0, float(np.float32(1 / 0.9))}
    deviation = (0.1 / 0.9 / 100_000) ** 0.5
    assert abs(float(kept.mean()) - 1) < 5 * deviation


def test_what_is_dropped_is_independent_from_column_to_column_position_row_branch_and_step():
    """Neighbours along each axis, each bit of the numbers, and the lengths between what is dropped of a position: 0.1,
    0.9 x 0.1, ...
    """
    keys = jax.random.split(jax.random.key(7), 4)
    bits = np.stack([random_bits(key, jnp.arange(8), 64, 128) for key in keys])  # [4, 8, 64, 128]
    below = (bits < 0.1 * 2**32).astype(float) - 0.1
    sigma = 0.1 * 0.9
    for axis in range(4):
        for distance in (1, 2, 3):
            first, second = np.split(below, [distance], axis)[1], np.split(below, [-distance], axis)[0]
            assert abs((first * second).mean()) < 5 * sigma / first.size**0.5, (axis, distance)
    ones = np.unpackbits(bits.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / bits.size**0.5
    dropped = np.flatnonzero(below.reshape(-1, 128)[:, :] > 0)
    gaps = np.diff(dropped)
    expected = 0.1 * 0.9 ** np.arange(20) * len(gaps)
    found = np.bincount(gaps, minlength=21)[1:21]
    assert ((found - expected) ** 2 / expected).sum() < 60  # chi-square of 20; one in 100 000 is above


def test_dropout_is_the_same_in_any_groups_of_rows():
    x, key = jnp.ones((8, 16, 32)), jax.random.key(3)
    whole = dropout(x, 0.3, key)
    rows = jnp.array([6, 1, 3])
    np.testing.assert_array_equal(dropout(x[:3], 0.3, key, rows), whole[rows])
    assert (np.asarray(whole[1:]) != np.asarray(whole[:-1])).any(axis=(1, 2)).all()


def test_rotations_are_fp32_also_of_what_is_bf16():
    """An angle's cosine in bf16 is as far off as the next position's is."""
    position = jnp.array([[8000]])
    assert {table.dtype for table in rotation(position, position)} == {jnp.dtype(jnp.float32)}
    x = jax.random.normal(jax.random.key(0), (1, 1, 1, 64)).astype(jnp.bfloat16)
    exact = rotate(x.astype(jnp.float32), rotation(position, None))
    np.testing.assert_array_equal(rotate(x, rotation(position, None)), exact)


def test_the_program_grows_with_depth_only_where_layers_are_written_out():
    batch = batch_of([[random_song(1)]], 128)

    def size(layers: int, remat: str) -> int:
        model = nnx.eval_shape(lambda: MuseFormer(replace(CONFIG, layers=layers), nnx.Rngs(0)))
        graph, params = nnx.split(model)
        compute = replace(REFERENCE, remat=remat)
        forward = lambda p: nnx.merge(graph, p)(batch, max_spans=64, compute=compute, dropout_key=None)
        return len(jax.jit(forward).lower(params).as_text().splitlines())

    for remat in ("none", "attention", "layer"):
        assert size(2, remat) == size(8, remat)
    assert size(8, "products") > 2 * size(2, "products")


def test_written_out_the_last_layers_summaries_do_nothing_that_is_not_used():
    """Their way out and their feed-forward: XLA counts the products of a step."""
    batch = batch_of([[random_song(1)]], 128)
    model = nnx.eval_shape(lambda: MuseFormer(replace(CONFIG, layers=1), nnx.Rngs(0)))
    graph, parameters = nnx.split(model)

    def products(ffn_of_summaries: int) -> float:
        changed = jax.tree.map(lambda x: x, parameters)
        width = CONFIG.width
        for name, shape in (("gate_up", (1, width, 2 * ffn_of_summaries)), ("down", (1, ffn_of_summaries, width))):
            changed["layers"]["summary"][name]["kernel"] = jax.ShapeDtypeStruct(shape, jnp.float32)
        compute = replace(REFERENCE, remat="products")
        loss = lambda p: nnx.merge(graph, p)(batch, max_spans=64, compute=compute, dropout_key=None).sum()
        return jax.jit(jax.grad(loss)).lower(changed).compile().cost_analysis()["flops"]

    assert products(64) == pytest.approx(products(1024), rel=0.02)


def test_the_width_must_fit_the_heads():
    with pytest.raises(ValueError, match="width 100"):
        ModelConfig(layers=1, width=100, ffn=10)


# ---------------------------------------------------------------- harmony


def test_chords_and_pitches_lean_on_the_chords_before_them_in_whatever_key():
    """A table of which one number is not 0 moves the logits that stand at its distance, and no other."""
    model = MuseFormer(replace(CONFIG, harmony=True), nnx.Rngs(0))
    song = fields.compute(ids("BOS BPM_19 TS_4/4 #P0 SEP Dmin T0 P60 Gmaj T0 P62 Cmaj T0 P60 Amin T0 P60"))
    batch = batch_of([[song]], len(song))
    before = run(model, batch)[0]

    def moved_by(table, place: int) -> dict[int, list[str]]:
        """By token, which tokens after it are likelier now."""
        table.bias[...] = jnp.zeros(table.bias.shape).at[place].set(1.0)
        apart = run(model, batch)[0][0] - before[0]
        table.bias[...] = jnp.zeros(table.bias.shape)
        assert set(np.round(apart, 5).ravel()) == {0.0, 1.0}
        return {n: [vocab.NAMES[t] for t in np.flatnonzero(row > 0.5)] for n, row in enumerate(apart) if row.any()}

    minor, major = vocab.QUALITIES.index("min"), vocab.QUALITIES.index("maj")
    a_fourth_up = (minor * 19 + major) * 12 + 5  # D minor to G major
    assert moved_by(model.harmony.chords, a_fourth_up) == {n: ["Gmaj"] for n in (5, 6, 7)} | {
        n: ["Dmaj"] for n in (14, 15, 16)
    }
    same = (minor * 19 + minor) * 12
    assert moved_by(model.harmony.chords, 20 * 19 * 12 + same) == {n: ["Dmin"] for n in (14, 15, 16)}, (
        "four bars before the next"
    )
    fifth = moved_by(model.harmony.pitches, minor * 12 + 7)
    assert fifth[6] == [f"P{n}" for n in range(9, 128, 12)] and set(fifth) == {5, 6, 7, 14, 15, 16}  # A over D minor


def test_drums_have_no_harmony():
    model = with_harmony(MuseFormer(replace(CONFIG, harmony=True), nnx.Rngs(0)))
    logits = jnp.zeros((1, 2, vocab.SIZE))
    harmony, instrument = jnp.full((1, 2), 5), jnp.array([[0, 128]])
    piano, drums = np.asarray(model.harmony(logits, harmony, instrument))[0]
    pitches = vocab.CLASS == vocab.Class.PITCH
    assert piano[pitches].any() and not drums[pitches].any()
    np.testing.assert_array_equal(piano[~pitches], drums[~pitches])
