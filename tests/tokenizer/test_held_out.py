"""What is held out is held out: in mixtures, in merged datasets, in small ones."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import InputError, PrepareConfig
from jax_impl.cli import main
from tests.scores import score_of
from tests.tokenizer.test_damage import TRAIN, flip, place_of, song
from tests.tokenizer.test_prepare import transposed
from tokenizer.dataset.audit import audit
from tokenizer.dataset.files import DatasetError, write_manifest
from tokenizer.dataset.gather import count_validation
from tokenizer.dataset.merge import merge
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.repair import repair
from tokenizer.dataset.shards import write_batch
from tokenizer.dataset.songs import Dataset, record_batch, to_row
from tokenizer.music import midi
from tokenizer.tokens.encode import encode

pytestmark = pytest.mark.usefixtures("no_pictures")


def write(folder: Path, train: list, validation: list) -> Path:
    folder.mkdir()
    splits = {
        split: [write_batch(folder, f"{split}-00000.arrow", record_batch(rows))] if rows else []
        for split, rows in (("train", train), ("validation", validation))
    }
    write_manifest(folder, splits, [], PrepareConfig(), "test")
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
