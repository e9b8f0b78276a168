"""What is held out is held out: in mixtures, in merged datasets, in small ones."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs import DataConfig, InputError, PrepareConfig
from jax_impl.cli import main
from jax_impl.loading import loader
from tests.scores import score_of
from tests.tokenizer.test_damage import TRAIN, flip, place_of, song
from tests.tokenizer.test_prepare import contents, transposed
from tokenizer.dataset.audit import audit
from tokenizer.dataset.files import DatasetError, read_manifest, write_manifest
from tokenizer.dataset.gather import count_test, count_validation
from tokenizer.dataset.merge import merge
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.repair import repair
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.music import midi
from tokenizer.tokens.encode import encode

pytestmark = pytest.mark.usefixtures("no_pictures")


def write(folder: Path, train: list, validation: list, test: list | None = None) -> Path:
    """test: None for a dataset without such a split."""
    folder.mkdir()
    rows_of = {"train": train, "validation": validation} | ({} if test is None else {"test": test})
    splits = {
        split: [write_batch(folder, f"{split}-00000.arrow", record_batch(rows))] if rows else []
        for split, rows in rows_of.items()
    }
    write_manifest(folder, splits, [], PrepareConfig(test_fraction=0 if test is None else 0.1), "test")
    return folder


def mixture(folder: Path, **weights: float) -> Path:
    (folder / "mixture.json").write_text(json.dumps({"datasets": weights}), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def rows() -> list:
    return [to_row(encode(song(seed)), f"{seed}.mid") for seed in range(6)]


def run(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["hid-museformer", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    out, error = capsys.readouterr()
    return exit_.value.code, out + error


# ---------------------------------------------------------------- mixtures


def test_a_song_that_one_part_of_a_mixture_holds_out_is_trained_on_in_none(tmp_path, rows, monkeypatch, capsys):
    in_another_key = to_row(encode(transposed(song(4), 2)), "4 in another key.mid")
    write(tmp_path / "a", [*rows[:3], in_another_key], [rows[3]])
    write(tmp_path / "b", [rows[3], rows[5]], [rows[0], rows[4]])
    mixed = Dataset(mixture(tmp_path, a=2, b=0.5))
    assert mixed["train"].weight.tolist() == [0, 2, 2, 0, 0, 0.5]
    assert mixed["validation"].weight.tolist() == [1, 1, 1]
    assert mixed.notices == [
        f"2 songs of {tmp_path / 'a'} are held out in {tmp_path / 'b'}: not trained on",
        f"1 songs of {tmp_path / 'b'} are held out in {tmp_path / 'a'}: not trained on",
    ]
    status, said = run(monkeypatch, capsys, "check", tmp_path, "--workers", 1)
    assert status == 0 and all(notice in said for notice in mixed.notices)


def test_the_fingerprint_says_whether_songs_were_held_out(tmp_path, rows, monkeypatch):
    write(tmp_path / "a", rows[:2], [rows[3]])
    write(tmp_path / "b", [rows[3]], [rows[4]])
    held_out = Dataset(mixture(tmp_path, a=1, b=1)).fingerprint
    monkeypatch.setattr(np, "isin", lambda values, _: np.zeros(len(values), bool))
    assert Dataset(tmp_path).fingerprint != held_out


def test_a_mixture_that_holds_out_every_song_is_refused(tmp_path, rows):
    write(tmp_path / "a", [rows[0]], [rows[1]])
    write(tmp_path / "b", [rows[1]], [rows[0]])
    with pytest.raises(DatasetError, match="each is held out in another part"):
        Dataset(mixture(tmp_path, a=1, b=1))


def test_what_a_mixture_says_besides_datasets_is_named(tmp_path, rows):
    write(tmp_path / "a", [rows[0]], [rows[1]])
    (tmp_path / "mixture.json").write_text('{"datasets": {"a": 1}, "weigths": {"a": 2}}', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"mixture\.json: unknown keys weigths"):
        Dataset(tmp_path)
    for text in ("[]", '{"datasets": ["a"]}', '{"datasets": {"a": null}}', "{"):
        (tmp_path / "mixture.json").write_text(text, encoding="utf-8")
        with pytest.raises(DatasetError, match=r"mixture\.json: cannot be understood"):
            Dataset(tmp_path)


# ---------------------------------------------------------------- merged


def test_a_song_that_one_of_merged_datasets_holds_out_is_held_out(tmp_path, rows, capsys):
    # By its content none of these is: the first of each dataset is, since one is at least.
    rows = sorted(rows, key=lambda row: (row.family, row.hash))
    write(tmp_path / "a", rows[2:4], [rows[1]])
    write(tmp_path / "b", [rows[0], rows[1], rows[5]], [rows[4]])
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "songs", workers=1)
    data = Dataset(tmp_path / "songs")
    held_out = {rows[1].source, rows[4].source}
    assert held_out <= {data["validation"].source(i) for i in range(len(data["validation"]))}
    assert not held_out & {data["train"].source(i) for i in range(len(data["train"]))}
    assert "2 more songs are for validation" in capsys.readouterr().out
    assert audit(tmp_path / "songs", 1) == []


def test_datasets_that_hold_out_each_other_s_songs_are_not_merged(tmp_path, rows):
    write(tmp_path / "a", [rows[0]], [rows[1]])
    write(tmp_path / "b", [rows[1]], [rows[0]])
    with pytest.raises(InputError, match="no song is left to train on"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "songs", workers=1)


def test_what_was_held_out_stays_held_out_in_a_repair(tmp_path, rows):
    rows = sorted(rows, key=lambda row: (row.family, row.hash))
    folder = write(tmp_path / "songs", rows[:4], rows[4:])  # by their content the first ones would be
    flip(folder / TRAIN, place_of(folder, "ids", row=1))
    assert repair(folder, workers=1).missing == [rows[1].source]
    validation = Dataset(folder)["validation"]
    assert {rows[4].source, rows[5].source} <= {validation.source(i) for i in range(len(validation))}


# ---------------------------------------------------------------- a test split


def sources(folder: Path, split: str) -> set[str]:
    songs = Dataset(folder)[split]
    return {songs.source(i) for i in range(len(songs))}


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Twenty songs and each of them in another key."""
    scores = [song(seed) for seed in range(20)]
    return midi_folder(tmp_path_factory.mktemp("many") / "midi", *scores, *(transposed(one, 2) for one in scores))


