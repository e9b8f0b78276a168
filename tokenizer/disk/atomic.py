"""How anything is written: whole or not at all, and never in the place of what is not ours without a word."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from configs import InputError

FULL = (errno.ENOSPC, errno.EDQUOT)  # a disk, a quota


class WriteError(InputError):
    """What could not be written; the message names it and says why. What was there before is as it was.

    wanted: bytes, where that is known.
    """

    def __init__(self, path: str | os.PathLike, error: OSError, wanted: int | None = None):
        self.path, self.error, self.wanted = str(path), error, wanted
        why = f"cannot be written ({error.strerror or error})"
        if error.errno in FULL:
            why = f"{disk_full(path, wanted)}; make room and give the same command again"
        super().__init__(f"{path}: {why}")

    def __reduce__(self):  # from a worker process
        return WriteError, (self.path, self.error, self.wanted)


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """A name beside `path` to write a file under; it takes its place at the end, and goes where an error ends it.

    A link is followed: what it leads to is replaced. Raises WriteError.
    """
    with atomic_together([Path(path)]) as (temporary,):
        yield temporary


@contextmanager
def atomic_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Names to write several files under; they take their places, one after another, once all of them are written.

    A name that nothing was written under leaves its path as it is. Raises WriteError.
    """
    places = [Path(os.path.realpath(path)) for path in paths]
    temporaries = [place.with_name(_temporary_name(place.name)) for place in places]
    names = dict(zip(map(str, temporaries), paths, strict=True))
    with ExitStack() as opened:
        for temporary in temporaries:
            opened.callback(_remove, temporary)
        try:
            yield temporaries
            written = [pair for pair in zip(temporaries, places, strict=True) if pair[0].exists()]
            for temporary, _ in written:
                with temporary.open("r+b") as file:  # Windows flushes no file that is open to be read
                    os.fsync(file.fileno())
            for temporary, place in written:
                os.replace(temporary, place)
        except OSError as error:
            raise WriteError(names.get(str(error.filename), paths[0]), error) from error
        except WriteError as error:  # of one that is written under such a name in its turn
            raise WriteError(names.get(error.path, error.path), error.error, error.wanted) from error


def write_text(path: str | os.PathLike, text: str) -> None:
    """A UTF-8 text file, whole or not at all. Raises WriteError."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, values: Any, indent: int | None = None) -> None:
    """Raises WriteError."""
    write_text(path, json.dumps(values, indent=indent, ensure_ascii=False) + "\n")


def disk_full(path: str | os.PathLike, wanted: int | None = None) -> str:
    """ "no space left on the disk: 1,234 bytes wanted, 56 free"."""
    needed = "" if wanted is None else f"{wanted:,} bytes wanted, "
    return f"no space left on the disk: {needed}{disk_free(path):,} bytes free"


def disk_free(path: str | os.PathLike) -> int:
    """Bytes that may be written where a file or folder is, or would be."""
    folder = Path(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder = folder.parent
    return shutil.disk_usage(folder).free


def move_aside(path: Path, suffix: str) -> Path:
    """Renames a file or folder to the first free one of NAME.suffix, NAME.suffix-2, ...; returns its new name."""
    path, number = Path(os.path.abspath(path)), 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{suffix}{'' if number == 1 else f'-{number}'}")):
        number += 1
    os.rename(path, aside)
    return aside


# ---------------------------------------------------------------- whose file it is


def refuse_to_replace(
    path: Path, inputs: Iterable[Path | None] = (), *, flag: str, overwrite: bool, ours: bool = False
) -> None:
    """The one rule of all verbs: an output that is an input, or that exists and that the same verb has not made
    (`ours`), is not written. Raises InputError naming the flag that allows it, --overwrite.
    """
    path = Path(path)
    if os.path.isdir(path):
        raise InputError(f"{flag} {path}: is a folder; give the name of a file")
    if overwrite or not os.path.lexists(path):
        return
    for source in inputs:
        if source is not None and os.path.exists(source) and os.path.exists(path) and os.path.samefile(source, path):
            raise InputError(
                f"{flag} {path}: is the file that is read; give another name, or --overwrite to write over it"
            )
    if not ours:
        raise InputError(
            f"{flag} {path}: exists already, and nothing says that this made it, or it was changed since; give another "
            "name, or --overwrite to write over it"
        )


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_as_written(path: Path, digest: str | None) -> bool:
    """Whether a file is there with the digest that was noted when it was written (None: it was not)."""
    with suppress(OSError):
        return file_digest(path) == digest
    return False


def _temporary_name(name: str) -> str:
    """Short however long the name is, with its suffix, by which some programs go."""
    digest, suffix = hashlib.sha256(os.fsencode(name)).hexdigest()[:8], Path(name).suffix
    return f".tmp{os.getpid()}-{digest}{suffix if len(os.fsencode(suffix)) < 16 else ''}"


def _remove(temporary: Path) -> None:
    with suppress(OSError):  # where it could not even be made, it cannot be removed
        temporary.unlink(missing_ok=True)
