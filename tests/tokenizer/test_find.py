"""Which files are read: each once, through links too, and nothing that the program itself put there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import InputError, PrepareConfig
from tests import ROOT
from tests.tokenizer.test_prepare import short
from tokenizer.dataset.files import read_rejected
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset
from tokenizer.music import midi

ONE_WORKER = PrepareConfig(workers=1)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("tokenizer.dataset.report.draw", lambda report, lengths, path: path.write_bytes(b"PNG"))


def tree(folder: Path, *files: str, **links: str) -> Path:
    """Songs of these names, and links from the names to places in the folder."""
    for number, name in enumerate(files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        midi.write(short(number), folder / name)
    for name, place in links.items():
        (folder / name.replace("__", "/")).symlink_to(folder / place)
    return folder


def test_links_to_folders_are_followed_once_each_and_real_folders_first(tmp_path):
    tree(
        tmp_path,
        "midi/z/own.mid",
        "else/far.mid",
        "else/deep/deeper.mid",
        midi__a="midi/z",
        midi__b="else",
        midi__c="else",
    )
    files, unread = find_midi([tmp_path / "midi"])
    assert [source for source, _ in files] == ["midi/b/deep/deeper.mid", "midi/b/far.mid", "midi/z/own.mid"]
    assert unread == [
        {"source": "midi/a", "reason": "a folder that is read already: midi/z"},
        {"source": "midi/c", "reason": "a folder that is read already: midi/b"},
    ]


def test_loops_end_and_are_told(tmp_path):
    tree(tmp_path, "midi/in/one.mid", "else/two.mid", midi__in__up="midi", midi__out="else", else__back="midi/in")
    prepare([tmp_path / "midi"], tmp_path / "songs", ONE_WORKER)
    assert list(read_rejected(tmp_path / "songs")) == [
        {"source": "midi/in/up", "reason": "a folder that is read already: midi"},
        {"source": "midi/out/back", "reason": "a folder that is read already: midi/in"},
    ]
    data = Dataset(tmp_path / "songs")
    assert {data[split].source(0) for split in ("train", "validation")} == {"midi/in/one.mid", "midi/out/two.mid"}


def test_a_folder_given_twice_by_two_ways_is_read_once(tmp_path):
    tree(tmp_path, "midi/in/one.mid", "midi/two.mid")
    files, unread = find_midi([tmp_path / "midi" / "in", tmp_path / "midi"])
    assert [source for source, _ in files] == ["midi/in/one.mid", "midi/two.mid"]
    assert unread == [{"source": "in", "reason": "a folder that is read already: midi/in"}]


def test_the_folder_of_the_dataset_is_no_input(tmp_path):
    tree(tmp_path, "midi/one.mid", "midi/two.mid")
    out = tmp_path / "midi" / "songs"
    prepare([tmp_path / "midi"], out, ONE_WORKER)
    midi.write(short(7), out / "decoded.mid")
    (tmp_path / "midi" / "songs.partial").mkdir()
    midi.write(short(8), tmp_path / "midi" / "songs.partial" / "mine.mid")
    prepare([tmp_path / "midi"], out, ONE_WORKER)  # complete, since nothing else is found
    assert sum(len(Dataset(out)[split]) for split in ("train", "validation")) == 2


def test_what_lies_in_the_folder_for_unfinished_work_stays(tmp_path):
    tree(tmp_path, "midi/one.mid")
    (tmp_path / "songs.partial").mkdir()
    (tmp_path / "songs.partial" / "mine.txt").write_text("mine", encoding="utf-8")
    prepare([tmp_path / "midi"], tmp_path / "songs", ONE_WORKER)
    assert [path.name for path in (tmp_path / "songs.partial").iterdir()] == ["mine.txt"]


PROGRAM = """
import os, sys
from pathlib import Path
from configs import PrepareConfig
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset
prepare([Path(sys.argv[1])], Path(sys.argv[2]), PrepareConfig(workers=1))
Dataset(Path(sys.argv[2]))
print(sorted(os.listdir(".")))
"""


@pytest.mark.parametrize("out", [".", "../here", "../here/", "in side/", "./é", "../link"])
def test_a_path_is_where_it_leads_to_however_it_is_written(tmp_path, out):
    tree(tmp_path, "midi/one.mid", "midi/two.mid")
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    command = [sys.executable, "-c", PROGRAM, "../midi", out]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "midi"]
    assert done.stdout.startswith(f"{Path(out)}: 1 song to train on")
    assert "manifest.json" in done.stdout or len(list(here.iterdir())) == 1, "who stood there still does"
    assert len(list(tmp_path.rglob("manifest.json"))) == 1


def test_a_folder_that_a_killed_run_was_filling_is_filled(tmp_path, monkeypatch):
    tree(tmp_path, "midi/one.mid", "midi/two.mid")
    (tmp_path / "songs").mkdir()
    replace = os.replace

    def killed(source, target):
        if target == tmp_path / "songs" / "manifest.json":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare([tmp_path / "midi"], tmp_path / "songs", ONE_WORKER)
    assert "train-00000.arrow" in {path.name for path in (tmp_path / "songs").iterdir()}
    prepare([tmp_path / "midi"], tmp_path / "songs", ONE_WORKER)
    assert len(Dataset(tmp_path / "songs")["train"]) == 1
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").touch()
    with pytest.raises(InputError, match="exists already"):
        prepare([tmp_path / "midi"], tmp_path / "other", ONE_WORKER)
