"""Data of v1.2.1 becomes a dataset of this program with every note at its place,
and what is no such data is refused in one line.
"""

import json
import math
import pickle
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from configs import InputError, PrepareConfig
from jax_impl.cli import main
from parity_tests import golden, v121_encoder
from tests.songs import real_songs
from tokenizer import vocabulary as vocab
from tokenizer.dataset import v121
from tokenizer.dataset.files import read_rejected
from tokenizer.dataset.songs import Dataset
from tokenizer.grid.quantize import snap
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.decode import decode

ONE = PrepareConfig(workers=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Real songs that begin in a meter v1.2.1 had a token for (else its data does not say how long bars are), or
    composed ones.
    """
    found = [path for path in real_songs() if (v121_encoder.hear(path).meters or ["4/4"])[0] in v121_encoder.METERS]
    if not found:
        folder = tmp_path_factory.mktemp("midi")
        found = [folder / f"{seed}.mid" for seed in range(24)]
        for seed, path in enumerate(found):
            midi.write(compose(seed), path)
    return found


@pytest.fixture(scope="module")
def heard(files) -> list[v121_encoder.Heard]:
    return [v121_encoder.hear(path) for path in files]


def encoded(heard: v121_encoder.Heard) -> dict[str, list[int]]:
    label = lambda bar: v121_encoder.TOKENS[6 + bar % 217]
    return v121_encoder.encode(heard.bpms, heard.meters, v121_encoder.grid_notes(heard), label)


def arrays(song: dict[str, list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(song["token_ids"]), np.array(song["chord_ids"])


def expected(heard: v121_encoder.Heard) -> Score:
    """What v1.2.1 keeps of a song, as a score."""
    numerator, denominator = map(int, (heard.meters or ["4/4"])[0].split("/"))
    position = 480 * 4 * numerator // denominator // 16
    bins = [min(range(32), key=lambda i: abs(v121_encoder.BPM[i] - bpm)) for bpm in heard.bpms[:1]] or [19]
    tracks = []
    for program, notes in v121_encoder.grid_notes(heard):
        rows = [
            ((bar * 16 + at) * position, length * position, pitch, 4 * bin_ + 2)
            for bar, at, pitch, length, bin_ in notes
        ]
        tracks.append(Track(program, np.array(rows, NOTE)))
    tempo = Tempo(0, round(60e6 / v121_encoder.BPM[bins[0]]))
    return Score(480, tuple(tracks), (tempo,), (Signature(0, numerator, denominator),))


def rounded(score: Score) -> Score:
    """Its times as a dataset has them: on the nearest sixteenth, or eighth where v1.2.1's places are further apart;
    half counts up. Durations are those of the vocabulary.
    """
    step = 120 if score.signatures[0].numerator <= score.signatures[0].denominator else 240
    lengths = [120 * n for n in (*range(1, 65), 80, 96, 112, 128)]
    nearest = lambda ticks: math.floor(ticks / step + 0.5) * step
    tracks = []
    for track in score.tracks:
        rows = [
            (nearest(at), min(lengths, key=lambda length: abs(length - max(nearest(lasts), step))), pitch, velocity)
            for at, lasts, pitch, velocity in track.notes.tolist()
        ]
        tracks.append(Track(track.program, np.array(rows, NOTE)))
    return replace(score, tracks=tuple(tracks))


# ---------------------------------------------------------------- tokens


@pytest.mark.skipif(not golden.GOLDEN.exists(), reason="v1.2.1's outputs lie beside the project")
def test_the_encoder_of_these_tests_writes_what_v121_wrote():
    assert (
        json.loads((golden.GOLDEN / "vocab_facts.json").read_text(encoding="utf-8"))["vocab"]
        == v121_encoder.TOKENS
        == list(vocab.NAMES[:643])
    )
    song = golden.load(golden.SONG)
    ids, bars = song["token_ids"], song["chord_ids"]
    score = v121.rebuild(ids, bars)
    rows = [
        (t.program, [(o // 1920, o % 1920 // 120, p, d // 120, v >> 2) for o, d, p, v in t.notes.tolist()])
        for t in score.tracks
    ]
    labels = {
        bar: v121_encoder.TOKENS[token]
        for token, bar in zip(ids.tolist(), bars.tolist(), strict=True)
        if 6 <= token <= 222
    }
    again = v121_encoder.encode([97 if ids[1] == v121_encoder.ID["BPM_15"] else 86], ["4/4"], rows, labels.__getitem__)
    for name in v121_encoder.FIELDS:
        np.testing.assert_array_equal(again[name], song[name], err_msg=name)


def test_every_note_of_every_song_comes_back(files, heard):
    for path, one in zip(files, heard, strict=True):
        assert v121.rebuild(*arrays(encoded(one))) == expected(one), path


def test_silent_bars_that_v121_left_out_are_there_again():
    track = [(128, [(0, 0, 36, 1, 20), (5, 0, 36, 1, 20)]), (33, [(3, 8, 40, 4, 20)])]
    song = v121_encoder.encode([120], ["4/4"], track, lambda bar: "N")
    assert song["token_ids"].count(v121_encoder.ID["N"]) == 3
    row = v121.import_song(v121.V121Song.of("song", *arrays(song)), ONE).result
    assert row.bar_spans.tolist() == [2, 2, 2, 2, 1, 1]  # drums have bars 0 to 5, bass 0 to 3
    assert [track.notes["onset_ticks"].tolist() for track in decode(row.ids).tracks] == [
        [0, 5 * 1920],
        [3 * 1920 + 960],
    ]


@pytest.mark.parametrize("meter", v121_encoder.METERS)
def test_in_every_meter_notes_are_on_the_sixteenths_or_eighths_that_v121_rounded(meter):
    """Every place of the first bar, with durations from one to all of v1.2.1's."""
    notes = [(bar, at, 60 - bar, length, 20) for bar, length in ((0, 1), (1, 5), (5, 64)) for at in range(16)]
    heard = v121_encoder.Heard(480, [120], [meter], [])
    song = v121_encoder.encode([120], [meter], [(0, notes)], lambda bar: "N")
    one = v121.import_song(v121.V121Song.of("song", *arrays(song)), PrepareConfig(workers=1, min_bars=0, min_pitches=0))
    assert decode(one.result.ids) == snap(rounded(v121.rebuild(*arrays(song))))
    placed = {tick for tick in decode(one.result.ids).tracks[0].notes["onset_ticks"].tolist() if tick < heard.bar_ticks}
    step = 120 if heard.bar_ticks <= 1920 else 240
    assert placed == set(range(0, heard.bar_ticks, step))


# ---------------------------------------------------------------- files


def write_shards(folder: Path, songs: list[dict], shards: int = 2, **meta) -> Path:
    """As v1.2.1's preprocess_data.py does."""
    folder.mkdir()
    names = [f"shard_{number:04d}.pt" for number in range(shards)]
    for number, name in enumerate(names):
        of_shard = [{field: torch.tensor(row) for field, row in song.items()} for song in songs[number::shards]]
        torch.save([song | {"length": len(song["token_ids"])} for song in of_shard], folder / name)
    facts = {
        "total_samples": len(songs),
        "total_shards": shards,
        "vocab_size": 643,
        "max_seq_len": 24576,
        "shards": names,
    }
    (folder / "meta.json").write_text(json.dumps(facts | meta), encoding="utf-8")
    return folder


def write_arrow(folder: Path, songs: list[dict]) -> Path:
    """As `save_to_disk` of the datasets library does with v1.2.1's columns."""
    folder.mkdir()
    columns = ("token_ids", "chord_ids", "instrument_ids", "token_type_ids", "note_ids")
    schema = pa.schema([*((name, pa.list_(pa.int64())) for name in columns), ("length", pa.int64())])
    names = ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    for number, name in enumerate(names):
        rows = [
            {field: song[field] for field in columns} | {"length": len(song["token_ids"])} for song in songs[number::2]
        ]
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema), max_chunksize=3)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": name} for name in names], "_format_columns": None}), encoding="utf-8"
    )
    (folder / "dataset_info.json").write_text("{}", encoding="utf-8")
    return folder


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hid-museformer", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code or 0


