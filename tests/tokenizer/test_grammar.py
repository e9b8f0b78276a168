"""The grammar accepts what the encoder writes,
and whatever it accepts is what the encoder writes of the song that it decodes to.
"""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from tests.rows import hidden_in, hidden_song, ids
from tests.scores import scores
from tokenizer import vocabulary as vocab
from tokenizer.grid.quantize import quantize
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.tokens import fields, grammar
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode, encode_song, grid_song

HEAD = "BOS BPM_19 TS_4/4"
SONG = f"{HEAD} #P33 SEP Cmaj T0 P40 L4 V20 T8 P43 Gmaj TS_3/4 T0 P43 #P0 SEP Cmaj T0 P60 L4 V20 P64 Gmaj T2 P60 L2 EOS"


def encoded_again(song: np.ndarray) -> np.ndarray:
    """Tokens of the song that these tokens mean, with the chords that they say and the bars that they hide."""
    tokens = fields.compute(song)
    _, chords = grid_song(tokens)
    grid = quantize(decode(song))
    return encode_song(grid, chords[: len(grid.bars)], hidden_in(tokens)).ids


def test_what_the_encoder_writes_of_real_songs_is_grammatical(songs):
    picked = [encode(midi.read(path)).ids[:1500] for path in songs[::4]]
    assert grammar.errors(picked) == [None] * len(picked)
    whole = [encode(compose(seed)).ids for seed in range(3)]
    assert grammar.errors(whole) == [None] * 3


def test_songs_with_hidden_bars_are_grammatical():
    songs = [hidden_song(seed)[1].ids for seed in range(12)]
    assert sum((song == vocab.UNK).sum() > 1 for song in songs) > 5
    assert grammar.errors(songs) == [None] * len(songs)


@settings(max_examples=25)
@given(scores())
def test_what_the_encoder_writes_of_odd_scores_is_grammatical(score):
    assert grammar.errors([encode(score).ids]) == [None]


@pytest.mark.parametrize("meter", ["5/4", "6/4", "7/4", "9/8", "12/8", "3/2", "4/2"])
def test_a_long_measure_may_end_in_either_part_and_another_meter_follow_a_whole_one(meter):
    bar = "Cmaj T0 P60 L4 V20"
    for song in (
        bar,
        f"{bar} Cmaj T0 P60",
        f"{bar} Cmaj Cmaj TS_1/16 T1/2 P60",
        f"{bar} Cmaj BPM_-8 Cmaj Cmaj Cmaj TS_4/4 T0 P60",
    ):
        tokens = ids(f"BOS BPM_39 TS_{meter} #P0 SEP {song} EOS")
        assert grammar.errors([tokens]) == [None]
        assert np.array_equal(encoded_again(tokens), tokens)


def test_the_place_of_what_is_wrong_counts_measures():
    with pytest.raises(grammar.UngrammaticalTokens, match="bar 2 of track 1: positions rise"):
        grammar.check(ids("BOS BPM_19 TS_5/4 #P0 SEP Cmaj T0 P60 L4 V20 Cmaj Cmaj Cmaj T4 P60 T0"))


def random_walks(rows: int, length: int) -> list[np.ndarray]:
    """Songs of random allowed tokens: kinds of tokens equally often, those that ended."""
    random = np.random.default_rng(0)
    state, columns, done = grammar.begin(rows, 64), [], np.zeros(rows, bool)
    for _ in range(length):
        allowed = grammar.allowed(state)
        assert allowed.any(axis=1)[~done].all(), "nothing may come next"
        liked = random.random((rows, vocab.N_CLASSES))[:, vocab.CLASS] * random.random(allowed.shape)
        liked *= np.where(vocab.VALUE < 3, 1, 0.6)  # so that tempos, pitches, ... return
        token = np.where(done, vocab.PAD, (allowed * liked).argmax(axis=1)).astype(np.int32)
        columns.append(token)
        done |= token == vocab.EOS
        state = grammar.push(state, token)
    table = np.array(columns).T
    return [row[: row.tolist().index(vocab.EOS) + 1] for row in table[done]]


