"""Where a verb writes: one rule for every -o, asked before any work.

    -                           standard output, where the verb writes one file of bytes or text
    take.mid, take.MID          a file: its suffix says of what kind
    an existing folder, NAME/   a folder, in which the verb names the file itself
    songs, v1.2 take            a folder too, as no known suffix says otherwise

Folders that are missing are made, with those above them.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from configs import InputError
from tokenizer.disk.atomic import WriteError, refuse_to_replace

STANDARD_OUTPUT = "-"


class Kind(NamedTuple):
    """What a verb writes, and the suffixes of its names, in lower case; the first is the usual one."""

    name: str
    suffixes: tuple[str, ...]


MIDI = Kind("a MIDI file", (".mid", ".midi", ".kar", ".rmi"))
TEXT = Kind("a text file", (".txt", ".text", ".hid"))
PICTURE = Kind("a PNG picture", (".png",))
TORCH = Kind("a PyTorch file", (".pt", ".pth", ".ckpt"))
WEIGHTS = Kind("a safetensors file", (".safetensors",))
OTHERS = (  # what people may take a verb to write
    Kind("a JSON file", (".json",)),
    Kind("a sound file", (".wav", ".mp3", ".ogg", ".flac")),
    Kind("a picture of another kind", (".jpg", ".jpeg", ".gif", ".svg", ".pdf")),
    Kind("a music sheet", (".musicxml", ".mxl", ".xml", ".abc")),
)


def is_midi(path: str | os.PathLike) -> bool:
    """Whether the name says so."""
    return os.fspath(path).lower().endswith(MIDI.suffixes)


def is_folder(name: str | os.PathLike, kind: Kind, flag: str) -> bool:
    """Whether `name` means a folder for files of this kind, rather than one of them. Raises InputError where it can be
    neither.
    """
    text = os.fspath(name)
    if not text:
        raise InputError(f"{flag} is empty: name {kind.name} or a folder")
    if text == STANDARD_OUTPUT:  # of verbs that do not ask for it first
        raise InputError(f"{flag} -: {kind.name} does not go to standard output here; name a file or a folder")
    if text.endswith(("/", os.sep)) or os.path.isdir(text):
        return True
    own = Path(text).name.lower()
    suffix = Path(text).suffix.lower() or own
    if own in kind.suffixes:
        raise InputError(f"{flag} {name}: nothing stands before {own}: give the file a name")
    if suffix in kind.suffixes:
        return False
    wanted = f"{kind.name} ends in {_either(kind.suffixes)}"
    for other in (MIDI, TEXT, PICTURE, TORCH, WEIGHTS, *OTHERS):
        if suffix in other.suffixes:
            raise InputError(f"{flag} {name}: is the name of {other.name}; {wanted}")
    if os.path.lexists(text):
        raise InputError(f"{flag} {name}: is there and is no folder, and its name says of no kind of file; {wanted}")
    return True


def file_named(name: str | os.PathLike, kind: Kind, own_name: str, flag: str) -> Path:
    """The one file that a verb writes: `name` itself, or own_name in it where it means a folder. Raises InputError."""
    return Path(name, own_name) if is_folder(name, kind, flag) else Path(name)


def _either(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# ---------------------------------------------------------------- that it can be written


@contextmanager
def to_be_written(
    path: Path, inputs: Sequence[Path | None] = (), *, flag: str, overwrite: bool = False
) -> Iterator[None]:
    """Around the work for one file: it costs the user none (see refuse_to_replace), and its folder takes it.
    Raises InputError.
    """
    refuse_to_replace(path, inputs, flag=flag, overwrite=overwrite)
    with folder_for([path], flag):
        yield


@contextmanager
def folder_for(files: Sequence[Path], flag: str) -> Iterator[None]:
    """Around the work for files of one folder: it is made where it is missing, and shown to take files of these names.
    What was made goes again where nothing was written. Raises InputError.
    """
    folder = files[0].parent
    missing = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    with ExitStack() as opened:
        for place in reversed(missing):  # innermost first, when it ends
            opened.callback(_remove_empty, place)
        place = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
            for place in files:
                with suppress(FileNotFoundError):
                    os.lstat(place)
        except (FileExistsError, NotADirectoryError):
            raise InputError(f"{flag} {folder}: cannot be a folder, a file is in the way") from None
        except OSError as error:
            raise WriteError(f"{flag} {place}", error) from error
        yield


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


# ---------------------------------------------------------------- that it was written


def tell(place: str | Path, what: str, notice: str | None = None) -> None:
    """Says of a file that it was written, and what its user should know of it."""
    print(f"{place}: {what}")
    if notice:
        print(f"notice: {place}: {notice}")


@contextmanager
def standard_output(flag: str) -> Iterator[BinaryIO]:
    """Standard output for one file's bytes: whatever is printed meanwhile goes to standard error. Raises InputError
    where bytes would end on a terminal.
    """
    if sys.stdout.isatty():
        raise InputError(f"{flag} -: standard output is a terminal; send it to a program or a file with | or >")
    output = sys.stdout.buffer
    with redirect_stdout(sys.stderr):
        yield output
        output.flush()
