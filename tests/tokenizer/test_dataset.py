"""prepare and the dataset it makes: the same for any order and number of workers, complete,
and refused when damaged.
"""

import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from configs import InputError, PrepareConfig
from tests.scores import score_of
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import MANIFEST, SPLITS, DatasetError, read_rejected, save_manifest
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset, SongTooLong, to_row
from tokenizer.disk.atomic import atomic
from tokenizer.grid.quantize import snap
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import compute

ONE_WORKER = PrepareConfig(workers=1, songs_per_shard=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eight songs, one twice, and files that are no songs."""
    folder = tmp_path_factory.mktemp("my songs é")
    (folder / "inside").mkdir()
    for seed in range(8):
        midi.write(compose(seed), folder / ("inside" if seed % 2 else ".") / f"song {seed}.mid")
    shutil.copy(folder / "song 0.mid", folder / "a copy.MID")
    (folder / "empty.mid").touch()
    (folder / "text.midi").write_text("not music", encoding="utf-8")
    (folder / "cut.mid").write_bytes((folder / "song 2.mid").read_bytes()[:40])
    midi.write(score_of(), folder / "silent.mid")
    (folder / "readme.txt").write_text("not looked at", encoding="utf-8")
    (folder / "inside" / "loop").symlink_to(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "songs"
    prepare([folder], out, ONE_WORKER)
    return out


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_song_comes_back_and_every_other_file_has_its_reason(folder, dataset):
    data = Dataset(dataset)
    songs = [
        (data[split].source(i), data[split][i]) for split in ("train", "validation") for i in range(len(data[split]))
    ]
    assert len(songs) == 8
    for source, tokens in songs:
        original = midi.read(folder.parent / source)
        assert tokens == encode(original)
        assert decode(tokens.ids) == snap(original)
    reasons = {entry["source"].removeprefix(folder.name + "/"): entry["reason"] for entry in read_rejected(dataset)}
    assert set(reasons) == {"song 0.mid", "empty.mid", "text.midi", "cut.mid", "silent.mid", "inside/loop"}
    assert reasons["inside/loop"] == f"a folder that is read already: {folder.name}"
    assert "a copy.MID" in reasons["song 0.mid"] and "the same music" in reasons["song 0.mid"]
    assert "empty" in reasons["empty.mid"] and "not a MIDI file" in reasons["text.midi"]
    assert "no note can be read" in reasons["cut.mid"] and reasons["silent.mid"] == "no notes"


def test_a_token_takes_at_most_twelve_bytes_but_for_the_tables_of_a_small_shard(dataset):
    parts = Dataset(dataset).manifest["splits"].values()
    shards = [shard for part in parts for shard in part["shards"]]
    assert sum(shard["bytes"] for shard in shards) / sum(shard["tokens"] for shard in shards) < 12


def test_the_dataset_does_not_depend_on_workers_or_order(folder, dataset, tmp_path):
    prepare([folder], tmp_path / "again", PrepareConfig(workers=2, songs_per_shard=3))
    assert contents(tmp_path / "again") == contents(dataset)


def test_the_split_follows_the_content(dataset):
    data = Dataset(dataset)
    assert len(data["validation"]) >= 1
    families = {split: data[split].column("family").tolist() for split in ("train", "validation")}
    assert families["train"] == sorted(families["train"])
    assert max(families["validation"]) < min(families["train"])


def test_sizes_are_those_of_the_songs(dataset):
    songs = Dataset(dataset)["train"]
    for i in range(len(songs)):
        tokens = songs[i]
        assert (songs.tokens[i], songs.spans[i], songs.bars[i]) == (
            len(tokens),
            tokens.span.max() + 1,
            tokens.bar.max() + 1,
        )
        bar_tokens, bar_spans = songs.bar_sizes(np.array([i]))
        assert bar_tokens.tolist() == np.bincount(tokens.bar[tokens.bar >= 0]).tolist()
        assert bar_spans.sum() == songs.spans[i]
    assert songs.token_counts()[vocab.BOS] == len(songs)
    order = np.array([5, 0, 3, 3, 2])  # of several shards
    for sizes, parts in zip(
        songs.bar_sizes(order), zip(*(songs.bar_sizes(order[i : i + 1]) for i in range(5)), strict=True), strict=True
    ):
        assert sizes.tolist() == np.concatenate(parts).tolist()


def test_the_first_bar_of_a_measure_has_the_tokens_and_spans_of_all_of_it():
    """Two measures of 5/4 and one of 3/4; the second track ends in the first bar of the second."""
    first = [(0, 480, 60, 80), (1440, 480, 60, 80), (4800, 480, 60, 80)]
    song = score_of((0, first), (40, [(2400, 480, 60, 80)]), signatures=((0, 5, 4), (4800, 3, 4)))
    row = to_row(encode(song), "song.mid")
    # C T0 P60 L4 V20, C T0 P60 | C, C | C TS T0 P60; C, C | C T0 P60 L4 V20
    assert row.bar_tokens.tolist() == [8 + 2, 0, 2 + 5, 0, 4] and row.bar_spans.tolist() == [4, 0, 3, 0, 1]


def test_songs_are_indexed_as_a_list_is(dataset):
    songs = Dataset(dataset)["train"]
    as_list = list(songs)
    count = len(as_list)
    assert songs[-1] == as_list[-1] and songs[-count] == as_list[0] and songs[np.int64(1)] == as_list[1]
    assert songs.source(-1) == songs.source(count - 1)
    for part in (slice(None), slice(2), slice(-2, None), slice(None, None, -2), slice(count, None)):
        assert songs[part] == as_list[part], part
    for index in (count, -count - 1, np.int64(count)):
        with pytest.raises(IndexError, match=rf"^song {index}: there are {count}$"):
            songs[index]
    for index in (1.0, "1", None):
        with pytest.raises(TypeError):
            songs[index]


def test_a_split_that_is_not_there_is_answered_with_those_that_are(dataset):
    with pytest.raises(DatasetError, match=r"songs: no split 'holdout'; there are train, validation"):
        Dataset(dataset)["holdout"]
    assert "holdout" not in Dataset(dataset) and list(Dataset(dataset)) == ["train", "validation"]


def test_a_song_too_long_for_the_stored_types_is_refused_not_wrapped():
    ids = [vocab.ID[name] for name in (*"BOS BPM_19 TS_4/4 #P0 SEP N".split(), *("T0", "P60") * 70_000, "EOS")]
    with pytest.raises(SongTooLong, match="onset"):
        to_row(compute(np.array(ids)), "long.mid")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda out: shutil.rmtree(out), "no such dataset"),
        (lambda out: (out / MANIFEST).unlink(), "not a whole dataset"),
        (lambda out: (out / MANIFEST).write_text("{", encoding="utf-8"), "damaged"),
        (lambda out: edit(out, vocabulary="another"), "another vocabulary"),
        (lambda out: edit(out, format=99), "format 99"),
        (lambda out: edit(out, splits={}), "lacks 'train'"),
        (
            lambda out: edit(out, splits={split: {"shards": [{"file": "x"}]} for split in SPLITS}),
            "lacks bytes, sha256, songs, token_counts, tokens",
        ),
        (lambda out: other_columns(out / "train-00000.arrow"), "other columns"),
        (lambda out: (out / "train-00000.arrow").unlink(), "train-00000.arrow"),
        (lambda out: (out / "train-00000.arrow").write_bytes(b"short"), "5 bytes"),
        (lambda out: scramble(out / "train-00000.arrow"), "train-00000.arrow"),
        (lambda out: no_train(out), "no train songs"),
    ],
    ids=[
        "gone",
        "unfinished",
        "broken manifest",
        "vocabulary",
        "format",
        "no splits",
        "no sizes",
        "schema",
        "missing shard",
        "truncated",
        "overwritten",
        "empty split",
    ],
)
def test_a_damaged_dataset_is_named_on_opening(dataset, tmp_path, damage, message):
    out = shutil.copytree(dataset, tmp_path / "copy")
    damage(out)
    with pytest.raises(DatasetError, match=message):
        Dataset(out)


def edit(out, **changes):
    save_manifest(out, json.loads((out / MANIFEST).read_text(encoding="utf-8")) | changes)


def other_columns(path):
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("x", pa.int8())])) as writer:
        writer.write_batch(pa.record_batch([pa.array([1], pa.int8())], names=["x"]))
    manifest = json.loads((path.parent / MANIFEST).read_text(encoding="utf-8"))
    manifest["splits"]["train"]["shards"][0]["bytes"] = path.stat().st_size
    edit(path.parent, splits=manifest["splits"])


def scramble(path):
    path.write_bytes(bytes(len(path.read_bytes())))


def no_train(out):
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    manifest["splits"]["train"]["shards"] = []
    edit(out, splits=manifest["splits"])


def test_bad_input_to_prepare_is_refused_before_anything_is_written(folder, dataset, tmp_path):
    with pytest.raises(InputError, match="exists already, made with other settings"):
        prepare([folder], dataset, PrepareConfig(workers=1))
    with pytest.raises(InputError, match="no such file or folder"):
        prepare([tmp_path / "nowhere"], tmp_path / "out", ONE_WORKER)
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match=r"no MIDI file \(\.mid"):
        prepare([tmp_path / "void"], tmp_path / "out", ONE_WORKER)
    with pytest.raises(InputError, match=r"none of the files can be used; the first: empty.mid: the file is empty"):
        prepare([folder / "empty.mid"], tmp_path / "out", ONE_WORKER)
    (tmp_path / "songs.zip").write_bytes(b"PK\3\4...")
    with pytest.raises(InputError, match=r"songs\.zip: a compressed archive; unpack it first"):
        prepare([tmp_path / "songs.zip"], tmp_path / "out", ONE_WORKER)
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\)$"):
        prepare([folder], tmp_path / "songs.zip" / "out", ONE_WORKER)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["songs.zip", "void"], "nothing is left"


def test_a_full_disk_costs_nothing_that_was_done(folder, dataset, tmp_path, monkeypatch):
    def full(path, _):
        with atomic(path):
            raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr("tokenizer.dataset.files.write_text", full)
        with pytest.raises(InputError, match=r"manifest.json: no space left on the disk: .* bytes free.*command again"):
            prepare([folder], tmp_path / "out", ONE_WORKER)
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    monkeypatch.setattr("tokenizer.dataset.prepare.tokenize", None)  # nothing is tokenized twice
    monkeypatch.setattr("tokenizer.dataset.gather.write_batch", None)  # nor written
    prepare([folder], tmp_path / "out", ONE_WORKER)
    assert contents(tmp_path / "out") == contents(dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_songs_are_read_in_place(dataset):
    songs = Dataset(dataset)["train"]
    assert not songs._shards[0].values("ids", 0).flags.writeable, "a view of the memory map"