THIRDS = PrepareConfig(workers=1, songs_per_shard=4, validation_fraction=0.3, test_fraction=0.3)


@pytest.fixture(scope="module")
def tested(many, no_pictures, tmp_path_factory) -> Path:
    prepare([many], tmp_path_factory.mktemp("tested") / "songs", THIRDS)
    return next(tmp_path_factory.getbasetemp().glob("tested*/songs"))


def test_songs_for_a_test_are_in_no_other_split_in_any_key(tested, many, tmp_path, capsys):
    manifest = read_manifest(tested)
    assert list(manifest["splits"]) == ["train", "validation", "test"] and manifest["config"]["test_fraction"] == 0.3
    families = {split: set(Dataset(tested)[split].column("family").tolist()) for split in manifest["splits"]}
    assert all(families.values()) and sum(map(len, families.values())) == len(set().union(*families.values())) == 20
    assert audit(tested, 1) == []
    prepare([many], tested, THIRDS)
    assert "already complete" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"test-fraction 0\.3 there, 0\.0 here"):
        prepare([many], tested, replace(THIRDS, test_fraction=0))
    # What validates does not depend on whether there is a test, and without one nothing tells that there could be
    prepare([many], tmp_path / "songs", replace(THIRDS, test_fraction=0))
    assert sources(tmp_path / "songs", "validation") == sources(tested, "validation")
    assert list(read_manifest(tmp_path / "songs")["splits"]) == ["train", "validation"]
    assert b"test" not in (tmp_path / "songs" / "manifest.json").read_bytes()
    with pytest.raises(DatasetError, match="no split 'test'; there are train, validation"):
        Dataset(tmp_path / "songs")["test"]


def test_no_epoch_has_a_song_of_the_test(tested):
    shape = DataConfig(max_seq_len=256, max_spans=64, batch_size=1, max_bars=32, seed=0, num_workers=0)
    data = Dataset(tested)

    def rows(split: str) -> list[bytes]:
        return [row for _, row in packed(data, shape, split)]

    assert rows("test") and not set(rows("test")) & (set(rows("train")) | set(rows("validation")))


def packed(data: Dataset, shape: DataConfig, split: str):
    """(batch, bytes of a document's tokens) of one epoch."""
    with loader.loader(data, shape, split) as batches:
        for batch in itertools.islice(batches, loader.rows_per_epoch(data, shape, split)):
            for document in range(1, int(batch.document.max()) + 1):
                yield batch, batch.tokens[batch.document == document].tobytes()


def test_parts_of_a_collection_with_a_test_merge_to_the_bytes_of_one_prepare(tested, many, tmp_path):
    for number in (1, 2):
        prepare([many], tmp_path / str(number), replace(THIRDS, shard=f"{number}/2"))
    merge([tmp_path / "1", tmp_path / "2"], tmp_path / "songs", workers=1)
    assert contents(tmp_path / "songs") == contents(tested)
    prepare([many], tmp_path / "other", replace(THIRDS, test_fraction=0))
    with pytest.raises(InputError, match=r"prepared otherwise than .*test-fraction 0\.0 there, 0\.3 here"):
        merge([tmp_path / "songs", tmp_path / "other"], tmp_path / "both", workers=1)