@pytest.mark.parametrize("write", [write_shards, write_arrow])
def test_a_dataset_of_v121_becomes_one_of_this_program(heard, tmp_path, monkeypatch, capsys, write):
    some = heard[:15] + heard[15::20]
    data = write(tmp_path / "v121", [encoded(one) for one in some])
    assert run(monkeypatch, "import-shards", data, tmp_path / "songs", "--workers", 1) == 0
    dataset = Dataset(tmp_path / "songs")
    songs = [song.ids for split in ("train", "validation") for song in dataset[split]]
    scores = [snap(rounded(expected(one))) for one in some]
    for ids in songs:
        assert decode(ids) in scores
    assert len(songs) == len(some)
    said, record = capsys.readouterr().out, json.loads((tmp_path / "songs" / v121.IMPORT).read_text(encoding="utf-8"))
    assert record["notes"] == sum(len(notes) for one in some for _, notes in one.tracks)
    assert record["tempo_changes"] == sum(len({*map(bpm_bin, one.bpms)}) > 1 for one in some)
    assert record["merged_notes"] == record["notes"] - sum(
        len(track.notes) for score in scores for track in score.tracks
    )
    assert f"{record['notes']:,} notes in {len(some)} songs" in said
    if record["tempo_changes"]:
        assert (
            f"{record['tempo_changes']} songs name more than one tempo, but v1.2.1 did not keep where it changes"
            in said
        )


