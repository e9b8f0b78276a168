"""Which MIDI files a dataset is made of: called first by prepare, check and repair."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from configs import InputError
from tokenizer.disk.destination import is_midi

File = tuple[str, str]  # source name, path
Folder = tuple[str, str]  # the same


def find_midi(folders: Sequence[Path], leave_out: Iterable[Path] = ()) -> tuple[list[File], list[dict]]:
    """Every MIDI file as (source name, path), sorted by name, and the folders that are not read as {"source",
    "reason"}: that cannot be, or that were already.

    The name is the path below the given folder, that folder's own name first; of two folders with one name the second,
    sorted by their whole paths, gets a number. Links to folders are followed once no real folder is left, by name. No
    folder is read twice, so that loops end. leave_out: folders that are passed over. Raises InputError.
    """
    search = _Search({os.path.realpath(folder) for folder in leave_out})
    given: set[str] = set()
    for resolved, folder in sorted({Path(folder).resolve(): Path(folder) for folder in folders}.items()):
        if not folder.exists():
            raise InputError(f"{folder}: no such file or folder")
        name, number = resolved.name, 2
        while name in given:
            name, number = f"{resolved.name}-{number}", number + 1
        given.add(name)
        if folder.is_file():
            search.files.append((printable(name), str(folder)))
        else:
            search.read(name, str(folder))
    while search.links:
        links, search.links = sorted(search.links), []
        for name, path in links:
            search.read(name, path)
    return sorted(search.files), sorted(search.unread, key=lambda entry: entry["source"])


class _Search:
    """files: found. links: to folders, not yet followed. unread: folders that are not read, and why."""

    def __init__(self, leave_out: set[str]):
        self.files: list[File] = []
        self.links: list[Folder] = []
        self.unread: list[dict] = []
        self._leave_out = leave_out
        self._read: dict[tuple[int, int], str] = {}  # names of folders, by what the system knows them by

    def read(self, name: str, path: str) -> None:
        """All files of a folder and of the real folders in it."""

        def note(error: OSError) -> None:
            source = os.path.normpath(os.path.join(name, os.path.relpath(error.filename, path)))
            self._leave(source, f"cannot be read ({error.strerror})")

        for root, inside, names in os.walk(path, onerror=note):
            below = os.path.normpath(os.path.join(name, os.path.relpath(root, path)))
            state = os.stat(root)
            first = self._read.setdefault((state.st_dev, state.st_ino), below)
            if os.path.realpath(root) in self._leave_out:
                inside.clear()
            elif first != below:
                self._leave(below, f"a folder that is read already: {printable(first)}")
                inside.clear()
            else:
                found = [file for file in names if is_midi(file)]
                self.files += [(printable(os.path.join(below, file)), os.path.join(root, file)) for file in found]
                linked = [folder for folder in inside if os.path.islink(os.path.join(root, folder))]
                self.links += [(os.path.join(below, folder), os.path.join(root, folder)) for folder in linked]
                inside[:] = sorted(set(inside) - set(linked))

    def _leave(self, source: str, reason: str) -> None:
        self.unread.append({"source": printable(source), "reason": reason})


def printable(name: str) -> str:
    """A file's name as datasets have it on every system: folders separated by /, bytes that are no text as \\xff."""
    return name.replace(os.sep, "/").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
