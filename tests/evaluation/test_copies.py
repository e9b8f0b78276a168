"""What a song has of training songs is what a comparison of every note with every note finds, and the index of them is
made once, whole, by one process at a time.
"""

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from configs import InputError, PrepareConfig
from jax_impl.evaluation import copies_index, copies_search
from jax_impl.evaluation.copies import FIGURE, Index, Known, compare, open_index
from jax_impl.evaluation.copies_notes import END, FEWEST_PITCHES, LONGEST_PAUSE, SYMBOL
from jax_impl.evaluation.copies_search import DEPTH, Places
from tests import ROOT
from tests.rows import long_measures
from tokenizer.dataset.files import write_manifest
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.disk.atomic import WriteError
from tokenizer.disk.lock import Busy, only_writer
from tokenizer.grid.meter import STEP_TICKS
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import TokenFields

BAR = 96  # fine steps of 4/4
MELODY = [60, 62, 64, 60, 67, 65, 64, 62, 59, 55, 57, 72, 71, 60]  # with distances, of 14 notes
STEPS = [12, 12, 24, 6, 6, 12, 36, 12, 24, 18, 6, 12, 48]


def song(*tracks: tuple[int, list[tuple[int, int]]]) -> TokenFields:
    """Of (program, [(fine steps, pitch)])."""
    rows = [(program, sorted(set(notes))) for program, notes in tracks]
    parts = [
        Track(program, np.array([(at * STEP_TICKS, 60, pitch, 80) for at, pitch in notes], NOTE))
        for program, notes in rows
    ]
    return encode(Score(480, tuple(parts), (Tempo(0, 500_000),), (Signature(0, 4, 4),)))


def melody(begins: int, semitones: int = 0) -> list[tuple[int, int]]:
    return list(zip(begins + np.cumsum([0, *STEPS]), np.array(MELODY) + semitones, strict=True))


def dataset_of(folder: Path, *train: TokenFields) -> Path:
    folder.mkdir()
    rows = [to_row(tokens, f"train/{number}.mid") for number, tokens in enumerate(train)]
    splits = {"train": [write_batch(folder, "train-00000.arrow", record_batch(rows))], "validation": []}
    write_manifest(folder, splits, [], PrepareConfig(), "test")
    return folder


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HID_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def index_of(tmp_path, *train: TokenFields):
    return open_index(dataset_of(tmp_path / "songs", *train), progress=False)


# ---------------------------------------------------------------- passages and bars


def test_a_passage_is_found_where_it_is_in_another_key_at_another_place_and_on_another_instrument(tmp_path):
    there = song((40, [(0, 50), *melody(2 * BAR + 12), (6 * BAR, 90)]), (33, melody(BAR, 1)[:9]))
    index = index_of(tmp_path, song((0, [(at * 7, 40 + at % 11) for at in range(40)])), there)
    own = song((33, [(0, 30), (30, 33)]), (0, [(0, 61), *melody(4 * BAR + 24, 5), (9 * BAR, 20)]))
    found = index.copies(own)
    assert found.longest_drums is None
    assert found.plain()["longest"] == {
        "notes": 14,
        "distinct": 14,
        "instrument": "Acoustic Grand Piano",
        "bars": [5, 7],
        "song": "train/1.mid",
        "song_bars": [3, 5],
        "semitones": 5,
    }
    assert str(found.longest) == ("14 notes (Acoustic Grand Piano, bars 5-7) = song train/1.mid bars 3-5, +5 semitones")
    json.dumps(found.plain())


def test_nothing_is_found_in_unrelated_music(tmp_path):
    index = index_of(tmp_path, song((0, melody(0)), (DRUMS, [(at * 12, 36 + at % 3) for at in range(20)])))
    other = song((0, [(at * 18, 60 + at * 7 % 11) for at in range(40)]), (DRUMS, [(at, 50) for at in range(0, 99, 9)]))
    found = index.copies(other)
    assert (found.longest, found.longest_drums) == (None, None)
    assert found.bars_known == Known(0, 7) and found.bars_known.share == 0
    assert found.drum_bars_known.share is None