def test_a_repair_keeps_the_test_and_what_was_chosen_for_it(tmp_path, rows):
    rows = sorted(rows, key=lambda row: (row.family, row.hash))
    folder = write(tmp_path / "songs", rows[1:5], [rows[5]], [rows[0]])  # by content it would be the other way about
    flip(folder / TRAIN, place_of(folder, "ids", row=1))
    assert [finding.row for finding in audit(folder, 1)] == [None, 1]
    assert repair(folder, workers=1).missing == [rows[2].source]
    assert rows[0].source in sources(folder, "test") and rows[5].source in sources(folder, "validation")
    assert audit(folder, 1) == []


def test_what_is_for_a_test_in_one_is_trained_on_and_validated_with_in_none(tmp_path, rows, monkeypatch, capsys):
    rows = sorted(rows, key=lambda row: (row.family, row.hash))
    write(tmp_path / "a", [rows[0], rows[1]], [rows[2]], [rows[5]])
    write(tmp_path / "b", [rows[3], rows[5]], [rows[4]], [rows[0], rows[2]])
    mixed = Dataset(mixture(tmp_path, a=1, b=1))
    assert mixed["train"].weight.tolist() == [0, 1, 1, 0]
    assert mixed["validation"].weight.tolist() == [0, 1]
    assert mixed["test"].weight.tolist() == [1, 1, 1]
    assert f"1 songs of {tmp_path / 'a'} are held out in {tmp_path / 'b'}: not used to validate" in mixed.notices
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "songs", workers=1)
    assert {rows[0].source, rows[2].source, rows[5].source} <= sources(tmp_path / "songs", "test")
    assert rows[4].source in sources(tmp_path / "songs", "validation")
    assert "more songs are for the test: one of the datasets holds them out" in capsys.readouterr().out
    decode = ("decode", tmp_path / "songs", "--index", 0, "-o", tmp_path / "x.mid", "--split", "test")
    assert run(monkeypatch, capsys, *decode)[0] == 0


def test_a_test_takes_whole_families_from_the_end_and_leaves_one_to_train_on():
    families = np.array([1, 2, 2, 2**63, 2**64 - 9, 2**64 - 9], np.uint64)
    assert [count_test(families, share) for share in (0, 1e-30, 0.4, 0.6, 0.999)] == [0, 2, 2, 3, 3]
    assert count_test(families[-2:], 0.5) == count_test(families[:0], 0.5) == 0
    with pytest.raises(InputError, match="leave no song to train on"):
        PrepareConfig(validation_fraction=0.5, test_fraction=0.5)


# ---------------------------------------------------------------- small datasets


def midi_folder(folder: Path, *scores) -> Path:
    folder.mkdir()
    for number, score in enumerate(scores):
        midi.write(score, folder / f"{number}.mid")
    return folder


def test_one_song_alone_is_trained_on(tmp_path, monkeypatch, capsys):
    folder = midi_folder(tmp_path / "midi", song(0))
    prepare([folder], tmp_path / "songs", PrepareConfig(workers=1))
    data = Dataset(tmp_path / "songs")
    assert (len(data["train"]), len(data["validation"])) == (1, 0)
    assert audit(tmp_path / "songs", 1) == []
    decode = ("decode", tmp_path / "songs", "--index", 0, "-o", tmp_path / "x.mid")
    assert run(monkeypatch, capsys, *decode)[0] == 0
    status, said = run(monkeypatch, capsys, *decode, "--split", "validation", "--overwrite")
    assert status == 2 and "has no validation songs" in said and said.count("\n") == 1


def test_a_share_of_nothing_holds_out_nothing(tmp_path):
    folder = midi_folder(tmp_path / "midi", *map(song, range(4)))
    prepare([folder], tmp_path / "songs", PrepareConfig(workers=1, validation_fraction=0))
    data = Dataset(tmp_path / "songs")
    assert (len(data["train"]), len(data["validation"])) == (4, 0)
    assert data["validation"].token_counts().sum() == 0 and data["validation"].column("family").shape == (0,)
    assert audit(tmp_path / "songs", 1) == []
    merge([tmp_path / "songs"], tmp_path / "merged", workers=1)
    assert Dataset(tmp_path / "merged").fingerprint == data.fingerprint


def test_one_song_in_two_keys_is_not_on_both_sides():
    assert count_validation(np.array([7, 7], np.uint64), 0.05) == 0
    assert count_validation(np.array([7, 7, 8], np.uint64), 0.99) == 2


def test_the_help_says_what_becomes_of_one_song(monkeypatch, capsys):
    said = " ".join(run(monkeypatch, capsys, "prepare", "--help")[1].replace("│", " ").split())
    assert "one song alone is trained on" in said


def test_an_empty_score_is_no_song(tmp_path):
    folder = midi_folder(tmp_path / "midi", score_of())
    with pytest.raises(InputError, match="none of the files can be used"):
        prepare([folder], tmp_path / "songs", PrepareConfig(workers=1))