def test_whatever_is_grammatical_decodes_to_a_song_that_is_written_so():
    walks = random_walks(200, 300)
    assert len(walks) > 150 and max(map(len, walks)) > 100
    assert sum(int((song == vocab.SEP).sum()) for song in walks) > 300  # tracks
    assert sum(int((song == vocab.UNK).sum()) for song in walks) > 100  # hidden bars of a track
    for song in walks:
        assert np.array_equal(encoded_again(song), song)


@pytest.mark.parametrize("rule", [name for name in grammar.clauses(grammar.begin(1, 1)) if "kind of token" not in name])
def test_a_walk_without_one_of_the_rules_leaves_the_grammar(rule, monkeypatch):
    """No rule is there for nothing: songs that may break it do, and are then not written so (or have no end)."""
    whole = grammar.clauses
    with monkeypatch.context() as patch:
        patch.setattr(
            grammar,
            "clauses",
            lambda *of: {name: value for name, value in whole(*of).items() if name != rule},
        )
        try:
            walks = random_walks(150, 120)
        except AssertionError:
            return  # a dead end
    wrong = [error for error in grammar.errors(walks) if error]
    assert wrong and all(rule in error for error in wrong)
    assert any(not written_so(song) for song in walks)


def written_so(song: np.ndarray) -> bool:
    try:
        return np.array_equal(encoded_again(song), song)
    except (IndexError, ValueError):  # grid_song and encode_song are for grammatical songs
        return False


