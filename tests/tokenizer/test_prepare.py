"""prepare at scale: killed and gone on with, on several machines, in constant memory, with limits,
and over odd folders.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from configs import InputError, PrepareConfig
from tests import ROOT
from tests.scores import score_of
from tests.tokenizer.kill_prepare import kill_again_and_again
from tokenizer.dataset import prepare
from tokenizer.dataset.files import DatasetError, read_rejected
from tokenizer.dataset.filters import reason_to_reject
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.gather import count_validation, work_folder
from tokenizer.dataset.merge import merge
from tokenizer.dataset.songs import Dataset
from tokenizer.dataset.workers import run
from tokenizer.disk.lock import Busy
from tokenizer.grid.quantize import quantize
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import Score, Tempo, Track

ONE_WORKER = PrepareConfig(workers=1, songs_per_shard=8)


def transposed(score: Score, semitones: int) -> Score:
    tracks = []
    for track in score.tracks:
        notes = track.notes.copy()
        notes["pitch"] += semitones if track.program < 128 else 0
        tracks.append(Track(track.program, notes))
    return Score(score.ticks_per_beat, tuple(tracks), score.tempos, score.signatures)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 songs, three copies of one, two in another key, and what is no song."""
    folder = tmp_path_factory.mktemp("midi")
    for seed in range(40):
        midi.write(compose(seed), folder / f"song {seed:02}.mid")
    for name in ("a copy.mid", "song 05 copy.mid", "z copy.mid"):
        midi.write(compose(5), folder / name)
    with (folder / "z copy.mid").open("ab") as file:
        file.write(b"trailing bytes, so that another machine may have it")
    midi.write(transposed(compose(7), 3), folder / "in another key.mid")
    midi.write(transposed(compose(8), -2), folder / "another key.mid")
    (folder / "empty.mid").touch()
    (folder / "text.mid").write_text("no music", encoding="utf-8")
    (folder / "broken link.mid").symlink_to(folder / "nowhere")
    return folder


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "songs"
    prepare.prepare([folder], out, ONE_WORKER)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---------------------------------------------------------------- killed


def test_a_run_killed_again_and_again_makes_the_same_bytes(folder, whole, tmp_path):
    assert kill_again_and_again(folder, tmp_path / "songs", times=3) >= 2
    assert contents(tmp_path / "songs") == contents(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["songs"]


def test_going_on_repeats_only_the_block_that_was_not_finished(folder, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "BLOCK_FILES", 8)
    done, tokenize = [], prepare.tokenize

    def stop_after_20(path, source, config):
        if len(done) == 20:
            raise KeyboardInterrupt
        done.append(source)
        return tokenize(path, source, config)

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "tokenize", stop_after_20)
        with pytest.raises(KeyboardInterrupt):
            prepare.prepare([folder], tmp_path / "songs", ONE_WORKER)
    again = []
    monkeypatch.setattr(
        prepare, "tokenize", lambda path, source, config: (again.append(source), tokenize(path, source, config))[1]
    )
    prepare.prepare([folder], tmp_path / "songs", ONE_WORKER)
    assert len(set(done) & set(again)) == 4 and len(again) == 48 - 16
    assert contents(tmp_path / "songs") == contents(whole)


def test_a_file_that_changed_meanwhile_is_read_again(tmp_path):
    (tmp_path / "midi").mkdir()
    for seed in range(3):
        midi.write(compose(seed), tmp_path / "midi" / f"{seed}.mid")
    with pytest.raises(ZeroDivisionError), work_folder(tmp_path / "songs") as work:
        prepare.tokenize_all(find_midi([tmp_path / "midi"])[0], work / "blocks", ONE_WORKER)
        raise ZeroDivisionError
    midi.write(compose(9), tmp_path / "midi" / "1.mid")
    prepare.prepare([tmp_path / "midi"], tmp_path / "songs", ONE_WORKER)
    prepare.prepare([tmp_path / "midi"], tmp_path / "fresh", ONE_WORKER)
    assert contents(tmp_path / "songs") == contents(tmp_path / "fresh")


