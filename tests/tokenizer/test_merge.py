"""Small datasets merged: the bytes of one prepare. Large ones: test_prepare.py."""

import hashlib

import pyarrow as pa
import pytest

from configs import InputError
from tests.tokenizer.test_prepare import contents, prepared, short
from tokenizer.dataset.audit import audit
from tokenizer.dataset.files import read_manifest
from tokenizer.dataset.merge import merge
from tokenizer.disk.atomic import WriteError
from tokenizer.music import midi


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("tokenizer.dataset.report.draw", lambda report, lengths, path: path.write_bytes(b"PNG"))


@pytest.mark.parametrize("songs_per_shard", [1, 8])
def test_a_split_of_one_song_merges_to_the_bytes_of_one_prepare(tmp_path, songs_per_shard):
    (tmp_path / "midi").mkdir()
    for seed in range(4):
        midi.write(short(seed), tmp_path / "midi" / f"{seed}.mid")
    settings = {"songs_per_shard": songs_per_shard, "validation_fraction": 1e-9}
    whole = prepared(tmp_path / "midi", tmp_path / "whole", **settings)
    parts = [prepared(tmp_path / "midi", tmp_path / str(n), shard=f"{n}/2", **settings) for n in (1, 2)]
    merge(parts, tmp_path / "songs", workers=1)
    assert contents(tmp_path / "songs") == contents(whole)


def test_a_part_of_a_small_collection_may_be_empty(tmp_path):
    (tmp_path / "midi").mkdir()
    for seed in range(2):
        midi.write(short(seed), tmp_path / "midi" / f"{seed}.mid")
    whole = prepared(tmp_path / "midi", tmp_path / "whole")
    parts = [prepared(tmp_path / "midi", tmp_path / str(n), shard=f"{n}/4") for n in range(1, 5)]
    assert min(sum(split["songs"] for split in read_manifest(part)["splits"].values()) for part in parts) == 0
    assert all(audit(part, 1) == [] for part in parts)
    merge(parts, tmp_path / "songs", workers=1)
    assert contents(tmp_path / "songs") == contents(whole)


def test_what_was_merged_of_all_shards_is_what_one_prepare_makes(tmp_path, capsys):
    (tmp_path / "midi").mkdir()
    for seed in range(4):
        midi.write(short(seed), tmp_path / "midi" / f"{seed}.mid")
    parts = [prepared(tmp_path / "midi", tmp_path / str(n), shard=f"{n}/2") for n in (1, 2)]
    merge(parts, tmp_path / "songs", workers=1)
    prepared(tmp_path / "midi", tmp_path / "songs")
    assert "already complete" in capsys.readouterr().out
    merge([tmp_path / "songs"], tmp_path / "again", workers=1)
    with pytest.raises(InputError, match="not made by one prepare"):
        prepared(tmp_path / "midi", tmp_path / "again")


def test_a_full_disk_leaves_what_was_there_and_the_same_command_goes_on(tmp_path, monkeypatch):
    (tmp_path / "midi").mkdir()
    for seed in range(4):
        midi.write(short(seed), tmp_path / "midi" / f"{seed}.mid")
    whole = prepared(tmp_path / "midi", tmp_path / "whole", songs_per_shard=1)
    before, opened = contents(whole), pa.OSFile
    written_as = hashlib.sha256(b"train-00001.arrow").hexdigest()[:8]

    def full(path, mode):
        if written_as in path:
            raise OSError(28, "No space left on device", path)
        return opened(path, mode)

    with monkeypatch.context() as patched:
        patched.setattr(pa, "OSFile", full)
        with pytest.raises(WriteError, match=r"train-00001.arrow: no space left on the disk: .* bytes free; make room"):
            merge([whole], tmp_path / "songs", workers=1)
    assert contents(whole) == before and not (tmp_path / "songs").exists()
    merge([whole], tmp_path / "songs", workers=1)
    assert contents(tmp_path / "songs").keys() == before.keys()
