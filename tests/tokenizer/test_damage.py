"""Damage of a dataset is found and told as what it is, whatever byte of whatever file it lies in."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from configs import InputError, PrepareConfig
from tests.scores import score_of
from tests.tokenizer.test_dataset import edit
from tokenizer import vocabulary as vocab
from tokenizer.dataset import shards
from tokenizer.dataset.audit import audit
from tokenizer.dataset.files import MANIFEST, REJECTED, DatasetError, read_manifest, read_rejected
from tokenizer.dataset.merge import merge
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.shards import Damaged, Unreadable, open_batch, write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.music import midi
from tokenizer.tokens.encode import encode

TRAIN = "train-00000.arrow"
pytestmark = pytest.mark.usefixtures("no_pictures")


def song(seed: int):
    random = np.random.default_rng(seed)
    notes = [(240 * i, 240, int(random.integers(30, 90)), 80) for i in range(12)]
    return score_of((seed % 4, notes))


@pytest.fixture(scope="module")
def prepared(no_pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "midi").mkdir()
    for seed in range(4):
        midi.write(song(seed), folder / "midi" / f"{seed}.mid")
    (folder / "midi" / "bad.mid").write_text("no music", encoding="utf-8")
    prepare([folder / "midi"], folder / "songs", PrepareConfig(workers=1, validation_fraction=0.3))
    return folder / "songs"


@pytest.fixture
def dataset(prepared, tmp_path) -> Path:
    return Path(shutil.copytree(prepared, tmp_path / "songs"))


def all_songs(folder: Path) -> list[tuple]:
    data = Dataset(folder)
    return [
        (split, data[split].source(i), song) for split in ("train", "validation") for i, song in enumerate(data[split])
    ]


def flip(path: Path, place: int, bit: int = 0) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)


def answer(function, *arguments):
    """What a function returns, or the one line that it raises; anything else is a failure."""
    try:
        return function(*arguments)
    except InputError as error:
        assert "\n" not in str(error)
        return str(error)


@pytest.mark.parametrize("kind", ["flipped bit", "cut"])
def test_damage_anywhere_is_found_or_harmless(dataset, kind):
    songs, rejected = all_songs(dataset), list(read_rejected(dataset))
    draw = random.Random(kind)
    files = sorted(dataset.iterdir())
    found_in = set()
    for number in range(200):
        path = files[number % len(files)]
        raw = path.read_bytes()
        if kind == "cut":
            path.write_bytes(raw[: draw.randrange(len(raw))])
        else:
            flip(path, draw.randrange(len(raw)), draw.randrange(8))
        findings = answer(audit, dataset, 1)
        named = path.name in findings if isinstance(findings, str) else any(f.file == path.name for f in findings)
        there = answer(all_songs, dataset)
        assert there == songs or (isinstance(there, str) and path.name in there)
        assert named or (there == songs and list(read_rejected(dataset)) == rejected)
        found_in |= {path.name} if named else set()
        path.write_bytes(raw)
    assert found_in == {path.name for path in files} - {"report.json", "report.png"}


# ---------------------------------------------------------------- rows


def place_of(dataset: Path, column: str, row: int = 0) -> int:
    """Of a row's first value of a column, in the file."""
    batch = open_batch(dataset / TRAIN)
    values = batch.column(column).slice(row, 1)
    values = (values.flatten() if pa.types.is_list(values.type) else values).to_numpy()
    return (dataset / TRAIN).read_bytes().index(values.tobytes())


@pytest.mark.parametrize("column", ["ids", "bar", "onset", "bar_tokens", "seconds", "hash", "family"])
def test_a_song_whose_row_changed_is_not_loaded_but_named(dataset, column):
    flip(dataset / TRAIN, place_of(dataset, column))
    name = Dataset(dataset)["train"].source(0)
    with pytest.raises(DatasetError, match=rf"{TRAIN} row 0 \({name}\): damaged .*--repair"):
        Dataset(dataset)["train"][0]
    Dataset(dataset)["train"][1]
    with pytest.raises(DatasetError, match=rf"{TRAIN} row 0 \({name}\): damaged"):
        merge([dataset], dataset.parent / "merged", workers=1)
    assert [(f.row, f.mendable) for f in audit(dataset, 1) if f.row is not None] == [(0, False)]


def test_the_digest_of_a_row_by_hand():
    import struct
    import zlib

    row = to_row(encode(song(0)), "é.mid")
    lists = [getattr(row, name) for name in shards.LISTS]
    content = struct.pack("<9I", *map(len, lists), 6) + b"".join(values.tobytes() for values in lists)
    content += struct.pack("<HIfQQ", row.tracks, row.notes, row.seconds, row.hash, row.family) + "é.mid".encode()
    batch = record_batch([row])
    assert batch.column("digest").to_pylist() == [zlib.crc32(content)] == [shards.Rows(batch, Path()).digest(0)]


