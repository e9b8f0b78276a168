"""A token is drawn as the logits and the settings say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import SampleConfig
from configs.ranges import RANGES
from jax_impl.sampling.draw import bar_is_over, draw, hear, penalized, surer
from tests.rounding import EPSILON, budget
from tests.rows import ids
from tokenizer import vocabulary as vocab
from tokenizer.tokens import grammar


def drawn(logits, config: SampleConfig, times: int = 2000) -> set[int]:
    keys = jax.random.split(jax.random.key(0), times)
    return set(np.unique(jax.vmap(lambda key: draw(key, jnp.asarray(logits), config))(keys)).tolist())


SUMMED = budget(vocab.SIZE**0.5 * EPSILON)  # of sums over the vocabulary, rounded at each step
LOGITS = np.log(np.array([0.5, 0.25, 0.15, 0.07, 0.03]))


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        (SampleConfig(temperature=0, top_p=1), {0}),
        (SampleConfig(temperature=1, top_p=1), {0, 1, 2, 3, 4}),
        (SampleConfig(temperature=1, top_k=2, top_p=1), {0, 1}),
        (SampleConfig(temperature=1, top_p=0.7), {0, 1}),
        (SampleConfig(temperature=1, top_p=0.76), {0, 1, 2}),
        (SampleConfig(temperature=1, top_p=0.01), {0}),
        (SampleConfig(temperature=1, top_k=3, top_p=0.5), {0}),
        (SampleConfig(temperature=0.05, top_p=1), {0}),
        (SampleConfig(temperature=1, top_p=1, min_p=0.29), {0, 1, 2}),
        (SampleConfig(temperature=1, top_p=1, min_p=0.31), {0, 1}),
    ],
)
def test_draws_stay_within_what_is_kept(config, tokens):
    assert drawn(LOGITS, config) == tokens


def test_top_p_of_one_keeps_what_a_rounded_sum_would_drop(monkeypatch):
    """The first token has all of the probability that float32 can hold."""
    monkeypatch.setattr(jax.random, "categorical", lambda key, logits: jnp.sum(logits > -jnp.inf))
    logits = jnp.array([0.0, -30.0, -31.0, -jnp.inf])
    assert draw(jax.random.key(0), logits, SampleConfig(temperature=1, top_p=1)) == 3
    assert draw(jax.random.key(0), logits, SampleConfig(temperature=1, top_p=0.99)) == 1


@pytest.mark.parametrize("name", ["temperature", "repetition_penalty", "top_p", "min_p"])
def test_draws_are_of_what_is_allowed_at_both_ends_of_the_range(name):
    limits = RANGES["SampleConfig"][name]
    logits = np.array([[-np.inf, 40.0, -40.0, 39.0, 0.0]], np.float32)
    for value in (max(limits.least, 1e-300), limits.most):
        config = SampleConfig(**{name: value})
        lower = penalized(jnp.asarray(logits), jnp.full(logits.shape, 100.0), config.repetition_penalty)[0]
        assert drawn(lower, config, 200) <= {1, 2, 3, 4}
        assert not jnp.isnan(lower).any()


def test_draws_follow_the_probabilities():
    keys = jax.random.split(jax.random.key(1), 20_000)
    tokens = jax.vmap(lambda key: draw(key, jnp.asarray(LOGITS), SampleConfig(temperature=1, top_p=1)))(keys)
    shares = np.exp(LOGITS)
    deviation = np.sqrt(shares * (1 - shares) / 20_000)
    assert (np.abs(np.bincount(tokens) / 20_000 - shares) < 5 * deviation).all()


def test_what_is_not_allowed_is_never_drawn():
    assert drawn(np.where(np.arange(5) == 0, -np.inf, LOGITS), SampleConfig(temperature=1)) == {1, 2, 3, 4}


def test_what_a_track_repeats_gets_unlikelier_and_is_forgotten_bar_by_bar():
    heard = jnp.zeros((1, vocab.SIZE))
    for token in ids("#P0 SEP Cmaj T0 P60 L4 V20 P64 T4 P60 Gmaj"):
        heard = hear(heard, jnp.array([token]))
    p60, p64, cmaj = ids("P60 P64 Cmaj")
    assert heard[0, p60] == 1 and heard[0, p64] == 0.5 and heard[0, cmaj] == 0
    lower = penalized(jnp.zeros((1, vocab.SIZE)), heard, 1.5)[0]
    np.testing.assert_allclose(
        [lower[p60], lower[p64], lower[cmaj]], [-np.log(1.5), -np.log(1.5) / 2, 0], rtol=budget(0)
    )
    more = penalized(jnp.zeros((1, vocab.SIZE)), heard, 1.5001)[0]
    assert not np.isclose(more[p60], -np.log(1.5), rtol=budget(0), atol=0)
    assert hear(heard, ids("#P1"))[0].max() == 0


def test_how_likely_a_bar_is_to_end_does_not_depend_on_what_may_end_it():
    random = jax.random.normal(jax.random.key(2), (1, vocab.SIZE))
    share = lambda logits, kinds: np.exp(logits)[0, np.isin(grammar.CLASS, kinds)].sum()
    unk = share(random, (grammar.UNK,))
    all_over = share(random, (grammar.CHORD, grammar.TRACK, grammar.EOS))
    notes = ids("T3 P60 L4")
    for chords, ends in (
        ("Cmaj", ""),
        ("Cmaj", "EOS"),
        ("Cmaj G7", "#P0 #P33"),
        ("", "#P0"),
        ("", "#P0 #P33 EOS"),
        ("Cmaj", "UNK"),
        ("", "UNK"),
        ("", ""),
    ):
        allowed = np.zeros((1, vocab.SIZE), bool)
        allowed[0, ids(f"T3 P60 L4 {chords} {ends}")] = True
        kept = np.where(allowed, bar_is_over(random, allowed), -np.inf)
        np.testing.assert_allclose(kept[0, notes], random[0, notes])
        on, end = share(kept, grammar.CHORD), share(kept, grammar.ENDS)
        if chords and ends:
            np.testing.assert_allclose(on, share(random, grammar.CHORD), rtol=SUMMED)
            one_fewer = share(random, grammar.CHORD) - np.exp(random[0, ids("Amin")[0]])
            assert abs(on - one_fewer) > 10 * SUMMED * on
        over = all_over + (unk if ends == "UNK" else 0)
        np.testing.assert_allclose(on + end, over if chords or ends else 0, rtol=SUMMED)
    kept = np.asarray(bar_is_over(random, np.isin(np.arange(vocab.SIZE), ids("Cmaj G7"))[None]))
    cmaj, g7 = ids("Cmaj G7")
    np.testing.assert_allclose(kept[0, cmaj] - kept[0, g7], random[0, cmaj] - random[0, g7], rtol=SUMMED)


def test_a_model_of_fewer_tokens_has_its_own_share_of_the_tables():
    size, token = vocab.V121_SIZE, ids("P60")
    logits, allowed = jnp.zeros((1, size)), np.isin(np.arange(size), ids("P60 Cmaj EOS"))[None]
    assert bar_is_over(logits, allowed).shape == (1, size)
    assert hear(jnp.zeros((1, size)), token)[0].tolist() == [float(number == token[0]) for number in range(size)]


@pytest.mark.parametrize("kind", [grammar.CHORD, grammar.TEMPO])
def test_chords_and_tempi_are_divided_among_themselves_and_as_likely_together_as_before(kind):
    random = np.random.default_rng(0)
    logits = random.normal(size=(1, vocab.SIZE)).astype(np.float32)
    allowed = random.random(logits.shape) < 0.5
    mine = allowed & (grammar.CLASS == kind)
    others = allowed & ~np.isin(grammar.CLASS, (grammar.CHORD, grammar.TEMPO))
    assert mine.sum() > 9
    after = np.asarray(surer(jnp.asarray(logits), jnp.asarray(allowed), np.float32(0.5)))
    np.testing.assert_array_equal(after[others], logits[others])
    mass = lambda values: np.logaddexp.reduce(values.astype(np.float64))
    assert mass(after[mine]) == pytest.approx(mass(logits[mine]), abs=1e-5)
    apart = after[mine] - after[mine].max()
    np.testing.assert_allclose(apart, 2 * (logits[mine] - logits[mine].max()), atol=1e-5)


def test_a_chord_temperature_of_one_changes_no_bit_and_where_no_chord_may_come_none_does():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(1, vocab.SIZE)).astype(np.float32))
    allowed = jnp.ones(logits.shape, bool)
    np.testing.assert_array_equal(surer(logits, allowed, np.float32(1)), logits)
    none = allowed & ~np.isin(grammar.CLASS, (grammar.CHORD, grammar.TEMPO))
    np.testing.assert_array_equal(surer(logits, none, np.float32(0.3)), logits)