def test_repeated_notes_and_trills_are_no_passage_and_an_ostinato_is_as_long_as_its_first_turns(tmp_path):
    trill = [(at * 6, 60 + at % 2) for at in range(64)]
    ostinato = [(at * 6, 60 + at * 4 % 16) for at in range(64)]  # four notes, over and over
    assert len({pitch for _, pitch in ostinato}) == 4
    index = index_of(tmp_path, song((0, trill), (1, ostinato)))
    assert index.copies(song((0, trill))).longest is None
    found = index.copies(song((0, ostinato))).longest
    assert (found.notes, found.distinct) == (64, 4 + FIGURE)


def test_a_passage_that_is_not_said_again_is_longer_than_an_ostinato_of_more_notes(tmp_path):
    ostinato = [(at * 6, 60 + at * 4 % 16) for at in range(64)]
    index = index_of(tmp_path, song((0, ostinato), (1, melody(0))))
    found = index.copies(song((0, ostinato), (2, melody(BAR)))).longest
    assert (found.notes, found.instrument) == (14, "Electric Grand Piano")


def test_drums_are_told_apart_by_their_own_pitches(tmp_path):
    beat = [(at * 12, (36, 42, 38, 42, 36, 36, 46)[at % 7]) for at in range(9)]
    index = index_of(tmp_path, song((DRUMS, beat)))
    found = index.copies(song((DRUMS, [(0, 50), *((at + BAR + 6, pitch) for at, pitch in beat)])))
    assert found.longest is None
    assert (found.longest_drums.notes, found.longest_drums.bars) == (9, (2, 3))
    assert found.longest_drums.song_bars == (1, 2)
    assert index.copies(song((DRUMS, [(at, pitch + 1) for at, pitch in beat]))).longest_drums is None


def test_bars_are_known_by_onsets_and_pitches_above_the_first_in_whatever_key(tmp_path):
    figure = [(0, 60), (12, 64), (24, 67), (48, 72)]
    there = song((0, [*figure, *((BAR + at, pitch) for at, pitch in [(6, 60), (12, 64), (24, 67), (48, 72)])]))
    index = index_of(tmp_path, there)
    bars = (
        [(at, pitch - 7) for at, pitch in figure],  # known
        [(at, pitch + 1) for at, pitch in figure[:3]],  # three notes: not counted
        [(at, 60 + 12 * number) for number, (at, _) in enumerate(figure)],  # one pitch class: not counted
        [*figure[:3], (54, 72)],  # an onset elsewhere
        [*figure[:3], (48, 71)],  # another pitch
        [*figure, (72, 60)],  # a note more
        [(at + 6, pitch) for at, pitch in figure],  # the same later in the bar
    )
    own = song((40, [(BAR * number + at, pitch) for number, bar in enumerate(bars) for at, pitch in bar]))
    assert index.copies(own).bars_known == Known(1, 5)


def test_bars_are_whole_measures_also_where_these_are_long(tmp_path):
    """Those of the model are their parts."""
    tokens = long_measures()
    found = index_of(tmp_path, tokens).copies(tokens)
    assert found.longest.bars == found.longest.song_bars == (1, 5)
    assert found.bars_known.counted == found.bars_known.known == 5


# ---------------------------------------------------------------- against every note with every note


