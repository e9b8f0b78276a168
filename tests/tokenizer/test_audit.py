"""check DATASET finds what is wrong with a row, and a repair keeps every song that is whole."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from configs import PrepareConfig
from tokenizer import vocabulary as vocab
from tokenizer.dataset.audit import audit, grammar_problem
from tokenizer.dataset.files import read_rejected, write_manifest
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.repair import repair
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.tokens.encode import encode


@pytest.fixture(scope="module")
def rows():
    return sorted(
        (to_row(encode(compose(seed)), f"{seed}.mid") for seed in range(4)), key=lambda row: (row.family, row.hash)
    )


def write(folder, train, validation):
    folder.mkdir()
    splits = {"train": [write_batch(folder, "train-00000.arrow", record_batch(train))]}
    splits["validation"] = [write_batch(folder, "validation-00000.arrow", record_batch(validation))]
    write_manifest(folder, splits, [], PrepareConfig(), "test")
    return folder


def test_a_prepared_dataset_is_whole(tmp_path):
    for seed in range(4):
        midi.write(compose(seed), tmp_path / f"{seed}.mid")
    prepare([tmp_path], tmp_path / "songs", PrepareConfig(workers=1))
    assert audit(tmp_path / "songs", workers=1) == []


def with_ids(row, change):
    ids = row.ids.copy()
    change(ids)
    return replace(row, ids=ids)


def test_every_kind_of_damage_is_found_and_mended_or_left_out(tmp_path, rows):
    def swap(ids):
        ids[[10, 11]] = ids[[11, 10]]

    bar = rows[2].bar.copy()
    bar[50] += 1
    damaged = [
        with_ids(rows[1], lambda ids: ids.__setitem__(20, vocab.SIZE)),
        with_ids(rows[1], swap),
        replace(rows[2], bar=bar),
        replace(rows[3], hash=7, seconds=0.0),
        rows[0],
    ]
    folder = write(tmp_path / "songs", damaged, [rows[0]])
    findings = audit(folder, workers=1)
    assert [(found.row, found.mendable) for found in findings] == [
        (0, False),
        (1, False),
        (2, True),
        (3, True),
        (0, True),
    ]
    problems = [found.problem for found in findings]
    assert f"token {vocab.SIZE} does not exist" in problems[0] and "grammar" in problems[1]
    assert "its bar do not follow" in problems[2] and "its seconds, hash do not follow" in problems[3]
    assert "the same music as train-00000.arrow row 4" in problems[4]
    repaired = repair(folder, workers=1)
    assert audit(folder, workers=1) == []
    data = Dataset(folder)
    kept = {data[split].source(i): data[split][i] for split in ("train", "validation") for i in range(len(data[split]))}
    assert set(kept) == {rows[i].source for i in (0, 2, 3)}
    assert all(kept[source] == encode(compose(int(source.split(".")[0]))) for source in kept)
    reasons = sorted(entry["reason"].split(":")[0] for entry in read_rejected(folder))
    assert reasons == ["damaged dataset", "damaged dataset", "duplicate"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["songs", "songs.before-repair"]
    assert repaired.aside == tmp_path / "songs.before-repair" and len(repaired.missing) == 2


def test_shards_that_are_not_what_the_manifest_says_are_named(tmp_path, rows):
    folder = write(tmp_path / "songs", rows[1:], [rows[0]])
    path = folder / "train-00000.arrow"
    write_batch(folder, path.name, record_batch(rows[2:]))
    problems = [found.problem for found in audit(folder, workers=1)]
    assert problems == ["2 songs, the manifest says 3", "other bytes than the manifest says (sha256)"]
    path.write_bytes(path.read_bytes()[:1000])
    assert any("damaged" in found.problem for found in audit(folder, workers=1))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("x", pa.int8())])) as writer:
        writer.write_batch(pa.record_batch([pa.array([1], pa.int8())], names=["x"]))
    assert "other columns" in audit(folder, workers=1)[0].problem


def test_grammar_by_hand():
    ids = encode(compose(0)).ids
    assert grammar_problem(ids) is None
    assert "BOS to EOS" in grammar_problem(ids[1:])
    positions = np.flatnonzero(vocab.CLASS[ids] == vocab.Class.POSITION)
    for name in "P0 N #D EOS SEP TS_1/16 BPM_-8".split():
        broken = ids.copy()
        broken[positions[len(positions) // 2]] = vocab.ID[name]
        assert "grammar" in grammar_problem(broken) or "order" in grammar_problem(broken), name