def test_two_runs_do_not_write_one_dataset(tmp_path, folder):
    with work_folder(tmp_path / "songs") as work:
        with pytest.raises(Busy, match=r"process \d+ on .* writes there"):
            prepare.prepare([folder], tmp_path / "songs", ONE_WORKER)
        assert (work / "blocks").is_dir(), "the second one touches nothing"
    assert not work.exists()


def test_ctrl_c_is_for_the_one_who_waits_for_workers_not_for_them():
    masks = list(run(partial(signal.pthread_sigmask, signal.SIG_BLOCK), [(), ()], workers=2, engine="local"))
    assert len(masks) == 2 and all(signal.SIGINT in mask for mask in masks)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


# ---------------------------------------------------------------- several machines


def test_shards_of_three_machines_merge_to_the_bytes_of_one(folder, whole, tmp_path):
    for number in (1, 2, 3):
        prepare.prepare(
            [folder], tmp_path / str(number), PrepareConfig(workers=1, songs_per_shard=8, shard=f"{number}/3")
        )
    merge([tmp_path / name for name in "312"], tmp_path / "songs", workers=1)
    assert contents(tmp_path / "songs") == contents(whole)
    with pytest.raises(InputError, match="each of 1/3 to 3/3 once"):
        merge([tmp_path / "1", tmp_path / "3"], tmp_path / "other", workers=1)
    with pytest.raises(InputError, match=r"the shards 1/1, 1/3; merge takes each of 1/3 to 3/3 once"):
        merge([tmp_path / "1", whole], tmp_path / "other", workers=1)
    with pytest.raises(InputError, match="min-bars 0 there, 4 here"):
        merge(
            [tmp_path / "1", prepared(folder, tmp_path / "2 again", shard="2/3", min_bars=4)],
            tmp_path / "other",
            workers=1,
        )
    (tmp_path / "2" / "train-00000.arrow").write_bytes(b"short")
    with pytest.raises(DatasetError, match=r"2.train-00000\.arrow: 5 bytes"):
        merge([tmp_path / name for name in "123"], tmp_path / "other", workers=1)


# ---------------------------------------------------------------- done already


