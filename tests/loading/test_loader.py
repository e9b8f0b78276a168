"""Rows, their order and the loader's position."""

import json
import pickle
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from configs import AugmentConfig, DataConfig, InputError, PrepareConfig
from jax_impl.batch import pack_examples, pack_row
from jax_impl.loading import loader, packing
from jax_impl.loading.packer import WHOLE, Packer
from jax_impl.loading.packing import EpochPlan
from jax_impl.loading.sizes import stored_sizes
from tests.rows import ids
from tests.scores import score_of
from tests.songs import all_songs
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import DatasetError, write_manifest
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import Track
from tokenizer.tokens.encode import encode, grid_song
from tokenizer.tokens.example import Example, whole
from tokenizer.tokens.fields import KIND_PITCH, compute

CONFIG = DataConfig(max_seq_len=2048, max_spans=256, batch_size=2, max_bars=2048, seed=0, num_workers=0)
TASKS = replace(CONFIG, reorder=0.5, fill=0.5)


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
    song = compute(ids("BOS #P0 SEP N T0 P60 EOS"))
    row = pack_row([song, song], 16)
    assert row.tokens.tolist() == [*song.ids, *song.ids, 0, 0]
    assert row.document.tolist() == [1] * 7 + [2] * 7 + [0] * 2
    assert row.position.tolist() == [*range(7), *range(7), 0, 0]
    assert row.targets.tolist() == [*song.ids[1:], 0, *song.ids[1:], 0, 0, 0]
    assert row.weights.tolist() == ([1] * 6 + [0]) * 2 + [0] * 2
    assert row.span.tolist() == [-1] * 3 + [0] * 3 + [-1] * 4 + [1] * 3 + [-1] * 3
    assert row.onset.tolist() == [-1] * 4 + [1, 1] + [-1] * 5 + [1, 1] + [-1] * 3


def test_a_target_that_does_not_count_has_no_weight():
    song = compute(ids("BOS #P0 SEP N T0 P60 EOS"))
    row = pack_examples([Example(song, song.ids != vocab.EOS), whole(song)], 16)
    assert row.targets.tolist() == [*song.ids[1:], 0, *song.ids[1:], 0, 0, 0]
    assert row.weights.tolist() == [1] * 5 + [0] * 2 + [1] * 6 + [0] * 3


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_end_of_a_song_is_a_target_where_no_window_cut_it(dataset, split):
    source = loader.BatchSource(dataset, replace(CONFIG, max_seq_len=700), split)
    ends = 0
    for index in range(len(source.plan.rows(0))):
        row = source._row(index)
        for number, piece in enumerate(source.plan.rows(0)[index]):
            here = (row.document == number + 1) & (row.targets == vocab.EOS)
            ends_song = piece["first_bar"] + piece["n_bars"] == dataset[split].bars[piece["song"]]
            assert row.weights[here].tolist() == [float(piece["n_bars"] == WHOLE or ends_song)]
            ends += int(ends_song)
    assert 0 < ends < len(source.plan.rows(0).pieces)


def test_songs_that_do_not_fit_a_row_are_refused():
    song = compute(np.array([vocab.BOS, vocab.EOS]))
    with pytest.raises(ValueError, match="4 tokens"):
        pack_row([song, song], 3)


# ---------------------------------------------------------------- packing


class Sizes:
    """Songs as the packer sees them: every bar of song i has tokens[i] tokens and spans[i] spans."""

    def __init__(self, bars: list[int], tokens: list[int], spans: list[int]):
        self.bars, self._tokens, self._spans = np.array(bars), tokens, spans
        self.tokens, self.spans = self.bars * np.array(tokens) + 8, self.bars * np.array(spans)
        self.tracks, self.weight = np.ones(len(bars), int), np.ones(len(bars))

    def __len__(self) -> int:
        return len(self.bars)

    def bar_sizes(self, songs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.repeat(np.array(sizes)[songs], self.bars[songs]) for sizes in (self._tokens, self._spans))