def longest_by_hand(own: TokenFields, train: list[TokenFields], is_drums: bool) -> tuple[int, int]:
    """(distinct, notes) of the longest passage, (0, 0) where there is none, by the words of copies.py."""

    def tracks(tokens: TokenFields) -> list[list[tuple[int, int]]]:
        kept = [track for track in decode(tokens.ids).tracks if (track.program == DRUMS) == is_drums]
        return [sorted((int(n["onset_ticks"]) // STEP_TICKS, int(n["pitch"])) for n in track.notes) for track in kept]

    best = (0, 0)
    for one in tracks(own):
        for other in (track for tokens in train for track in tracks(tokens)):
            for i in range(len(one)):
                for j in range(len(other)):
                    if is_drums and one[i][1] != other[j][1]:
                        continue
                    n = 1
                    while i + n < len(one) and j + n < len(other):
                        (a, p), (b, q) = one[i + n - 1], one[i + n]
                        (c, r), (d, s) = other[j + n - 1], other[j + n]
                        if b - a != d - c or b - a > LONGEST_PAUSE or q - p != s - r:
                            break
                        n += 1
                    run = one[i : i + n]
                    if len({pitch if is_drums else pitch % 12 for _, pitch in run}) >= FEWEST_PITCHES:
                        steps = [(b - a, p if is_drums else q - p) for (a, p), (b, q) in itertools.pairwise(run)]
                        figures = [tuple(steps[k : k + FIGURE]) for k in range(len(steps) - FIGURE + 1)]
                        best = max(best, (n - len(figures) + len(set(figures)), n))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_longest_passage_is_the_one_that_comparing_all_notes_finds(tmp_path, seed):
    random = np.random.default_rng(seed)

    def track(program: int, notes: int) -> tuple[int, list[tuple[int, int]]]:
        """Of few pitches and distances, with pauses and chords, and a half that comes twice."""
        steps = random.choice([0, 6, 12, LONGEST_PAUSE, LONGEST_PAUSE + 12], notes, p=[0.1, 0.6, 0.2, 0.05, 0.05])
        pitches = 40 + random.integers(0, 4, notes)
        steps[notes // 2 :], pitches[notes // 2 :] = steps[: -(-notes // 2)], pitches[: -(-notes // 2)]
        return program, list(zip(np.cumsum(steps).tolist(), pitches.tolist(), strict=True))

    def any_song(notes: int) -> TokenFields:
        return song(track(0, notes), track(DRUMS, notes), track(40, notes))

    train = [any_song(44), any_song(20)]
    index = index_of(tmp_path, *train)
    for own in (any_song(30), song(track(0, 70), (5, melody(0))), train[0]):
        found = index.copies(own)
        for kind, passage in enumerate((found.longest, found.longest_drums)):
            by_hand = longest_by_hand(own, train, is_drums=bool(kind))
            assert by_hand == ((passage.distinct, passage.notes) if passage else (0, 0)), kind
    mine = index.copies(train[0])
    assert mine.longest.song == "train/0.mid" and mine.longest.semitones == 0


@pytest.mark.parametrize("at_once", [3, 40, 10_000])
def test_places_are_in_the_order_of_what_follows_however_many_are_sorted_at_once(monkeypatch, at_once):
    """Also where far more than DEPTH symbols are alike."""
    monkeypatch.setattr(copies_search, "AT_ONCE", at_once)
    monkeypatch.setattr(copies_search, "BLOCK", 50)
    random = np.random.default_rng(at_once)
    some = random.integers(1, 4, 60) << 8 | 12
    symbols = np.concatenate([some, np.full(80, 5 << 8), some, random.integers(7, 250, 20) << 8, [7 << 8 | END]])
    padded = copies_search.padded(symbols.astype(SYMBOL))
    raw = padded.tobytes()
    order = np.concatenate([*copies_search.ordered(padded)])
    assert order.tolist() == sorted(range(len(symbols)), key=lambda at: (raw[2 * at : 2 * at + 2 * DEPTH], at))
    first = copies_search.firsts(padded)
    assert all((symbols[order[first[s] : first[s + 1]]] == s).all() for s in np.unique(symbols))
    assert first[-1] == len(order)
    found, place = Places(padded, order, first).longest(symbols[30:].astype(SYMBOL))
    assert found[0] == 2 * len(symbols[30:]) - 1 and place[0] == 30


@pytest.mark.parametrize("alike", [DEPTH - 1, DEPTH, DEPTH + 1])
def test_what_begins_one_place_later_may_be_elsewhere(alike):
    """One song goes on alike for so many symbols, another one from the second on for as many."""
    own = np.random.default_rng(0).integers(1, 250, alike + 30) << 8 | 12
    one, other = own[:alike], own[1 : alike + 1]
    apart, ends = [251 << 8, 7 << 8 | END], [7 << 8 | END]
    padded = copies_search.padded(np.concatenate([one, apart, other, apart]).astype(SYMBOL))
    places = Places(padded, np.concatenate([*copies_search.ordered(padded)]), copies_search.firsts(padded))
    found, place = places.longest(np.concatenate([own, ends]).astype(SYMBOL))
    assert (found[:2] // 2).tolist() == [alike, alike] and place[:2].tolist() == [0, alike + 2]


def test_bars_are_kept_once_and_in_order_however_many_are_sorted_at_once(monkeypatch):
    values = np.random.default_rng(0).integers(0, 1 << 64, 90, np.uint64).repeat(2)
    monkeypatch.setattr(copies_index, "AT_ONCE", 7)
    assert np.array_equal(np.concatenate([*copies_index._each_once(values)]), np.unique(values))


# ---------------------------------------------------------------- the index


def test_an_index_is_made_once_outside_of_the_dataset(tmp_path, kept, capsys):
    folder = dataset_of(tmp_path / "songs", song((0, melody(0))))
    before = sorted(folder.iterdir())
    open_index(folder)
    assert capsys.readouterr().out.startswith(
        "notice: an index of the notes of 1 training songs is made once, in about a s"
    )
    written = {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()}
    open_index(folder)
    assert capsys.readouterr().out == ""
    assert written == {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()}
    assert sorted(folder.iterdir()) == before and len(written) == 11


def test_songs_of_weight_0_are_not_trained_on_and_not_in_it(tmp_path):
    dataset = Dataset(dataset_of(tmp_path / "songs", song((0, melody(0))), song((0, [(0, 60), (6, 61)]))))
    assert open_index(dataset, False, tmp_path / "with it").copies(song((0, melody(0)))).longest.notes == 14
    dataset["train"].weight[0] = 0
    index = open_index(dataset, False, tmp_path / "without it")
    assert index.copies(song((0, melody(0)))).longest is None and index.songs == 1


def spoil_contents(folder: Path) -> None:
    (folder / "index.json").write_text("{}", encoding="utf-8")


def cut_short(folder: Path) -> None:
    path = folder / "pitched.order"
    path.write_bytes(path.read_bytes()[:-4])


def flip_a_bit(folder: Path) -> None:
    path = folder / "pitched.symbols"
    path.write_bytes(path.read_bytes()[:-70] + b"\x11" + path.read_bytes()[-69:])


def take_away(folder: Path) -> None:
    (folder / "drums.bars").unlink()


@pytest.mark.parametrize("harm", [spoil_contents, cut_short, flip_a_bit, take_away])
def test_a_damaged_index_is_made_anew(tmp_path, harm):
    index = index_of(tmp_path, song((0, melody(0))))
    files = {path: path.read_bytes() for path in index.folder.iterdir()}
    harm(index.folder)
    assert open_index(tmp_path / "songs", False).copies(song((0, melody(BAR)))).longest.notes == 14
    assert files == {path: path.read_bytes() for path in index.folder.iterdir()}


def test_damage_of_an_index_too_large_to_read_through_is_noticed_when_it_is_met(tmp_path, monkeypatch):
    """Be it an order that leads nowhere, or the symbols of other songs."""
    monkeypatch.setattr(copies_index, "CHECKED_BYTES", 0)
    other = [(at, pitch + (at > 0)) for at, pitch in melody(0)]
    index = index_of(tmp_path, song((0, melody(0))))
    others = open_index(dataset_of(tmp_path / "others", song((0, other))), False)
    order = index.folder / "pitched.order"
    order.write_bytes(b"\xff" * order.stat().st_size)
    assert open_index(tmp_path / "songs", False).copies(song((0, melody(BAR)))).longest.notes == 14
    for path in others.folder.glob("pitched.*"):
        (index.folder / path.name).write_bytes(path.read_bytes())
    assert open_index(tmp_path / "songs", False).copies(song((5, other))).longest.notes == 13  # but for the first step


def test_while_one_process_makes_an_index_another_one_is_told(tmp_path, kept):
    dataset = Dataset(dataset_of(tmp_path / "songs", song((0, melody(0)))))
    folder = copies_index.folder_of(dataset.fingerprint)
    folder.mkdir(parents=True)
    with only_writer(folder), pytest.raises(Busy, match="writes there"):
        open_index(dataset, progress=False)
    (folder / ".tmp1-killed.order").write_bytes(b"left by one that was killed")
    assert open_index(dataset, progress=False).copies(song((0, melody(0)))).longest.notes == 14
    assert not list(folder.glob(".*"))


OTHER = """
import sys, time
from jax_impl.evaluation.copies import open_index
from tokenizer.disk.lock import Busy
while True:
    try:
        index = open_index(sys.argv[1], progress=False)
        break
    except Busy:
        time.sleep(0.01)
print(index.copies(index.dataset["train"][0]).longest.notes, "jax" in sys.modules)
"""


def patiently_opened(folder: Path) -> Index:
    while True:
        try:
            return open_index(folder, progress=False)
        except Busy:
            time.sleep(0.01)


def test_two_processes_that_want_an_index_at_once_both_get_it_and_it_needs_no_jax(tmp_path):
    folder = dataset_of(tmp_path / "songs", *(song((0, melody(at))) for at in range(0, 600, 6)))
    other = subprocess.Popen([sys.executable, "-c", OTHER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE)
    assert patiently_opened(folder).copies(song((0, melody(0)))).longest.notes == 14
    assert other.communicate()[0].split() == [b"14", b"False"]


def test_where_nothing_can_be_kept_that_is_an_error_of_one_line(tmp_path, monkeypatch):
    folder = dataset_of(tmp_path / "songs", song((0, melody(0))))
    (tmp_path / "file").touch()
    monkeypatch.setenv("HID_CACHE", str(tmp_path / "file"))
    with pytest.raises(WriteError, match="cannot be written"):
        open_index(folder, progress=False)
    monkeypatch.setenv("HID_CACHE", "none")
    with pytest.raises(InputError, match="HID_CACHE says that nothing is kept"):
        open_index(folder, progress=False)
    monkeypatch.setenv("HID_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(copies_index, "disk_free", lambda _: 10)
    with pytest.raises(WriteError, match=f"no space left on the disk: {8 * 14} bytes wanted"):
        open_index(folder, progress=False)


# ---------------------------------------------------------------- many songs


def test_samples_stand_beside_as_many_bars_of_songs_that_were_held_out(tmp_path):
    index = index_of(tmp_path, song((0, melody(0))))
    samples = [song((0, melody(0, 3))), song((0, [(at * 18, 60 + at * 7 % 11) for at in range(20)]))]
    long = song((0, [(at * 18, 60 + at * 7 % 11) for at in range(21)] + melody(6 * BAR) + [(14 * BAR, 60)]))
    found = compare(samples, [long], index)
    assert found["samples"] == [index.copies(sample).plain() for sample in samples]
    assert found["bars"] == 3 and found["training_songs"] == 1
    quarters = {"songs": 2, "quartile_1": 3.5, "median": 7.0, "quartile_3": 10.5, "max": 14.0}
    assert found["of_samples"]["longest"] == quarters and found["of_samples"]["longest_drums"]["songs"] == 0
    assert found["held_out"]["songs"] == 1 and found["held_out"]["longest"]["max"] == 14
    assert found["held_out"]["bars_known"]["mean"] == pytest.approx(1.0)
    assert json.loads(json.dumps(found)) == found
    nothing = {"songs": 0, "quartile_1": None, "median": None, "quartile_3": None, "max": None}
    assert compare([], [], index)["of_samples"]["longest"] == nothing
