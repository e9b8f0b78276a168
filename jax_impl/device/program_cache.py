"""Compiled programs, kept from one process to the next: XLA compiles each once in a life.

JAX asks `Folder` for a program by a key, which it makes of the program itself, of all options and of the versions of
compiler and device: no program that has changed has the key of another. JAX's own store of this kind writes entries in
place: one that a killed process or a full disk cut short is met again at every start, and never replaced. Here an entry
is whole, with its digest, or not there; whatever goes wrong costs a compilation and nothing else.

The command line asks for it (jax_impl.cli.process); importing this changes nothing.
"""

import hashlib
import os
import platform
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jax
from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

from configs import InputError
from jax_impl.device.cache_folder import OTHERWISE, VARIABLE, kept
from tokenizer.disk.atomic import FULL

JAX_VARIABLE = "JAX_COMPILATION_CACHE_DIR"  # who sets it wants JAX's own store
LIMIT = 1 << 30  # bytes of all entries; those that were used least lately go first
ENTRY, UNFINISHED = ".program", ".unfinished"
ABANDONED_SECONDS = 3600.0  # no write takes so long: whoever began it was killed
DIGEST_BYTES = hashlib.sha256().digest_size


def folder() -> Path | None:
    """Where programs are kept: in the folder that HID_CACHE names, or in the user's cache folder; None: nowhere. Raises
    InputError where HID_CACHE names nobody's home.
    """
    found = kept()
    if found is None:
        return None
    return found.folder if found.is_named else found.folder / "programs"


def keep() -> Path | None:
    """From here on JAX keeps what it compiles, and asks there first. Returns where, None where nothing is kept, or, as
    HID_CACHE says nothing, JAX keeps it as its own variable says. A folder that may only be read is read. Raises
    InputError where HID_CACHE names none and none can be made.
    """
    is_named = bool(os.environ.get(VARIABLE, "").strip())
    if (os.environ.get(JAX_VARIABLE) and not is_named) or (where := folder()) is None:
        return None
    try:
        where.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds machine code that will be run
    except OSError as error:
        if not is_named or error.errno in FULL:
            return None
        raise InputError(f"{VARIABLE} {where}: cannot be made ({error.strerror}); {OTHERWISE}") from error
    jax.config.update("jax_compilation_cache_dir", str(where))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # folders of XLA's that nobody prunes
    compilation_cache.reset_cache()
    compilation_cache._cache, compilation_cache._cache_initialized = Folder(where), True
    return where


def current() -> "Folder | None":
    """Where this process keeps programs."""
    return compilation_cache._cache if isinstance(compilation_cache._cache, Folder) else None


class Folder(CacheInterface):
    """Entries by key, each a file: sha256 of its name and content, content. Any number of processes may use it at once.
    Those of other users, who might have them do anything, are not read.
    """

    def __init__(self, path: Path, limit: int = LIMIT):
        self._path, self._limit, self._machine = path, limit, _machine()
        self._passed_by = threading.local()

    @contextmanager
    def passed_by(self) -> Iterator[None]:
        """What this thread compiles in here is neither looked for nor kept."""
        self._passed_by.now = True
        try:
            yield
        finally:
            self._passed_by.now = False

    def get(self, key: str) -> bytes | None:
        """None where it is not there, or not whole."""
        if getattr(self._passed_by, "now", False):
            return None
        entry = self._entry(key)
        try:
            with entry.open("rb") as file:
                if not _is_trusted(os.fstat(file.fileno())):
                    return None
                digest, program = file.read(DIGEST_BYTES), file.read()
        except OSError:
            return None
        if digest != _digest(entry, program):
            with suppress(OSError):
                entry.unlink()
            return None
        with suppress(OSError):
            os.utime(entry)  # used now
        return program

    def put(self, key: str, value: bytes) -> None:
        """What cannot be written is not kept."""
        if getattr(self._passed_by, "now", False) or DIGEST_BYTES + len(value) > self._limit:
            return
        entry = self._entry(key)
        with suppress(OSError):
            self._prune(DIGEST_BYTES + len(value))
            handle, name = tempfile.mkstemp(suffix=UNFINISHED, dir=self._path)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_digest(entry, value) + value)
                os.replace(name, entry)
            except BaseException:
                os.unlink(name)
                raise

    def _entry(self, key: str) -> Path:
        """Its name begins with that of the program, for people; the rest is of the key and of the machine."""
        name = re.sub(r"\W", "", key.rpartition("-")[0])[:40]
        return self._path / f"{name}-{hashlib.sha256(f'{key} {self._machine}'.encode()).hexdigest()[:40]}{ENTRY}"

    def _prune(self, more: int) -> None:
        """Makes room for so many bytes more."""
        found = []
        for file in self._path.iterdir():
            with suppress(OSError):  # another process was faster
                stat = file.stat()
                if file.suffix == ENTRY:
                    found.append((stat.st_mtime, stat.st_size, file))
                elif file.suffix == UNFINISHED and time.time() - stat.st_mtime > ABANDONED_SECONDS:
                    file.unlink()
        total = more + sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= self._limit:
                return
            with suppress(OSError):
                file.unlink()
            total -= size


def _digest(entry: Path, program: bytes) -> bytes:
    return hashlib.sha256(entry.name.encode() + program).digest()


def _is_trusted(stat: os.stat_result) -> bool:
    """Whether a file is this user's or the system's; some systems know no users."""
    return not hasattr(os, "getuid") or stat.st_uid in (os.getuid(), 0)


def _machine() -> str:
    """What code for this processor may not run on another: a home may be shared by machines of several kinds."""
    features = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {features}"
