"""What is written is whole or absent, a full disk is named, and nothing is replaced that is not ours."""

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from configs import InputError
from tests import ROOT
from tokenizer.disk.atomic import (
    WriteError,
    atomic,
    atomic_together,
    move_aside,
    refuse_to_replace,
    write_json,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_or_stays_as_it_was(tmp_path):
    path = tmp_path / "a song é.txt"
    write_text(path, "first")
    with pytest.raises(ZeroDivisionError), atomic(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    assert path.read_text(encoding="utf-8") == "first" and names(tmp_path) == [path.name]


@pytest.mark.parametrize("moment", range(4))
def test_several_files_appear_together_or_not_at_all(tmp_path, moment):
    """Where writing any of them fails, none takes its place."""
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        write_text(path, "before")
    error = OSError(errno.ENOSPC, "No space left on device")
    try:
        with atomic_together(paths) as temporaries:
            for number, temporary in enumerate(temporaries):
                if number == moment:
                    raise error
                temporary.write_text("after", encoding="utf-8")
    except WriteError:
        assert moment < 3
    content = {path.read_text(encoding="utf-8") for path in paths}
    assert content == {"after" if moment == 3 else "before"} and names(tmp_path) == ["a", "b", "c"]


def test_a_killed_writer_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "x", "before")
    program = (
        "import os, signal, sys\nfrom tokenizer.disk.atomic import atomic\n"
        "with atomic(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half', encoding='utf-8')\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "x"], cwd=ROOT)
    assert done.returncode == -9 and (tmp_path / "x").read_text(encoding="utf-8") == "before"


def test_a_link_is_followed_not_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "x")
    write_text(tmp_path / "link", "content")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "elsewhere" / "x").read_text(encoding="utf-8") == "content"


def test_a_full_disk_is_named_with_path_and_bytes(tmp_path):
    error = WriteError(tmp_path / "none" / "x", OSError(errno.ENOSPC, "No space left on device"), wanted=1234567)
    assert "x: no space left on the disk: 1,234,567 bytes wanted, " in str(error) and " bytes free; make room" in str(
        error
    )
    with (
        pytest.raises(WriteError, match=r"x.json: no space left on the disk: [\d,]+ bytes free"),
        atomic(tmp_path / "x.json"),
    ):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")


def test_a_full_disk_in_a_worker_is_told_as_one_here(tmp_path):
    error = pickle.loads(pickle.dumps(WriteError(tmp_path / "x", OSError(errno.ENOSPC, "No space left on device"), 7)))
    assert isinstance(error, WriteError) and "x: no space left on the disk: 7 bytes wanted" in str(error)


def test_text_is_utf_8_whatever_the_locale_says(tmp_path):
    program = "import sys\nfrom tokenizer.disk.atomic import write_json\nwrite_json(sys.argv[1], '\\xe9\\u4e2d')"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", program, tmp_path / "x"], cwd=ROOT, env=environment, check=True)
    assert (tmp_path / "x").read_bytes().decode("utf-8") == '"é中"\n'
    write_json(tmp_path / "y", "é中")
    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()


def test_what_is_moved_aside_takes_a_free_name(tmp_path):
    for number in range(3):
        (tmp_path / "songs").mkdir()
        (tmp_path / "songs" / str(number)).touch()
        move_aside(tmp_path / "songs", "old")
    assert {path.name: names(path) for path in tmp_path.iterdir()} == {
        "songs.old": ["0"],
        "songs.old-2": ["1"],
        "songs.old-3": ["2"],
    }


def test_only_a_new_file_or_one_of_ours_is_written(tmp_path):
    song, link = tmp_path / "song.mid", tmp_path / "link.mid"
    refuse_to_replace(song, [song], flag="-o", overwrite=False)
    song.touch()
    link.symlink_to(song)
    with pytest.raises(InputError, match=r"-o .*link.mid: is the file that is read.*--overwrite"):
        refuse_to_replace(link, [None, song], flag="-o", overwrite=False, ours=True)
    with pytest.raises(InputError, match=r"-o .*song.mid: exists already.*--overwrite"):
        refuse_to_replace(song, [], flag="-o", overwrite=False)
    refuse_to_replace(song, [], flag="-o", overwrite=False, ours=True)
    refuse_to_replace(song, [song], flag="-o", overwrite=True)
    with pytest.raises(InputError, match="is a folder"):
        refuse_to_replace(tmp_path, [], flag="-o", overwrite=True)


def test_a_file_within_files_is_named_as_the_user_named_it(tmp_path):
    with (
        pytest.raises(WriteError, match=r"song\.mid: no space left"),
        atomic_together([tmp_path / "song.mid", tmp_path / "song.json"]) as (song, _),
        atomic(song),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