def test_a_token_that_does_not_exist_is_told_when_its_song_is_loaded_or_merged(dataset):
    rows = Dataset(dataset)["train"]
    row = to_row(rows[0], rows.source(0))
    row.ids[3] = vocab.SIZE + 7
    manifest = read_manifest(dataset)
    entry = write_batch(dataset, TRAIN, record_batch([row]))
    manifest["splits"]["train"]["shards"] = [entry]
    edit(dataset, splits=manifest["splits"])
    with pytest.raises(DatasetError, match=rf"{TRAIN} row 0 .*token {vocab.SIZE + 7} does not exist"):
        Dataset(dataset)["train"][0]
    with pytest.raises(DatasetError, match=f"token {vocab.SIZE + 7} does not exist"):
        merge([dataset], dataset.parent / "merged", workers=1)


# ---------------------------------------------------------------- shards


def test_a_shard_tells_apart_why_it_cannot_be_opened(dataset, monkeypatch):
    path = dataset / TRAIN
    raw = path.read_bytes()
    offsets = open_batch(path).column("ids").offsets.to_numpy().tobytes()
    flip(path, raw.index(offsets) + 6, 6)  # the first song ends after a thousand million million tokens
    with pytest.raises(Damaged, match="damaged"):
        Dataset(dataset)
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        Dataset(dataset)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("x", pa.int8())])) as writer:
        writer.write_batch(pa.record_batch([pa.array([1], pa.int8())], names=["x"]))
    with pytest.raises(Damaged, match="other columns"):
        open_batch(path)
    refuse(monkeypatch, path)
    with pytest.raises(Unreadable, match=r"cannot be read \(Permission denied\)"):
        open_batch(path)


def refuse(monkeypatch, path: Path) -> None:
    """Tests may run as root, whom no file refuses."""
    opened = Path.open

    def refused(self, *arguments, **options):
        if self == path:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refused)


# ---------------------------------------------------------------- the manifest


def test_a_manifest_that_was_edited_is_refused(dataset):
    path = dataset / MANIFEST
    path.write_text(
        path.read_text(encoding="utf-8").replace('"validation_fraction": 0.3', '"validation_fraction": 0.2'),
        encoding="utf-8",
    )
    with pytest.raises(DatasetError, match=r"manifest.json: damaged .*was it edited"):
        read_manifest(dataset)


def test_settings_that_this_program_does_not_know_are_named(dataset):
    edit(dataset, config=read_manifest(dataset)["config"] | {"tuning": 440})
    with pytest.raises(DatasetError, match="unknown settings in config: tuning"):
        read_manifest(dataset)


@pytest.mark.parametrize(
    "name", ["../train-00000.arrow", "/etc/passwd", "..", "train-0.arrow", "validation-00000.arrow"]
)
def test_a_shard_lies_in_the_dataset_under_its_own_name(dataset, name):
    splits = read_manifest(dataset)["splits"]
    splits["train"]["shards"][0]["file"] = name
    edit(dataset, splits=splits)
    with pytest.raises(DatasetError, match="is no name of a train shard"):
        Dataset(dataset)


def test_a_shard_that_is_a_link_out_of_the_dataset_is_refused(dataset):
    os.rename(dataset / TRAIN, dataset.parent / "elsewhere.arrow")
    (dataset / TRAIN).symlink_to(dataset.parent / "elsewhere.arrow")
    with pytest.raises(DatasetError, match=rf"{TRAIN}: a link that leads out of the dataset"):
        audit(dataset, 1)


def test_the_manifest_counts_the_tokens_of_a_split_on_one_line(dataset, monkeypatch):
    data = Dataset(dataset)
    for split in ("train", "validation"):
        ids = np.concatenate([tokens.ids for tokens in data[split]])
        assert data[split].token_counts().tolist() == np.bincount(ids, minlength=vocab.SIZE).tolist()
    lines = (dataset / MANIFEST).read_text(encoding="utf-8").splitlines()
    assert sum('"token_counts": [' in line and line.endswith("],") for line in lines) == 2 and len(lines) < 100


def test_check_compares_the_manifest_with_the_shards_and_the_list(dataset):
    manifest = read_manifest(dataset)
    manifest["splits"]["train"] |= {"songs": 7, "token_counts": [0] * vocab.SIZE}
    edit(dataset, splits=manifest["splits"], rejected={})
    problems = sorted(finding.problem for finding in audit(dataset, 1))
    assert [problem.split(",")[0] for problem in problems] == [
        "7 train songs",
        "it counts {}",
        "the shards have other train token_counts",
    ]
    (dataset / REJECTED).unlink()
    assert any(finding.file == REJECTED and finding.problem == "missing" for finding in audit(dataset, 1))
