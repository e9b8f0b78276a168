"""One writer a folder: the second is told who the first is, and a dead one holds nothing."""

import errno
import fcntl
import subprocess
import sys

import pytest

from tests import ROOT
from tokenizer.disk import lock
from tokenizer.disk.atomic import WriteError
from tokenizer.disk.lock import Busy, only_writer

HOLDER = """
import sys
from pathlib import Path
from tokenizer.disk.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_the_first_is_until_it_dies(tmp_path):
    program = [sys.executable, "-c", HOLDER, str(tmp_path), "an argument"]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"holds\n"
        told = pytest.raises(Busy, match=rf"process {holder.pid} on .* 'an argument'\) writes there")
        with told, only_writer(tmp_path):
            pass
        holder.kill()
    with only_writer(tmp_path), pytest.raises(Busy), only_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


WINDOWS = """
import fcntl, os
from tokenizer.disk import lock
class Msvcrt:
    LK_NBLCK = 2
    def locking(file, mode, count):
        assert os.lseek(file, 0, os.SEEK_CUR) > os.fstat(file).st_size, "others could not read what is locked"
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, count, 0, 1)
lock.fcntl, lock.msvcrt = None, Msvcrt
"""


def test_windows_locks_a_byte_where_it_hides_nothing(tmp_path, monkeypatch):
    """With the same of this system: a byte of the file, from where it stands, for a process."""
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", None)
    exec(WINDOWS, {})
    program = [sys.executable, "-c", WINDOWS + HOLDER, str(tmp_path)]
    with subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"holds\n"
        with pytest.raises(Busy, match=rf"process {holder.pid} on .* writes there"), only_writer(tmp_path):
            pass
        holder.kill()
    with only_writer(tmp_path):
        assert (tmp_path / lock.LOCK).stat().st_size < lock.FAR
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "fcntl", None)
    with only_writer(tmp_path):
        assert "no locks (neither fcntl nor msvcrt here); see to it" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_holder_has_just_removed_holds_nobody(tmp_path, monkeypatch):
    """Opened before the one before removed it: another may have made a new one meanwhile."""
    real, taken = fcntl.flock, []

    def flock(file, how):
        real(file, how)
        if not taken:
            taken.append(file)
            (tmp_path / lock.LOCK).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with only_writer(tmp_path):
        assert (tmp_path / lock.LOCK).exists()
        with pytest.raises(Busy), only_writer(tmp_path):
            pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with only_writer(tmp_path):
        assert "this file system has no locks (No locks available); see to it" in capsys.readouterr().err


def test_locks_that_other_hosts_do_not_see_are_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lock, "_local_only", lambda path: "local_lock=all")
    with only_writer(tmp_path):
        assert "known to this host alone (mount option local_lock=all)" in capsys.readouterr().err
    monkeypatch.undo()
    with only_writer(tmp_path):
        assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WriteError, match="nowhere: cannot be written"), only_writer(tmp_path / "nowhere"):
        pass
