"""Rows, their order and the loader's position."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from configs import DataConfig, InputError, PrepareConfig
from jax_impl import data
from jax_impl.batch import pack_row
from jax_impl.packing import WHOLE, Piece, Plan, cut, first_fit
from tokenizer import midi
from tokenizer import vocabulary as vocab
from tokenizer.composer import compose
from tokenizer.dataset import Dataset
from tokenizer.fields import compute
from tokenizer.prepare import prepare

CONFIG = DataConfig(max_seq_len=2048, max_spans=256, batch_size=2, max_bars=2048, seed=0, num_workers=0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("midi")
    for seed in range(12):
        midi.write(compose(seed), folder / f"{seed}.mid")
    out = tmp_path_factory.mktemp("data") / "songs"
    prepare([folder], out, PrepareConfig(workers=1, validation_fraction=0.2))
    return Dataset(out)


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------- a row


def test_a_row_is_as_drawn():
    song = compute(np.array([vocab.BOS, vocab.TRACK, vocab.SEP, vocab.CHORD, vocab.POSITION, vocab.PITCH, vocab.EOS]))
    row = pack_row([song, song], 16)
    assert row.tokens.tolist() == [*song.ids, *song.ids, 0, 0]
    assert row.document.tolist() == [1] * 7 + [2] * 7 + [0] * 2
    assert row.position.tolist() == [*range(7), *range(7), 0, 0]
    assert row.targets.tolist() == [*song.ids[1:], 0, *song.ids[1:], 0, 0, 0]
    assert row.weights.tolist() == ([1] * 6 + [0]) * 2 + [0] * 2
    assert row.span.tolist() == [-1] * 3 + [0] * 3 + [-1] * 4 + [1] * 3 + [-1] * 3
    assert row.onset.tolist() == [-1] * 4 + [1, 1] + [-1] * 5 + [1, 1] + [-1] * 3


def test_songs_that_do_not_fit_a_row_are_refused():
    song = compute(np.array([vocab.BOS, vocab.EOS]))
    with pytest.raises(ValueError, match="4 tokens"):
        pack_row([song, song], 3)


# ---------------------------------------------------------------- packing


def test_first_fit_by_hand():
    pieces = [
        Piece(number, 0, WHOLE, tokens, spans) for number, (tokens, spans) in enumerate([(6, 1), (5, 1), (4, 1), (3, 1), (2, 9), (2, 1)])
    ]
    rows = [[piece.song for piece in row] for row in first_fit(pieces, max_tokens=10, max_spans=10)]
    assert rows == [[0, 2], [1, 3, 5], [4]], "the fifth has too many spans for the second row, the sixth not"


def test_windows_by_hand():
    config = replace(CONFIG, max_seq_len=20, max_spans=4, max_bars=3)
    sizes, spans = np.array([5, 5, 9, 2, 2, 2, 2, 99, 5]), np.array([1, 1, 1, 1, 1, 1, 3, 1, 1])
    assert cut(sizes, spans, 4, config, 0) == [(0, 2), (2, 5), (5, 7), (8, 9)], "tokens, bars, spans; bar 7 fits no row"
    assert cut(sizes, spans, 4, config, 1)[:2] == [(0, 1), (1, 4)]


def test_no_row_of_real_songs_overflows(dataset):
    config = replace(CONFIG, max_seq_len=700, max_spans=60)
    plan = Plan(dataset["train"], config)
    for epoch in range(3):
        for index in range(len(plan.rows(epoch))):
            row = plan.row(epoch, index)
            assert row.span.max() < config.max_spans
            assert (row.document > 0).sum() <= config.max_seq_len


def test_every_song_is_in_every_epoch_once(dataset):
    plan = Plan(dataset["train"], CONFIG)
    for epoch in range(3):
        assert sorted(piece.song for row in plan.rows(epoch) for piece in row) == list(range(len(dataset["train"])))


def test_epochs_differ_in_order_and_windows_but_not_in_themselves(dataset):
    one, other = Plan(dataset["train"], CONFIG), Plan(dataset["train"], CONFIG)
    assert one.rows(0) == other.rows(0)
    assert one.rows(0) != one.rows(1)
    windows = {
        piece.first_bar
        for epoch in range(8)
        for row in one.rows(epoch)
        for piece in row
        if piece.song == int(dataset["train"].tokens.argmax())
    }
    assert len(windows) > 3
    assert one.rows(0) != Plan(dataset["train"], replace(CONFIG, seed=1)).rows(0)


def test_every_bar_of_a_long_song_has_nearly_the_same_chance(dataset):
    songs = dataset["train"]
    longest = int(songs.tokens.argmax())
    plan = Plan(songs, replace(CONFIG, max_seq_len=800))
    seen = np.zeros(songs.bars[longest])
    for epoch in range(300):
        piece = plan._piece(longest, epoch)
        seen[piece.first_bar : piece.first_bar + piece.n_bars] += 1
    assert seen.min() > 0.6 * seen.mean() and seen.max() < 1.4 * seen.mean()


def test_a_row_too_short_for_any_bar_is_refused_before_work_starts(dataset):
    with pytest.raises(InputError, match="--max-seq-len 30"):
        data.loader(dataset, replace(CONFIG, max_seq_len=30), "train")


# ---------------------------------------------------------------- the loader


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_goes_on_exactly_where_it_was(dataset, workers):
    config = replace(CONFIG, num_workers=workers)
    with data.loader(dataset, config, "train") as batches:
        first = [next(batches) for _ in range(9)]
    with data.loader(dataset, replace(CONFIG, num_workers=0), "train") as batches:
        batches.set_state({"batches": 4})
        assert batches.get_state() == {"batches": 4}
        for expected in first[4:]:
            assert same(next(batches), expected)
        assert batches.get_state() == {"batches": 9}


def test_training_goes_on_into_the_next_epoch_without_losing_a_row(dataset):
    config = replace(CONFIG, batch_size=5)
    plan = Plan(dataset["train"], config)
    rows = [plan.row(epoch, index) for epoch in range(3) for index in range(len(plan.rows(epoch)))]
    with data.loader(dataset, config, "train") as batches:
        for start in range(0, len(rows) - 5, 5):
            batch = next(batches)
            for offset in range(5):
                assert same([field[offset] for field in batch], rows[start + offset])


@pytest.mark.parametrize("parts", [2, 3])
def test_the_parts_of_several_processes_make_the_batches_of_one(dataset, parts):
    config = replace(CONFIG, batch_size=6)
    batches_in_two_epochs = 2 * data.rows_per_epoch(dataset, config, "train") // 6 + 1
    with ExitStack() as opened:
        whole = opened.enter_context(data.loader(dataset, config, "train"))
        loaders = [opened.enter_context(data.loader(dataset, replace(config, part=i, parts=parts), "train")) for i in range(parts)]
        for _ in range(batches_in_two_epochs):
            joined = [np.concatenate(fields) for fields in zip(*map(next, loaders), strict=True)]
            assert same(joined, next(whole))
        assert all(loader.get_state() == whole.get_state() for loader in loaders)


def test_validation_is_one_pass_filled_up_with_empty_rows(dataset):
    config = replace(CONFIG, batch_size=4)
    rows = data.rows_per_epoch(dataset, config, "validation")
    with data.loader(dataset, config, "validation") as batches:
        all_batches = list(batches)
    assert len(all_batches) == -(-rows // 4)
    used = np.concatenate([(batch.document > 0).any(axis=1) for batch in all_batches])
    assert used.tolist() == [True] * rows + [False] * (4 * len(all_batches) - rows)
