"""Songs in another order and with bars hidden: the same music, drawn by seed, epoch and song, in the room there is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs import DataConfig, PrepareConfig
from jax_impl.loading import packing, tasks
from jax_impl.loading.packer import WHOLE
from jax_impl.loading.packing import EpochPlan
from jax_impl.loading.sizes import Sizes, with_room
from jax_impl.loading.tasks import SHARE_UNIT, Room, Tasks
from tests.rows import long_measures
from tests.scores import score_of
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import write_manifest
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, Songs, record_batch, to_row
from tokenizer.music.composer import compose
from tokenizer.tokens.crop import Window, window
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import Hidden, encode, encode_song
from tokenizer.tokens.example import example
from tokenizer.tokens.fields import KIND_PITCH
from tokenizer.vocabulary import CLASS, VALUE, Class

CONFIG = DataConfig(512, 96, batch_size=2, max_bars=2048, seed=0, num_workers=0, reorder=1.0, fill=1.0)


def written(rows: list, folder: Path) -> Songs:
    splits = {"train": [write_batch(folder, "train-00000.arrow", record_batch(rows))], "validation": []}
    write_manifest(folder, splits, [], PrepareConfig(), "test")
    return Dataset(folder)["train"]


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Songs:
    """Three composed ones, and one of measures of two bars."""
    folder = tmp_path_factory.mktemp("songs")
    rows = [to_row(tokens, "song.mid") for tokens in (*(encode(compose(seed)) for seed in range(3)), long_measures())]
    return written(rows, folder)


def rows_of(plan: EpochPlan, epoch: int) -> list:
    return [plan.row(epoch, index) for index in range(len(plan.rows(epoch)))]


def music(ids: np.ndarray) -> tuple:
    """What a song of any order says: its maps, and its tracks in an order of their own."""
    score = decode(ids)
    tracks = sorted((track.program, track.notes.tobytes()) for track in score.tracks)
    return score.tempos, score.signatures, tracks


def spans(tokens) -> int:
    return int(tokens.span.max()) + 1


# ---------------------------------------------------------------- which songs


def test_the_tasks_of_a_song_are_a_function_of_seed_epoch_and_song():
    config = replace(CONFIG, reorder=0.3, fill=0.7)
    drawn = tasks.tasks_of_epoch(config, 3, 2000)
    for song in (0, 1, 7, 1999):
        assert tasks.tasks_of_song(config, 3, song) == (drawn.is_reordered[song], drawn.hidden[song])
    fewer = tasks.tasks_of_epoch(config, 3, 100)
    assert all(np.array_equal(of_fewer, of_all[:100]) for of_fewer, of_all in zip(fewer, drawn, strict=True))
    for other in (tasks.tasks_of_epoch(config, 4, 2000), tasks.tasks_of_epoch(replace(config, seed=1), 3, 2000)):
        assert 0.3 < (other.is_reordered == drawn.is_reordered).mean() < 0.9
    assert abs(drawn.is_reordered.mean() - 0.3) < 0.05 and abs((drawn.hidden > 0).mean() - 0.7) < 0.05
    shares = drawn.hidden[drawn.hidden > 0] / SHARE_UNIT
    assert shares.min() < 0.03 and 0.08 < np.median(shares) < 0.12 and 0.45 < shares.max() <= 0.5


def test_rows_are_a_function_of_seed_epoch_and_number(songs):
    there, back = EpochPlan(songs, CONFIG), EpochPlan(songs, CONFIG)
    expected = rows_of(there, 1)
    for index in reversed(range(len(expected))):
        assert all(map(np.array_equal, back.row(1, index), expected[index]))
    of_song = lambda epoch: {row.tokens.tobytes() for row in rows_of(there, epoch)}
    assert not of_song(0) & of_song(1)


def test_without_tasks_the_plan_is_that_of_the_stored_songs(songs, monkeypatch):
    monkeypatch.setattr(packing, "with_room", None)
    monkeypatch.setattr(packing, "shown", None)
    rows_of(EpochPlan(songs, replace(CONFIG, reorder=0.0, fill=0.0)), 0)


# ---------------------------------------------------------------- rows of them


@pytest.mark.parametrize(
    ("length", "reorder", "fill"), [(256, 1.0, 1.0), (512, 1.0, 0.0), (512, 0.0, 1.0), (2048, 1.0, 1.0)]
)
def test_rows_never_overflow_and_say_the_music_of_their_windows(songs, length, reorder, fill):
    config = replace(CONFIG, max_seq_len=length, max_spans=length * 3 // 16, reorder=reorder, fill=fill)
    plan, masks, firsts, planned, real = EpochPlan(songs, config), 0, 0, 0, 0
    for epoch in range(2):
        notes = 0
        for index, row in enumerate(rows_of(plan, epoch)):
            pieces = plan.rows(epoch)[index]
            assert pieces["tokens"].sum() <= length and pieces["spans"].sum() <= config.max_spans
            notes += int((row.kind == KIND_PITCH).sum())
            for number, (song, first_bar, n_bars, tokens, most_spans) in enumerate(pieces.tolist(), start=1):
                here = row.document == number
                assert here.sum() <= tokens and len(set(row.span[here].tolist()) - {-1}) <= most_spans
                part = window(songs[song], first_bar, int(songs.bars[song]) if n_bars == WHOLE else n_bars)
                ids = row.tokens[here]
                assert music(ids) == music(encode_song(part.song, part.chords))
                masks += int((ids == vocab.MASK).any())
                firsts += VALUE[ids[CLASS[ids] == Class.TRACK][0]] != part.song.tracks[0].program
                planned, real = planned + tokens, real + int(here.sum())
        assert notes == songs.column("notes").sum(), "none is lost, none is there twice"
    windows = sum(len(plan.rows(epoch).pieces) for epoch in range(2))
    assert (masks > (0.5 if length == 256 else 0.9) * windows) == (fill > 0) and (masks == 0) == (fill == 0)
    assert (firsts > 0.4 * windows) == (reorder > 0)
    assert real > (0.93 if length == 256 else 0.96) * planned, "room is used"


def test_a_hidden_bar_is_no_target_where_it_stood_and_one_where_it_is_said(songs):
    for row in rows_of(EpochPlan(songs, CONFIG), 0):
        assert not row.weights[row.targets == vocab.MASK].any()
        assert row.weights[:-1][row.kind[1:] >= 0].all()


def test_windows_without_a_note_become_no_rows_where_bars_may_be_hidden(tmp_path):
    """A stray note of each track long after the song: the gap is chords, and room."""
    notes = [(at * 480, 120, 36, 80) for at in (*range(16), 4 * 200)]
    row = to_row(encode(score_of(*((program, notes) for program in range(0, 48, 8)))), "stray.mid")
    plan = EpochPlan(written([row] * 40, tmp_path), CONFIG)
    heard = 0
    for index, made in enumerate(rows_of(plan, 0)):
        for number in range(1, len(plan.rows(0)[index]) + 1):
            heard_here = int((made.kind[made.document == number] == KIND_PITCH).sum())
            assert heard_here
            heard += heard_here
    assert heard == 40 * 6 * 17


# ---------------------------------------------------------------- room


def test_room_is_spread_over_the_bars_of_a_song():
    """A song of eight bars, the last two of them one measure, and one of two; half of the first one's spans may be
    hidden, and the second one is reordered.
    """
    bar_spans, bar_tokens = np.array([1, 1, 2, 2, 3, 1, 4, 0, 2, 2]), np.array([9, 9, 9, 9, 9, 9, 9, 0, 9, 9])
    sizes = Sizes(*map(np.array, ([75, 26], [14, 4], [8, 2], [12, 8])), bar_tokens, bar_spans)
    wide = replace(CONFIG, max_seq_len=100, max_spans=50)
    roomy = with_room(sizes, Tasks(np.array([False, True]), np.array([SHARE_UNIT // 2, 0])), wide)
    hidden = np.array([0, 1, 1, 1, 1, 1, 2, 0])
    assert (roomy.bar_spans - bar_spans).tolist() == [*hidden, 0, 0]
    assert (roomy.bar_tokens - bar_tokens).tolist() == [*(2 * hidden), 0, 0]
    assert (roomy.tokens - sizes.tokens).tolist() == [2 * 7 + 7, 0] and (roomy.spans - sizes.spans).tolist() == [7, 0]
    assert (roomy.overhead - sizes.overhead).tolist() == [7, 0]
    roomy = with_room(sizes, Tasks(np.array([True, False]), np.array([0, 0])), wide)
    assert (roomy.bar_spans - bar_spans).tolist() == (roomy.bar_tokens - bar_tokens).tolist() == [0] * 6 + [1] + [0] * 3


@pytest.mark.parametrize(("tokens", "spans"), [(31, 50), (100, 5)])
def test_a_song_of_which_a_measure_fits_a_row_only_as_it_is_stored_stays_so(tokens, spans):
    bar_spans, bar_tokens = np.array([1, 5, 1, 1]), np.array([9, 9, 9, 9])
    sizes = Sizes(*map(np.array, ([30, 30], [6, 2], [2, 2], [12, 12])), bar_tokens, bar_spans)
    roomy = with_room(
        sizes, Tasks(np.array([False] * 2), np.array([512, 512])), replace(CONFIG, max_seq_len=tokens, max_spans=spans)
    )
    assert roomy.tokens[0] == 30 and roomy.bar_tokens[:2].tolist() == [9, 9] and roomy.overhead[0] == 12
    assert roomy.tokens[1] > 30


@pytest.fixture(scope="module")
def windows() -> list[Window]:
    return [window(encode(compose(5)), first, bars) for first, bars in ((0, 4), (3, 9), (0, 40))] + [
        window(long_measures(), 2, 6)
    ]


def test_another_order_takes_what_it_is_said_to_take(windows):
    random = np.random.default_rng(0)
    for part in windows * 4:
        plain, room = example(part).tokens, Room(9, 7)
        other, left = tasks.reordered(part, room, False, random)
        shown = example(other).tokens
        assert room.tokens - left.tokens == len(shown) - len(plain) and min(left) >= 0
        assert room.spans - left.spans == spans(shown) - spans(plain)


def test_every_track_comes_first_where_there_is_room_and_none_that_ends_early_where_there_is_not():
    band = (
        (program, [(1920 * bar, 480, 60, 80) for bar in (0, last)]) for program, last in ((128, 9), (33, 9), (0, 2))
    )
    part = window(encode(score_of(*band)), 0, 10)
    random = np.random.default_rng(0)
    firsts = lambda room, keeps: {
        tasks.reordered(part, room, keeps, random)[0].song.tracks[0].program for _ in range(40)
    }
    assert firsts(Room(7, 7), False) == {128, 33, 0}
    assert firsts(Room(6, 9), False) == firsts(Room(9, 6), False) == firsts(Room(99, 99), True) == {128, 33}


def test_hidden_bars_fit_their_room_and_are_whole_measures_with_a_note_of_each_track(windows):
    random, seen = np.random.default_rng(0), []
    for part in windows:
        song, plain = part.song, example(part).tokens
        of_one_track = Room(7 + 2 * len(song.bars), len(song.bars))
        for room in (Room(8, 9), Room(9, 1), Room(23, 40), Room(60, 20), Room(400, 200), of_one_track):
            for _ in range(5):
                hidden = tasks.hidden_bars(song, room, random)
                if hidden is None:
                    assert room.tokens < 25
                    continue
                shown = example(part, hidden).tokens
                assert len(shown) - len(plain) <= room.tokens and spans(shown) - spans(plain) <= room.spans
                assert song.bars.part[hidden.first] == 0
                assert hidden.stop == len(song.bars) or song.bars.part[hidden.stop] == 0
                for number in hidden.tracks:
                    bars = song.tracks[number].notes["bar"]
                    assert ((bars >= hidden.first) & (bars < hidden.stop)).any()
                seen.append((hidden.stop - hidden.first == len(song.bars), len(hidden.tracks), len(song.tracks)))
    assert any(whole and tracks == 1 for whole, tracks, _ in seen), "all bars of one track"
    assert any(not whole and tracks == of for whole, tracks, of in seen), "some bars of all"
    assert {tracks for _, tracks, _ in seen} >= {1, 2, 3}


def test_the_cost_of_hidden_bars_is_what_they_take_but_for_what_need_not_be_said_anew(windows):
    part = windows[1]
    plain, song = example(part).tokens, part.song
    n_bars, all_tracks = len(song.bars), np.arange(len(song.tracks))
    for first in range(0, n_bars, 3):
        stops = np.arange(first + 1, n_bars + 1)
        is_there, tokens, most_spans = tasks._costs(song, all_tracks, first, stops)
        for number, stop in enumerate(stops.tolist()):
            hidden = Hidden(first, stop, tuple(all_tracks[is_there[:, number]].tolist()))
            shown = example(part, hidden).tokens
            assert 0 <= tokens[number] - (len(shown) - len(plain)) <= 4 * len(hidden.tracks)
            assert most_spans[number] == spans(shown) - spans(plain)