def bpm_bin(bpm: int) -> int:
    return min(range(32), key=lambda i: abs(v121_encoder.BPM[i] - bpm))


def test_many_processes_make_the_same_dataset(heard, tmp_path):
    data = write_arrow(tmp_path / "v121", [encoded(one) for one in heard[:12]])
    for workers in (1, 2):
        v121.import_songs(v121.arrow_batches(data), data, tmp_path / str(workers), PrepareConfig(workers=workers))
    assert Dataset(tmp_path / "1").fingerprint == Dataset(tmp_path / "2").fingerprint


def test_imported_songs_keep_the_time_that_v121_read(heard, tmp_path):
    data = write_arrow(tmp_path / "v121", [encoded(one) for one in heard[:2]])
    v121.import_songs(v121.arrow_batches(data), data, tmp_path / "songs", ONE)
    config = Dataset(tmp_path / "songs").manifest["config"]
    assert (config["align"], config["pedal"]) == ("off", "ignore")


def test_a_song_that_makes_no_sense_is_left_out_with_its_reason(heard, tmp_path):
    good, bad = encoded(heard[0]), encoded(heard[1])
    bad["chord_ids"] = [-1] * len(bad["chord_ids"])
    data = write_arrow(tmp_path / "v121", [good, bad, v121_encoder.encode([120], ["4/4"], [], str)])
    v121.import_songs(v121.arrow_batches(data), data, tmp_path / "songs", ONE)
    reasons = [entry["reason"] for entry in read_rejected(tmp_path / "songs")]
    assert (
        sorted(reasons) == sorted(["no notes", *[reason for reason in reasons if "in bar -1" in reason]])
        and len(reasons) == 2
    )


# ---------------------------------------------------------------- what is refused


class Command:
    def __reduce__(self):
        return (print, ("code from the file ran",))


def first_shard(change):
    """Writes the first shard anew, changed."""

    def apply(folder: Path) -> None:
        path = folder / "shard_0000.pt"
        torch.save(change(torch.load(path)), path)

    return apply


