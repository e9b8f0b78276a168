"""What a dataset keeps beside a song's tokens: the file's own tempo map, and what reading it changed. And datasets of
the vocabulary of before.
"""

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs import CheckConfig, PrepareConfig
from jax_impl.cli import songs as verbs
from tests.scores import score_of
from tests.tokenizer.test_damage import TRAIN, flip, place_of, song
from tests.tokenizer.test_dataset import edit
from tokenizer import vocabulary as vocab
from tokenizer.dataset.audit import audit
from tokenizer.dataset.files import MANIFEST, DatasetError, write_manifest
from tokenizer.dataset.merge import merge
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.repair import repair
from tokenizer.dataset.shards import Damaged, write_batch
from tokenizer.dataset.songs import Dataset, StoredSong, record_batch, to_row
from tokenizer.grid.quantize import layout_of
from tokenizer.grid.tempo_map import SLOWEST, own_tempos, seconds_at
from tokenizer.music import midi
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode

pytestmark = pytest.mark.usefixtures("no_pictures")
TOLD = {"notes": 12, "repairs": ["clipped 3 data bytes in track 2"], "where": "é"}


def at_its_tempi(seed: int):
    """A fermata: a beat of 20 BPM between 120 and 301 BPM, which no token says."""
    return replace(song(seed), tempos=score_of(tempos=[(0, 120), (960, 20), (1440, 301 + seed)]).tempos)


def row_of(seed: int) -> StoredSong:
    score = at_its_tempi(seed)
    return to_row(encode(score), f"{seed}.mid", own_tempos(score, layout_of(score)), json.dumps(TOLD))


def written(folder: Path, rows: list[StoredSong], config: PrepareConfig | None = None) -> Path:
    """A dataset that validates with the last of the rows."""
    folder.mkdir()
    parts = {"train": rows[:-1], "validation": rows[-1:]}
    splits = {name: [write_batch(folder, f"{name}-00000.arrow", record_batch(part))] for name, part in parts.items()}
    write_manifest(folder, splits, [], config or PrepareConfig(workers=1), "test")
    return folder


@pytest.fixture
def dataset(tmp_path) -> Path:
    return written(tmp_path / "songs", [row_of(seed) for seed in range(3)])


def test_a_song_keeps_its_tempo_map_its_seconds_and_what_is_told(dataset):
    songs = Dataset(dataset)["train"]
    for index in range(len(songs)):
        score = at_its_tempi(int(songs.source(index)[0]))
        assert songs.tempos(index) == score.tempos and songs.told(index) == TOLD
        # To the end of the second bar: 2 beats of 120 BPM, one of 20, five of the last tempo.
        seconds = 2 * 0.5 + 3 + 5 * score.tempos[2].microseconds_per_beat / 1e6
        assert songs.value("seconds", index) == pytest.approx(seconds, rel=1e-6)
    assert songs.tempos(-1) == songs.tempos(len(songs) - 1)
    assert audit(dataset, 1) == []


def test_decode_writes_a_song_at_the_tempi_of_its_file(dataset, tmp_path):
    assert verbs.decode(dataset, 0, str(tmp_path / "x.mid")) == 0
    score, songs = midi.read(tmp_path / "x.mid"), Dataset(dataset)["train"]
    assert score.tempos == songs.tempos(0) == at_its_tempi(int(songs.source(0)[0])).tempos
    assert score.tracks == decode(songs[0].ids).tracks
    last = max(int((t.notes["onset_ticks"] + t.notes["duration_ticks"]).max()) for t in score.tracks)
    source = at_its_tempi(int(songs.source(0)[0]))
    assert seconds_at(score.tempos, 480, last) == pytest.approx(seconds_at(source.tempos, 480, last), rel=1e-9)


def test_a_song_of_which_no_tempo_map_is_known_decodes_to_its_tokens(tmp_path):
    folder = written(tmp_path / "songs", [to_row(encode(song(seed)), f"{seed}.mid") for seed in range(2)])
    songs = Dataset(folder)["train"]
    assert songs.tempos(0) == () and songs.told(0) == {}
    assert verbs.decode(folder, 0, str(tmp_path / "x.mid")) == 0
    assert midi.read(tmp_path / "x.mid") == decode(songs[0].ids)


# ---------------------------------------------------------------- digests and damage


def test_the_digest_of_a_row_counts_what_is_beside_its_tokens_only_where_there_is_any():
    row = row_of(0)
    without = replace(row, tempo_ticks=np.zeros(0, int), tempo_microseconds=np.zeros(0, int), told="")
    told = row.told.encode()
    content = struct.pack("<3I", 3, 3, len(told)) + np.array([0, 960, 1440], "<i4").tobytes()
    content += np.array([500_000, 3_000_000, round(60e6 / 301)], "<i4").tobytes() + told
    digests = record_batch([without, row]).column("digest").to_pylist()
    assert digests[1] == zlib.crc32(content, digests[0])


