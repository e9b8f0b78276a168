"""One writer a folder: a lock that goes with its process, on network file systems too where they have locks.

Unix locks an open file (fcntl), Windows bytes of one (msvcrt); a system with neither is told of in a notice.
"""

import errno
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from configs import InputError
from tokenizer.disk.atomic import WriteError

try:
    import fcntl
except ImportError:
    fcntl = None
try:
    import msvcrt
except ImportError:
    msvcrt = None

LOCK = ".lock"
FAR = 1 << 30  # place of the byte that Windows locks: others cannot read what is locked, and read who holds the lock
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system without them says
# Mount options under which a lock is known to one host alone
LOCAL_ONLY = {"nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock"}
NETWORK = ("nfs", "lustre", "cifs", "smb", "ceph", "gluster", "fuse", "9p", "beegfs", "gpfs")


class Busy(InputError):
    """A folder that another process writes to; the message says which."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds the folder, which exists, for this process alone; FOLDER/.lock says for whom, and goes at the end.

    Raises Busy, and WriteError where nothing can be written. Where the file system has no locks, or none that other
    hosts see, a notice says so, and there is no lock.
    """
    path = Path(folder) / LOCK
    try:
        file = _locked(path, folder)
    except OSError as error:
        raise WriteError(folder, error) from error
    try:
        yield
    finally:
        if fcntl:
            path.unlink(missing_ok=True)
        os.close(file)
        if not fcntl:  # Windows removes no open file; one that the next process has opened goes with that
            with suppress(OSError):
                path.unlink()


def _locked(path: Path, folder: Path) -> int:
    """The open file that holds the lock."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file)
        except OSError as error:
            if error.errno in NO_LOCKS:
                _warn(f"{folder}: this file system has no locks ({error.strerror})")
                return file
            holder = _holder(file)
            os.close(file)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise Busy(f"{folder}: {holder} writes there; wait for it, or name another folder") from None
        if _is_still(path, file):
            break
        os.close(file)  # the one before removed it after this one had opened it
    if option := _local_only(path):
        _warn(f"{folder}: locks of this file system are known to this host alone (mount option {option})")
    os.ftruncate(file, 0)
    os.write(file, json.dumps(_me(), ensure_ascii=False).encode())
    return file


def _lock(file: int) -> None:
    """Locks an open file for as long as this process has it open. Raises OSError: EAGAIN or EACCES where another one
    has it.
    """
    if fcntl:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif msvcrt:
        os.lseek(file, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(file, 0, os.SEEK_SET)
    else:
        raise OSError(errno.ENOSYS, "neither fcntl nor msvcrt here")


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _me() -> dict:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"process": os.getpid(), "host": socket.gethostname(), "since": since, "command": command}


def _holder(file: int) -> str:
    try:
        who = json.loads(os.read(file, 1 << 16))
        return f"process {who['process']} on {who['host']} (since {who['since']}: {who['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _warn(what: str) -> None:
    print(f"notice: {what}; see to it that no other process writes there", file=sys.stderr)


def _local_only(path: Path) -> str | None:
    """The mount option by which a network file system keeps its locks to one host; Linux says."""
    device = os.stat(path).st_dev
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if mount.split()[2] == f"{os.major(device)}:{os.minor(device)}" and kind.startswith(NETWORK):
            return next((option for option in options.split(",") if option.strip() in LOCAL_ONLY), None)
    return None