def without(song: dict, name: str) -> dict:
    return {key: value for key, value in song.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "meta.json").unlink(), r"meta.json: cannot be read"),
        (
            lambda d: (d / "meta.json").write_text('{"vocab_size": 511}', encoding="utf-8"),
            r"meta.json: tokens of another vocabulary \(511 tokens",
        ),
        (lambda d: (d / "shard_0001.pt").unlink(), r"shard_0001.pt is missing"),
        (
            lambda d: (d / "meta.json").write_text('{"total_samples": 9}', encoding="utf-8"),
            r"promises 9 songs, the shards hold 2",
        ),
        (lambda d: [path.unlink() for path in d.glob("*.pt")], r"no data of v1.2.1 here"),
        (
            lambda d: (d / "shard_0000.pt").write_bytes((d / "shard_0000.pt").read_bytes()[:900]),
            r"shard_0000.pt: not a PyTorch shard, or one that was copied in part",
        ),
        (lambda d: (d / "shard_0000.pt").write_bytes(pickle.dumps(Command())), r"shard_0000.pt: .*refused"),
        (first_shard(lambda songs: [*songs, Command()]), r"shard_0000.pt: refused.*print"),
        (first_shard(lambda songs: songs[0]), r"holds a dict, not a list of songs"),
        (first_shard(lambda songs: [7]), r"song 0 is a int"),
        (first_shard(lambda songs: [without(songs[0], "chord_ids")]), r"song 0 has no chord_ids"),
        (first_shard(lambda songs: [songs[0] | {"chord_ids": [1, 2]}]), r"shard_0000.pt#0: chord_ids is a list"),
        (
            first_shard(lambda songs: [songs[0] | {"token_ids": songs[0]["token_ids"][:5]}]),
            r"5 token_ids but \d+ chord_ids",
        ),
        (
            first_shard(lambda songs: [songs[0] | {"token_ids": songs[0]["token_ids"] * 2}]),
            r"shard_0000.pt#0: token \d+; the vocabulary",
        ),
        (
            first_shard(lambda songs: [songs[0] | {"token_ids": songs[0]["token_ids"][None]}]),
            r"not a row of whole numbers",
        ),
        (
            first_shard(lambda songs: [songs[0] | {"token_ids": songs[0]["token_ids"].float()}]),
            r"not a row of whole numbers",
        ),
    ],
)
def test_other_shards_are_refused_in_one_line_and_nothing_is_written(
    heard, tmp_path, monkeypatch, capsys, change, message
):
    data = write_shards(tmp_path / "v121", [encoded(one) for one in heard[:2]])
    change(data)
    refused(monkeypatch, capsys, data, tmp_path / "songs", message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: (d / "state.json").write_text("{", encoding="utf-8"), r"state.json: cannot be read"),
        (lambda d: (d / "data-00001-of-00002.arrow").unlink(), r"data-00001-of-00002.arrow: cannot be read"),
        (
            lambda d: (d / "data-00000-of-00002.arrow").write_bytes(b"ARROW1"),
            r"data-00000-of-00002.arrow: cannot be read",
        ),
        (lambda d: write_columns(d, {"token_ids": [[1, 2]]}), r"no column chord_ids; there are token_ids"),
        (lambda d: write_columns(d, {"token_ids": [["a"]], "chord_ids": [[1]]}), r"not a row of whole numbers"),
        (lambda d: write_columns(d, {"token_ids": [None], "chord_ids": [[1]]}), r"not a row of whole numbers"),
    ],
)
def test_other_arrow_folders_are_refused_in_one_line_and_nothing_is_written(
    heard, tmp_path, monkeypatch, capsys, change, message
):
    data = write_arrow(tmp_path / "v121", [encoded(one) for one in heard[:2]])
    change(data)
    refused(monkeypatch, capsys, data, tmp_path / "songs", message)


def write_columns(folder: Path, columns: dict) -> None:
    table = pa.table(columns)
    with (
        pa.OSFile(str(folder / "data-00000-of-00002.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def test_a_folder_that_exists_or_does_not_is_said_first(heard, tmp_path):
    data = write_arrow(tmp_path / "v121", [encoded(heard[0])])
    with pytest.raises(InputError, match="exists already"):
        v121.import_songs(v121.arrow_batches(data), data, data, ONE)


def refused(monkeypatch, capsys, data: Path, out: Path, message: str) -> None:
    before = sorted(out.parent.iterdir())
    assert run(monkeypatch, "import-shards", data, out, "--workers", 1) == 2
    said, error = capsys.readouterr()
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "code from the file ran" not in said
    assert re.search(message, error), error
    assert sorted(out.parent.iterdir()) == before