@pytest.mark.parametrize("column", ["tempo_ticks", "tempo_microseconds", "told"])
def test_a_song_whose_tempo_map_changed_is_named_and_not_kept(dataset, column):
    if column == "told":
        flip(dataset / TRAIN, (dataset / TRAIN).read_bytes().index(b"clipped 3 data"))
    else:
        flip(dataset / TRAIN, place_of(dataset, column) + 4)
    songs = Dataset(dataset)["train"]
    for read in (songs.tempos, songs.told, songs.__getitem__):
        with pytest.raises(DatasetError, match=rf"{TRAIN} row 0 \(.\.mid\): damaged .*--repair"):
            read(0)
    assert [(f.row, f.mendable) for f in audit(dataset, 1) if f.row is not None] == [(0, False)]


IMPOSSIBLE = {
    "out of order": ([0, 960, 900], [1, 2, 3], "its tempo map is out of order"),
    "late": ([1, 960], [1, 2], "its tempo map is out of order, or does not begin at 0"),
    "no time": ([0, 960], [1, 0], f"does not last 1 to {SLOWEST} microseconds"),
    "too slow": ([0, 960], [1, SLOWEST + 1], f"does not last 1 to {SLOWEST} microseconds"),
    "uneven": ([0, 960], [1], "its tempo map has 2 places and 1 tempi"),
}


@pytest.mark.parametrize(("ticks", "lengths", "problem"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_tempo_map_that_cannot_be_is_found_and_left_out_by_a_repair(tmp_path, ticks, lengths, problem):
    wrong = replace(row_of(1), tempo_ticks=np.array(ticks), tempo_microseconds=np.array(lengths))
    folder = written(tmp_path / "songs", [row_of(0), wrong, row_of(2)])
    findings = audit(folder, 1)
    assert [(f.row, f.mendable) for f in findings if f.row is not None] == [(1, True)]
    assert problem in findings[-1].problem
    assert repair(folder, workers=1).missing == [] and audit(folder, 1) == []
    assert kept_by_source(folder) == {
        "0.mid": (at_its_tempi(0).tempos, TOLD),
        "1.mid": ((), TOLD),
        "2.mid": (at_its_tempi(2).tempos, TOLD),
    }


def kept_by_source(folder: Path) -> dict:
    data = Dataset(folder)
    return {
        songs.source(i): (songs.tempos(i), songs.told(i))
        for songs in map(data.__getitem__, data)
        for i in range(len(songs))
    }


@pytest.mark.parametrize("told", ["[]", "{", "1"])
def test_what_is_told_is_a_json_object(tmp_path, told):
    folder = written(tmp_path / "songs", [replace(row_of(0), told=told), row_of(1), row_of(2)])
    assert [(f.row, f.mendable) for f in audit(folder, 1)] == [(0, True)]
    assert "what it tells is no JSON" in audit(folder, 1)[0].problem
    with pytest.raises(Damaged, match=rf"{TRAIN} row 0 \(0\.mid\): what it tells is no JSON"):
        Dataset(folder)["train"].told(0)
    repair(folder, workers=1)
    assert kept_by_source(folder)["0.mid"] == (at_its_tempi(0).tempos, {})


# ---------------------------------------------------------------- datasets of before


@pytest.mark.parametrize("made_by", ["prepare", "merge"])
def test_a_dataset_of_the_vocabulary_of_before_is_refused_by_every_verb_in_a_line(tmp_path, capsys, made_by):
    """It says what to do, and leaves the folder as it is."""
    (tmp_path / "midi").mkdir()
    for seed in range(3):
        midi.write(song(seed), tmp_path / "midi" / f"{seed}.mid")
    folder, now = tmp_path / "before", written(tmp_path / "now", [row_of(seed) for seed in range(2)])
    prepare([tmp_path / "midi"], folder, PrepareConfig(workers=1))
    joined = {} if made_by == "prepare" else {"inputs": None}
    edit(folder, vocabulary=vocab.V121_FINGERPRINT, format=3, tokenizer_version="3.0", **joined)
    there = {path.name: path.read_bytes() for path in folder.iterdir()}
    told = "from before the fine grid; " + (
        "it was joined, imported or repaired" if joined else "prepare it again with"
    )
    for work in (
        lambda: Dataset(folder),
        lambda: repair(folder, workers=1),
        lambda: merge([now, folder], tmp_path / "both", workers=1),
        lambda: merge([folder, now], tmp_path / "both", workers=1),
        lambda: prepare([tmp_path / "midi"], folder, PrepareConfig(workers=1)),
        lambda: verbs.decode(folder, 0, str(tmp_path / "x.mid")),
        lambda: audit(folder, 1),
    ):
        with pytest.raises(DatasetError, match=f"{MANIFEST}: tokens of another vocabulary, {told}") as caught:
            work()
        assert "\n" not in str(caught.value) and "--overwrite" in str(caught.value)
    capsys.readouterr()
    assert verbs.check((folder,), CheckConfig(), workers=1, repair=True) == 1
    assert told in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before", "midi", "now"]
    prepare([tmp_path / "midi"], folder, PrepareConfig(workers=1, overwrite=True))
    assert audit(folder, 1) == [] and (tmp_path / "before.old").is_dir()