@pytest.mark.parametrize(
    ("tokens", "rule"),
    [
        ("BPM_19", "this kind of token cannot stand here"),
        (f"{HEAD} #P0 SEP Cmaj T0 P60 L4 V20 T0", "positions rise"),
        (f"{HEAD} #P0 SEP Cmaj T0 P60 L4 V20 P60", "pitches of a position rise"),
        (f"{HEAD} #P0 SEP Cmaj T0 P60 V4", "first note of a track says its duration"),
        (f"{HEAD} #P0 SEP Cmaj T0 P60 L4 T4", "first note of a track says its velocity"),
        (f"{HEAD} #P0 SEP Cmaj T0 P60 L8 V20 T4 P60", "still sounds"),
        (f"{HEAD} #P0 SEP Cmaj T0 P60 L8 V20 P64 L8", "duration is written only where it changes"),
        ("BOS BPM_19 TS_3/4 #P0 SEP Cmaj T12", "no such position"),
        ("BOS BPM_19 TS_3/4 #P0 SEP Cmaj T11+1/2 P60 L4 V20 Cmaj T12", "no such position"),
        ("BOS BPM_19 TS_5/16 #P0 SEP Cmaj T4+2/3 P60 L4 V20 Cmaj T5", "no such position"),
        ("BOS BPM_19 TS_5/4 #P0 SEP Cmaj T11+1/3 P60 L4 V20 Cmaj T7+1/2 P60 Cmaj T12", "no such position"),
        ("BOS BPM_19 TS_5/4 #P0 SEP Cmaj T0 P60 L4 V20 Cmaj T8", "no such position"),
        ("BOS BPM_19 TS_5/4 #P0 SEP Cmaj T0 P60 L4 V20 Cmaj TS_3/4", "a meter changes where a measure begins"),
        ("BOS BPM_19 TS_5/4 #P0 SEP Cmaj T0 P60 L4 V20 Cmaj Cmaj TS_5/4", "a meter is written only where it changes"),
        (f"{HEAD} #P0 SEP Cmaj T1 P60 L4 V20 T2/3", "positions rise"),
        (f"{HEAD} #P0 SEP Cmaj T15 P60 L80 V20 Cmaj Cmaj Cmaj Cmaj Cmaj T14+2/3 P60", "still sounds"),
        (f"{HEAD} #P0 SEP Cmaj TS_3/4", "after its first bar"),
        (f"{HEAD} #P33 SEP Cmaj T0 P40 L4 V20 #P0 SEP Gmaj", "one chord"),
        (f"{HEAD} #P33 SEP Cmaj T0 P40 L4 V20 #P0 SEP Cmaj T0 P60 L4 V20 Cmaj", "longer than the first"),
        (f"{HEAD} #P0 SEP Cmaj T0 P40 L4 V20 #P33", "HID order"),
        (f"{HEAD} #P0 SEP Cmaj EOS", "a track has a note"),
        (f"{HEAD} #P33 SEP Cmaj T0 P40 L4 V20 Gmaj EOS", "a song ends with the bar of its last note"),
        (f"{HEAD} #P33 SEP Cmaj MASK T0", "this kind of token cannot stand here"),
        (f"{HEAD} #P33 SEP Cmaj MASK Cmaj T0 P40 L4 V20 EOS", "hidden bars are said at the end"),
        (f"{HEAD} #P33 SEP Cmaj MASK Cmaj T0 P40 L4 V20 #P0 SEP Cmaj MASK Cmaj MASK", "hidden bars are one range"),
        (f"{HEAD} #P33 SEP Cmaj MASK Cmaj MASK #P0 SEP Cmaj MASK #P1", "hidden bars are one range"),
        (f"{HEAD} #P33 SEP Cmaj MASK UNK #P0", "said of the next track"),
        (f"{HEAD} #P33 SEP Cmaj MASK UNK #P33 SEP Cmaj T0 P40 L4 V20 UNK", "said at the end"),
        (
            f"{HEAD} #P33 SEP Cmaj MASK Gmaj MASK Gmaj T0 P40 L4 V20 UNK #P33 SEP Cmaj T0 P40 L4 V20 EOS",
            "said at the end",
        ),
        (f"{HEAD} #P33 SEP Cmaj MASK Gmaj T0 P40 L4 V20 UNK #P33 SEP Cmaj T0 P40 L4 V20 Gmaj", "said at the end"),
        (f"{HEAD} #P33 SEP Cmaj T0 P40 L4 V20 Gmaj UNK", "a song ends with the bar of its last note"),
        (f"{HEAD} #P33 SEP Cmaj MASK Gmaj T0 P40 L4 V20 UNK #P33 SEP Cmaj EOS", "a track has a note"),
        (f"{HEAD} #P33 SEP Cmaj T0 P40 L4 V20 Cmaj MASK Cmaj T0 P40 V20", "says its duration"),
        (f"{HEAD} #P33 SEP Cmaj T0 P40 L32 V20 Cmaj MASK UNK #P33 SEP Cmaj T0 P40", "still sounds"),
        (
            f"{HEAD} #P33 SEP Cmaj MASK Cmaj T0 P40 L4 V20 UNK #P33 SEP Cmaj T15 P40 L2",
            "before the next one of its pitch",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tokens, rule):
    assert grammar.errors([ids(SONG)]) == [None]
    with pytest.raises(grammar.UngrammaticalTokens) as error:
        grammar.check(ids(tokens))
    names = tokens.split()
    assert str(error.value).startswith(f"token {len(names) - 1}, {names[-1]}") and rule in str(error.value)


def test_numpy_and_jax_agree_on_any_tokens():
    random = np.random.default_rng(1)
    tokens = random.integers(0, vocab.SIZE, (12, 50)).astype(np.int32)
    tokens[:, 5:17] = ids(SONG)[3:15]  # so that bars and notes occur
    ours, theirs = grammar.begin(12, 8), grammar.begin(12, 8, jnp)
    for token in tokens.T:
        assert np.array_equal(grammar.allowed(ours), grammar.allowed(theirs, jnp))
        ours, theirs = grammar.push(ours, token), grammar.push(theirs, jnp.asarray(token), jnp)
        for name in grammar.State._fields:
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