def test_a_finished_prepare_given_again_does_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "midi").mkdir()
    for seed in range(3):
        midi.write(short(seed), tmp_path / "midi" / f"{seed}.mid")
    (tmp_path / "midi" / "broken link.mid").symlink_to(tmp_path / "nowhere")
    out = prepared(tmp_path / "midi", tmp_path / "songs")
    before = contents(out)
    capsys.readouterr()
    os.utime(tmp_path / "midi" / "0.mid", (1, 1))
    shutil.copytree(out, tmp_path / "songs.partial" / "blocks")  # killed in its last moment
    with monkeypatch.context() as patched:
        patched.setattr(prepare, "tokenize", None)
        prepared(tmp_path / "midi", out)
    assert not (tmp_path / "songs.partial").exists()
    assert capsys.readouterr().out == f"{out}: already complete; for other songs or settings name another folder\n"
    for changes, message in (
        ({"min_bars": 1}, "made with other settings (min-bars 0 there, 1 here)"),
        ({"shard": "1/2"}, "made with other settings (shard 1/1 there, 1/2 here)"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            prepared(tmp_path / "midi", out, **changes)
    midi.write(short(9), tmp_path / "midi" / "1.mid")
    with pytest.raises(InputError, match="made of other files"):
        prepared(tmp_path / "midi", out)
    midi.write(short(1), tmp_path / "midi" / "1.mid")
    prepared(tmp_path / "midi", out)
    os.rename(tmp_path / "midi" / "1.mid", tmp_path / "midi" / "another name.mid")
    with pytest.raises(InputError, match="made of other files"):
        prepared(tmp_path / "midi", out)
    assert contents(out) == before


def short(seed: int) -> Score:
    notes = [(240 * i, 240, 60 + (7 * seed + i * i) % 13, 80) for i in range(9)]
    return score_of((seed, notes))


def prepared(folder: Path, out: Path, **changes) -> Path:
    prepare.prepare([folder], out, PrepareConfig(**{"workers": 1, "songs_per_shard": 8} | changes))
    return out


ON_RAY = """
import sys
from pathlib import Path
import ray
from configs import PrepareConfig
from tokenizer.dataset import prepare

prepare.BLOCK_FILES = 8  # several tasks for two workers
prepare.tokenize = None  # of this process; theirs are whole
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100 << 20)
prepare.prepare([Path(sys.argv[1])], Path(sys.argv[2]), PrepareConfig(songs_per_shard=8, engine="ray"))
"""


def test_a_ray_cluster_makes_the_same_bytes(folder, whole, tmp_path):
    """In a process of its own: Ray forks, which one that has loaded JAX should not."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}  # nothing is sent anywhere
    command = [sys.executable, "-c", ON_RAY, str(folder), str(tmp_path / "songs")]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    assert contents(tmp_path / "songs") == contents(whole)


# ---------------------------------------------------------------- what is kept


def test_duplicates_are_dropped_and_say_of_what(folder, whole, tmp_path):
    reasons = {Path(entry["source"]).name: entry["reason"] for entry in read_rejected(whole)}
    assert set(reasons) == {"song 05.mid", "song 05 copy.mid", "z copy.mid", "empty.mid", "text.mid", "broken link.mid"}
    assert all(reasons[name].endswith("/a copy.mid") for name in ("song 05.mid", "song 05 copy.mid", "z copy.mid"))
    assert Dataset(whole).manifest["rejected"]["duplicate"] == 3
    keyless = {
        Path(e["source"]).name for e in read_rejected(prepared(folder, tmp_path / "songs", duplicates="transposed"))
    }
    assert keyless == {*reasons, "song 07.mid", "song 08.mid"}


def test_a_song_is_never_in_another_split_than_in_another_key(folder, tmp_path):
    for fraction in (0.3, 0.7):
        data = Dataset(prepared(folder, tmp_path / str(fraction), validation_fraction=fraction))
        assert not set(data["train"].column("family")) & set(data["validation"].column("family"))


def test_the_share_for_validation_counts_families():
    import numpy as np

    quarter = 1 << 62
    families = np.array([1, quarter - 1, quarter - 1, quarter + 1, 3 * quarter], np.uint64)
    assert [count_validation(families, fraction) for fraction in (0, 1e-9, 0.25, 0.26, 0.5)] == [0, 1, 3, 4, 4]
    assert count_validation(np.array([quarter - 1, quarter - 1, 3 * quarter], np.uint64), 1e-9) == 2, (
        "a family stays together"
    )


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ({}, None),
        ({"min_bars": 5}, "few bars: 4, --min-bars 5"),
        ({"max_bars": 3}, "many bars: 4, --max-bars 3"),
        ({"min_notes": 6}, "few notes: 5, --min-notes 6"),
        ({"max_notes": 4}, "many notes: 5, --max-notes 4"),
        ({"min_pitches": 5}, "few pitches: 4, --min-pitches 5"),
        ({"min_seconds": 9}, "few seconds: 7.8, --min-seconds 9.0"),
        ({"max_seconds": 7.5}, "many seconds: 7.8, --max-seconds 7.5"),
        ({"max_silent_bars": 0}, None),
        ({"max_crossing": 0.3}, "many notes cross bars: 0.40, --max-crossing 0.3"),
        (
            {
                "max_crossing": 0.4,
                "min_bars": 4,
                "max_bars": 4,
                "min_notes": 5,
                "max_notes": 5,
                "min_pitches": 4,
                "max_seconds": 8,
            },
            None,
        ),
    ],
)
def test_a_song_outside_a_limit_is_left_out_with_the_limit_s_name(limit, reason):
    bar = 1920
    notes = [
        (0, bar, 60, 80),
        (bar, bar + 480, 62, 80),
        (2 * bar, 480, 64, 80),
        (3 * bar, 9 * bar, 65, 80),
        (3 * bar + 480, 480, 60, 80),
    ]
    assert reason_to_reject(quantize(score_of((0, notes))), PrepareConfig(**limit)) == reason


def test_a_song_with_a_long_silence_is_left_out_with_the_limit_s_name():
    song = quantize(score_of((0, [(0, 480, 60, 80), (3001 * 1920, 480, 60, 80)])))
    assert reason_to_reject(song, PrepareConfig(max_silent_bars=3000)) is None
    reason = "many silent-bars: 3000, --max-silent-bars 100"
    assert reason_to_reject(song, PrepareConfig(max_silent_bars=100)) == reason


def test_a_song_lasts_as_long_as_its_own_tempo_makes_it():
    song = quantize(score_of((0, [(0, 4 * 1920, 60, 80), (3 * 1920, 480, 62, 80)])))
    limit = PrepareConfig(min_seconds=15)
    assert reason_to_reject(song, limit, (Tempo(0, 1_000_000),)) is None
    assert reason_to_reject(song, limit, (Tempo(0, 500_000),)) == "few seconds: 8.0, --min-seconds 15.0"


def test_the_report_counts_what_is_there(whole):
    import json

    report = json.loads((whole / "report.json").read_text(encoding="utf-8"))
    data = Dataset(whole)
    assert report["songs"] == sum(len(data[split]) for split in ("train", "validation")) == 42
    assert report["notes"] == sum(int(data[split].column("notes").sum()) for split in ("train", "validation"))
    assert report["duplicates"] == 3 and sum(report["rejected"].values()) == 6
    assert report["share_of_songs_that_fit"]["24576"] == 1 and report["hours"] > 0.3
    assert (whole / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# ---------------------------------------------------------------- odd folders


def test_folders_of_one_name_and_names_that_are_not_unicode_lose_no_file(tmp_path):
    for number, place in enumerate(("a", "b")):
        (tmp_path / place / "midi").mkdir(parents=True)
        midi.write(compose(number), tmp_path / place / "midi" / "song.mid")
    midi.write(compose(2), tmp_path / "odd.mid")
    for number, name in enumerate(("karaoke.KAR", "riff.rmi", "no music.txt")):
        midi.write(compose(3 + number), tmp_path / "b" / "midi" / name)
    os.rename(tmp_path / "odd.mid", os.fsencode(tmp_path / "a" / "midi") + b"/odd \xff.mid")
    files = find_midi([tmp_path / "b" / "midi", tmp_path / "a" / "midi"])[0]
    assert [source for source, _ in files] == [
        *(f"midi-2/{name}" for name in ("karaoke.KAR", "riff.rmi", "song.mid")),
        *("midi/odd \\xff.mid", "midi/song.mid"),
    ]
    prepare.prepare([tmp_path / "a" / "midi", tmp_path / "b" / "midi"], tmp_path / "songs", ONE_WORKER)
    assert sum(len(Dataset(tmp_path / "songs")[split]) for split in ("train", "validation")) == 5


def test_what_cannot_be_read_is_listed_and_waits_for_nothing(tmp_path, monkeypatch):
    (tmp_path / "midi" / "locked").mkdir(parents=True)
    for seed in range(2):
        midi.write(compose(seed), tmp_path / "midi" / f"{seed}.mid")
    os.mkfifo(tmp_path / "midi" / "pipe.mid")
    (tmp_path / "midi" / "loop").symlink_to(tmp_path / "midi")
    (tmp_path / "midi" / "loop.mid").symlink_to(tmp_path / "midi" / "loop.mid")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # tests may run as root, whom no folder refuses
    prepare.prepare([tmp_path / "midi"], tmp_path / "songs", ONE_WORKER)
    reasons = {entry["source"]: entry["reason"] for entry in read_rejected(tmp_path / "songs")}
    assert set(reasons) == {"midi/locked", "midi/pipe.mid", "midi/loop.mid", "midi/loop"}
    assert reasons["midi/locked"] == "cannot be read (Permission denied)" and "not a file" in reasons["midi/pipe.mid"]


def test_an_unfinished_folder_is_no_obstacle_and_no_dataset(folder, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "songs.partial" / "blocks")
    with pytest.raises(DatasetError, match="no such dataset"):
        Dataset(tmp_path / "songs")
    prepare.prepare([folder], tmp_path / "songs", ONE_WORKER)
    assert contents(tmp_path / "songs") == contents(whole)


def test_what_is_in_the_folder_is_moved_aside_when_that_is_said(folder, whole, tmp_path):
    """Never removed; and nothing is moved where the same dataset is there, or where nothing can be made."""
    out = shutil.copytree(whole, tmp_path / "songs")
    again = replace(ONE_WORKER, overwrite=True)
    prepare.prepare([folder], out, again)
    with pytest.raises(InputError, match=r"songs: exists already, made with other settings.*--overwrite"):
        prepare.prepare([folder], out, replace(ONE_WORKER, min_bars=5))
    with pytest.raises(InputError, match="no MIDI file"):
        prepare.prepare([tmp_path / "songs"], tmp_path / "songs", again)
    assert [path.name for path in tmp_path.iterdir()] == ["songs"]
    prepare.prepare([folder], out, replace(again, min_bars=5))
    assert contents(tmp_path / "songs.old") == contents(whole) != contents(out)
    with pytest.raises(InputError, match="is one of the datasets to join"):
        merge([whole, out], out, workers=1, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"mine: exists already; .*--overwrite"):
        prepare.prepare([folder], tmp_path / "mine", ONE_WORKER)
    prepare.prepare([folder], tmp_path / "mine", again)
    assert contents(tmp_path / "mine") == contents(whole)
    assert [path.name for path in (tmp_path / "mine.old").iterdir()] == ["notes.txt"]


def test_a_damaged_dataset_is_not_called_complete(folder, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path / "songs")
    (out / "train-00000.arrow").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"train-00000\.arrow: 0 bytes, the manifest says \d+; .*--repair"):
        prepare.prepare([folder], out, ONE_WORKER)
    prepare.prepare([folder], out, replace(ONE_WORKER, overwrite=True))
    assert contents(out) == contents(whole)


def test_the_root_is_no_place_for_a_dataset(folder):
    with pytest.raises(InputError, match="/: is no place for a dataset"):
        prepare.prepare([folder], Path("/"), ONE_WORKER)


# ---------------------------------------------------------------- the disk


def test_a_disk_that_may_be_too_small_is_told_before_work_and_the_size_after_it(folder, tmp_path, monkeypatch, capsys):
    files, _ = find_midi([folder])
    needed = prepare.DISK_PER_MIDI_BYTE * sum(os.stat(path).st_size for _, path in files if os.path.exists(path))
    said = []
    for free in (needed, needed - 1):
        monkeypatch.setattr(prepare, "disk_free", lambda _, free=free: free)
        said.append(prepare.disk_notice(tmp_path / "songs", files))
    assert said[0] is None and "takes about 3 MB while it is made, and half of it then; the disk has 3 MB" in said[1]


def test_the_size_of_a_dataset_is_told(whole):
    size = sum(path.stat().st_size for path in whole.glob("*.arrow"))
    assert f" tokens, {size / 1e6:.1f} MB (report.json" in prepare.summary(whole, prepare.read_manifest(whole))