def packed(sizes: Sizes, config: DataConfig, first_share: float = 1) -> list[list[tuple]]:
    """Rows of all the songs in their order, as one section."""
    songs = np.arange(len(sizes))
    pieces, counts = Packer(
        stored_sizes(sizes, songs), config, songs[None], np.full((1, len(sizes)), first_share)
    ).pack()
    return [row.tolist() for row in np.split(pieces, np.cumsum(counts)[:-1])] if len(counts) else []


def test_rows_by_hand():
    """Songs of 58, 58 and 18 tokens in rows of 70: the last one fits what the others leave, 4 of its 10 bars each; two
    are left.
    """
    config = replace(CONFIG, max_seq_len=70, max_spans=70)
    assert packed(Sizes([5, 5, 10], [10, 10, 1], [1, 1, 1]), config) == [
        [(0, 0, WHOLE, 58, 5), (2, 0, 4, 12, 4)],
        [(1, 0, WHOLE, 58, 5), (2, 4, 4, 12, 4)],
        [(2, 8, 2, 10, 2)],
    ]


def test_windows_leave_no_scrap_at_the_end_and_skip_bars_that_fit_no_row():
    config = replace(CONFIG, max_seq_len=100, max_spans=100, max_bars=9)
    song = Sizes([10], [10], [1])
    assert packed(song, config) == [[(0, 0, 6, 68, 6)], [(0, 6, 4, 48, 4)]], "nine bars fit, but one bar would be left"
    assert packed(song, config, first_share=0.5)[0][0] == (0, 0, 4, 48, 4)
    assert packed(song, replace(config, max_spans=3)) == [
        [(0, bar, min(3, 10 - bar), 18 + 10 * min(2, 9 - bar), min(3, 10 - bar))] for bar in (0, 3, 6, 9)
    ]
    three = [[(0, 0, 3, 38, 3), (0, 3, 3, 38, 3)], [(0, 6, 3, 38, 3), (0, 9, 1, 18, 1)]]
    assert packed(song, replace(config, max_bars=3)) == three, "bars are a limit too"
    assert packed(Sizes([10], [93], [1]), config) == []
    sizes = Sizes([10], [10], [1])
    sizes.bar_sizes = lambda songs: (np.array([10, 10, 93, 93, 10, 10, 10, 10, 10, 10]), np.ones(10, int))
    sizes.tokens[0] += 166
    assert packed(sizes, config) == [[(0, 0, 2, 28, 2), (0, 4, 6, 68, 6)]]


def test_no_window_is_cut_within_a_measure():
    """Eight measures of two bars each, of which the first has all of its 20 tokens and 2 spans."""
    song = Sizes([16], [10], [1])
    song.bar_sizes = lambda songs: (np.tile([20, 0], 8), np.tile([2, 0], 8))
    config = replace(CONFIG, max_seq_len=78, max_spans=100)
    assert packed(song, config) == [[(0, bar, 6, 68, 6)] for bar in (0, 6)] + [[(0, 12, 4, 48, 4)]]
    wide = replace(config, max_seq_len=200)
    assert packed(song, wide) == [[(0, 0, WHOLE, 168, 16)]]
    assert packed(song, replace(wide, max_bars=9))[0] == [(0, 0, 8, 88, 8), (0, 8, 8, 88, 8)]
    assert packed(song, replace(wide, max_spans=5)) == [[(0, bar, 4, 48, 4)] for bar in (0, 4, 8, 12)]
    assert packed(song, replace(wide, max_bars=9), first_share=0.6)[0][0] == (0, 0, 4, 48, 4), "0.6 of 8 is 5"
    assert packed(song, replace(wide, max_bars=1)) == [], "no measure fits"


def test_windows_of_long_measures_begin_with_them_and_lose_no_note(tmp_path):
    """Songs of 5/4, 9/8 and 4/4 with a pickup, cut small: each row says what its bars say in the song."""
    rows, random = [], np.random.default_rng(0)
    for meters in (((5, 4),), ((1, 16), (9, 8)), ((12, 8), (7, 4)), ((4, 4),), ((3, 2), (3, 4))):
        tracks, signatures, tick = [], [], 0
        for meter in meters:
            signatures.append((tick, *meter))
            tick += 1920 * meter[0] // meter[1] * (1 if meter == (1, 16) else 16)
        for program in (0, 33):
            onsets = np.unique(random.integers(0, tick // 120, 150)) * 120
            tracks.append((program, [(int(onset), 120, int(random.integers(40, 80)), 80) for onset in onsets]))
        rows.append(to_row(encode(score_of(*tracks, signatures=signatures)), "song.mid"))
    splits = {"train": [write_batch(tmp_path, "train-00000.arrow", record_batch(rows))], "validation": []}
    write_manifest(tmp_path, splits, [], PrepareConfig(), "test")
    songs = Dataset(tmp_path)["train"]
    parts = {number: grid_song(songs[number])[0].bars.part for number in range(len(songs))}
    assert sum(int(part.any()) for part in parts.values()) == 4
    for length in (150, 400):
        plan, notes = EpochPlan(songs, replace(CONFIG, max_seq_len=length, max_spans=length)), 0
        for piece in plan.rows(0).pieces:
            song, first, bars = piece[["song", "first_bar", "n_bars"]].tolist()
            end = first + bars if bars != WHOLE else len(parts[song])
            assert parts[song][max(first, 0)] == 0 and (end == len(parts[song]) or parts[song][end] == 0)
        for index in range(len(plan.rows(0))):
            row, pieces = plan.row(0, index), plan.rows(0)[index]
            notes += int((row.kind == KIND_PITCH).sum())
            assert (row.document > 0).sum() <= pieces["tokens"].sum() <= length
            assert row.span.max() + 1 <= pieces["spans"].sum()
        assert notes == songs.column("notes").sum()


def test_a_gap_takes_the_song_that_uses_up_tokens_and_summaries_together():
    config = replace(CONFIG, max_seq_len=100, max_spans=100)
    sizes = stored_sizes(Sizes([10, 10, 10], [40, 20, 4], [4, 4, 4]), np.arange(3))
    packer = Packer(sizes, config, np.arange(3)[None], np.ones((1, 3)))
    for number in range(3):
        packer._cut(np.zeros(1, int), number)
    best = [int(packer.mismatch(np.zeros(1, int), np.array([density]))[0, :3].argmin()) for density in (99.0, 4.0, 0.5)]
    assert best == [0, 1, 2]


@pytest.mark.parametrize("length", [700, 8192])
def test_sections_packed_side_by_side_are_packed_as_each_alone(length, monkeypatch):
    random = np.random.default_rng(0)
    sizes = Sizes(*(random.integers(*limits, 100).tolist() for limits in ((1, 150), (8, 50), (1, 4))))
    rows = []
    for sections in (1, 3, 64):
        monkeypatch.setattr(packing, "SECTION_SONGS", 9)
        monkeypatch.setattr(packing, "SECTION_ROWS", 1)
        monkeypatch.setattr(packing, "SONGS_AT_ONCE", sections * 12)
        rows.append(EpochPlan(sizes, replace(CONFIG, max_seq_len=length)).rows(0))
    assert all(np.array_equal(rows[0].pieces, other.pieces) and len(rows[0]) == len(other) for other in rows)


def test_no_row_of_real_songs_overflows(dataset):
    config = replace(CONFIG, max_seq_len=700, max_spans=60)
    plan = EpochPlan(dataset["train"], config)
    for epoch in range(3):
        for index in range(len(plan.rows(epoch))):
            row = plan.row(epoch, index)
            assert row.span.max() < config.max_spans
            assert (row.document > 0).sum() <= config.max_seq_len


@pytest.mark.parametrize("length", [400, 700, 2048, 20_000])
def test_every_bar_of_every_song_is_in_every_epoch_once(dataset, length):
    songs = dataset["train"]
    plan = EpochPlan(songs, replace(CONFIG, max_seq_len=length, max_spans=length))
    for epoch in range(3):
        seen = [np.zeros(bars, int) for bars in songs.bars]
        for piece in plan.rows(epoch).pieces:
            whole = piece["n_bars"] == WHOLE
            seen[piece["song"]][
                slice(None) if whole else slice(piece["first_bar"], piece["first_bar"] + piece["n_bars"])
            ] += 1
        assert all((bars == 1).all() for bars in seen)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_rows_are_full(share):
    """97 % of 8192 tokens are real or room for tasks, on songs of the lengths and densities of real ones."""
    random = np.random.default_rng(0)
    bars = random.integers(40, 300, 1000)
    sizes = Sizes(
        bars.tolist(),
        (6000 * random.lognormal(0, 0.3, 1000) / bars).astype(int).tolist(),
        random.integers(2, 5, 1000).tolist(),
    )
    plan = EpochPlan(sizes, replace(CONFIG, max_seq_len=8192, max_spans=1536, reorder=share, fill=share))
    pieces = plan.rows(0).pieces
    assert pieces["tokens"].sum() / (8192 * len(plan.rows(0))) > 0.97
    assert (pieces["n_bars"] == WHOLE).sum() > 0.5 * len(sizes), "most songs stay whole"


def test_rows_of_real_songs_are_full(songs, tmp_path):
    """In the proportions of the collection: where most songs are longer than a row, fewer fill it. The composer's, of
    3000 tokens, leave more of a row.
    """
    real = all_songs()[::7]
    prepare(real or songs, tmp_path / "songs", PrepareConfig(workers=2))
    plan = EpochPlan(Dataset(tmp_path / "songs")["train"], replace(CONFIG, max_seq_len=8192, max_spans=1536))
    tokens = [int((plan.row(0, index).document > 0).sum()) for index in range(len(plan.rows(0)))]
    assert len(tokens) >= (20 if real else 5)
    assert np.mean(sorted(tokens)[1:]) > (0.97 if real else 0.94) * 8192, "all but the epoch's last row"


def test_epochs_differ_in_order_and_windows_but_not_in_themselves(dataset):
    config = replace(CONFIG, max_seq_len=700)
    one, other = EpochPlan(dataset["train"], config), EpochPlan(dataset["train"], config)
    assert np.array_equal(one.rows(0).pieces, other.rows(0).pieces)
    assert not np.array_equal(one.rows(0).pieces[:9], one.rows(1).pieces[:9])
    longest = int(dataset["train"].tokens.argmax())
    windows = {piece["first_bar"] for epoch in range(8) for piece in one.rows(epoch).pieces if piece["song"] == longest}
    assert len(windows) > 12
    assert not np.array_equal(
        one.rows(0).pieces[:9], EpochPlan(dataset["train"], replace(config, seed=1)).rows(0).pieces[:9]
    )


def test_a_row_too_short_for_any_bar_is_refused_before_work_starts(dataset):
    with pytest.raises(InputError, match="--max-seq-len 30"):
        loader.loader(dataset, replace(CONFIG, max_seq_len=30), "train")


def test_a_weight_says_how_often_an_epoch_has_a_song(dataset):
    sizes = Sizes([3] * 400, [10] * 400, [1] * 400)
    sizes.weight = np.repeat([2.0, 0.5], 200)
    plan = EpochPlan(sizes, replace(CONFIG, max_seq_len=2000))
    counts = np.bincount(plan.rows(0).pieces["song"], minlength=400)
    assert (counts[:200] == 2).all() and set(counts[200:]) == {0, 1} and 70 < counts[200:].sum() < 130
    assert not np.array_equal(counts, np.bincount(plan.rows(1).pieces["song"], minlength=400)), (
        "another half in the next epoch"
    )


# ---------------------------------------------------------------- augmentation


def test_augmentation_is_a_function_of_seed_epoch_and_song(dataset):
    config = replace(CONFIG, augment=AugmentConfig())
    one, other, plain = (EpochPlan(dataset["train"], each) for each in (config, config, CONFIG))
    assert same(one.row(1, 2), other.row(1, 2)) and not same(one.row(1, 2), plain.row(1, 2))
    assert np.array_equal(one.row(1, 2).document, plain.row(1, 2).document), "rows stay as they were planned"


def test_what_is_not_trained_on_is_shown_as_it_is_stored(dataset):
    config = replace(CONFIG, augment=AugmentConfig(), reorder=1.0, fill=1.0)
    assert same(*(loader.BatchSource(dataset, each, "validation").batch(0) for each in (config, CONFIG)))


def test_a_song_is_augmented_anew_each_epoch(dataset):
    plan = EpochPlan(dataset["train"], replace(CONFIG, max_seq_len=8192, max_spans=1536, augment=AugmentConfig()))
    heard = set()
    for epoch in range(4):
        for index in range(len(plan.rows(epoch))):
            songs, row = plan.rows(epoch)[index]["song"].tolist(), plan.row(epoch, index)
            if 0 in songs:
                heard.add(row.tokens[row.document == songs.index(0) + 1].tobytes())
    assert len(heard) > 2


# ---------------------------------------------------------------- the loader


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_goes_on_exactly_where_it_was(dataset, workers):
    config = replace(TASKS, num_workers=workers)
    with loader.loader(dataset, config, "train") as batches:
        assert batches.get_state() == {"batches": 0, "rows": []}
        first, states = [], []
        for _ in range(9):
            first.append(next(batches))
            states.append(batches.get_state())
    with loader.loader(dataset, TASKS, "train", states[3]) as batches:
        assert batches.get_state() == states[3] and states[3]["batches"] == 4
        for expected, state in zip(first[4:], states[4:], strict=True):
            assert same(next(batches), expected)
            assert batches.get_state() == state


@pytest.mark.parametrize("workers", [0, 1])
def test_going_on_in_a_late_epoch_plans_no_epoch_before_it(dataset, monkeypatch, workers):
    config = replace(CONFIG, num_workers=workers)
    with loader.loader(dataset, config, "train") as batches:
        while len(batches.get_state()["rows"]) < 4:
            next(batches)
        state, expected = batches.get_state(), [next(batches), next(batches)]
    assert state["rows"][0] == loader.rows_per_epoch(dataset, config, "train")
    loader.plan_of.cache_clear()
    planned, plan_rows = [], EpochPlan._rows
    monkeypatch.setattr(EpochPlan, "_rows", lambda plan, epoch: planned.append((plan, epoch)) or plan_rows(plan, epoch))
    with loader.loader(dataset, config, "train", state) as batches:
        assert [same(next(batches), batch) for batch in expected] == [True, True]
    plan = loader.plan_of(dataset["train"], config)  # the loader before it may still have been reading ahead in its own
    assert [epoch for of, epoch in planned if of is plan] == [4]


def test_windows_without_a_note_become_no_rows(tmp_path):
    """A stray note long after the song: the gap before it would be rows of nothing, and a loss of 0 / 0."""
    song = compose(0)
    drums = next(track for track in song.tracks if track.program == 128)
    stray = drums.notes[-1:].copy()
    stray["onset_ticks"] += 3000 * 1920
    late = Track(128, np.concatenate([drums.notes, stray]))
    tracks = tuple(late if track is drums else track for track in song.tracks)
    (tmp_path / "midi").mkdir()
    midi.write(replace(song, tracks=tracks), tmp_path / "midi" / "stray.mid")
    for seed in range(1, 4):
        midi.write(compose(seed), tmp_path / "midi" / f"{seed}.mid")
    prepare([tmp_path / "midi"], tmp_path / "songs", PrepareConfig(workers=1))
    songs = Dataset(tmp_path / "songs")["train"]
    assert songs.bars.max() > 3000
    for epoch in range(2):
        plan = EpochPlan(songs, replace(CONFIG, max_seq_len=512, max_spans=96))
        rows = [plan.row(epoch, index) for index in range(len(plan.rows(epoch)))]
        assert all(row.weights.any() and (row.kind == KIND_PITCH).any() for row in rows)
        notes = sum(int((row.kind == KIND_PITCH).sum()) for row in rows)
        assert notes == songs.column("notes").sum(), "none is lost"


def test_weights_that_leave_no_song_are_told_as_such(dataset, tmp_path):
    (tmp_path / "mixture.json").write_text(json.dumps({"datasets": {str(dataset.folder): 0.0001}}), encoding="utf-8")
    with pytest.raises(InputError, match=r"first epoch has none of the \d+ songs: .* has 0\.\d+ songs; give larger"):
        loader.loader(Dataset(tmp_path), CONFIG, "train")


def test_a_worker_need_not_plan_again(dataset, monkeypatch):
    source = loader.BatchSource(dataset, CONFIG, "train")
    expected = source.batch(0)
    sent = pickle.loads(pickle.dumps(source))
    monkeypatch.setattr(packing, "Packer", None)
    assert same(sent.batch(0), expected)


def test_training_goes_on_into_the_next_epoch_without_losing_a_row(dataset):
    config = replace(CONFIG, batch_size=5)
    plan = EpochPlan(dataset["train"], config)
    rows = [plan.row(epoch, index) for epoch in range(3) for index in range(len(plan.rows(epoch)))]
    with loader.loader(dataset, config, "train") as batches:
        for start in range(0, len(rows) - 5, 5):
            batch = next(batches)
            for offset in range(5):
                assert same([field[offset] for field in batch], rows[start + offset])


@pytest.mark.parametrize("parts", [2, 3])
def test_the_parts_of_several_processes_make_the_batches_of_one(dataset, parts):
    config = replace(TASKS, batch_size=6)
    batches_in_two_epochs = 2 * loader.rows_per_epoch(dataset, config, "train") // 6 + 1
    with ExitStack() as opened:
        whole = opened.enter_context(loader.loader(dataset, config, "train"))
        loaders = [
            opened.enter_context(loader.loader(dataset, replace(config, part=i, parts=parts), "train"))
            for i in range(parts)
        ]
        for _ in range(batches_in_two_epochs):
            joined = [np.concatenate(fields) for fields in zip(*map(next, loaders), strict=True)]
            assert same(joined, next(whole))
        assert all(loader.get_state() == whole.get_state() for loader in loaders)


def test_validation_is_one_pass_filled_up_with_empty_rows(dataset):
    config = replace(CONFIG, batch_size=4)
    rows = loader.rows_per_epoch(dataset, config, "validation")
    with loader.loader(dataset, config, "validation") as batches:
        all_batches = list(batches)
    assert len(all_batches) == -(-rows // 4)
    used = np.concatenate([(batch.document > 0).any(axis=1) for batch in all_batches])
    assert used.tolist() == [True] * rows + [False] * (4 * len(all_batches) - rows)


def test_a_mixture_is_trained_on_like_a_dataset(dataset, tmp_path):
    mixture = {"datasets": {str(dataset.folder): 2, str(dataset.folder / ".." / dataset.folder.name): 0.5}}
    (tmp_path / "mixture.json").write_text(json.dumps(mixture), encoding="utf-8")
    mixed = Dataset(tmp_path)
    assert len(mixed["train"]) == 2 * len(dataset["train"]) and set(mixed["train"].weight) == {2, 0.5}
    assert mixed.fingerprint != dataset.fingerprint
    assert mixed["train"][len(dataset["train"])] == dataset["train"][0]
    with loader.loader(mixed, CONFIG, "train") as batches:
        assert (next(batches).document > 0).any()
    (tmp_path / "mixture.json").write_text('{"datasets": {"nowhere": 1}}', encoding="utf-8")
    with pytest.raises(DatasetError, match="nowhere"):
        Dataset(tmp_path)
    (tmp_path / "mixture.json").write_text('{"datasets": {"nowhere": 0}}', encoding="utf-8")
    with pytest.raises(DatasetError, match="weights above 0"):
        Dataset(tmp_path)
