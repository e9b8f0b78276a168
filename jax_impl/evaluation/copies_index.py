"""The files of what the training songs of a dataset hold, made once and memory-mapped: their symbols, all places of
these in order (copies_search.py) and the bars that occur (copies_notes.py), of pitched tracks and of drums.

    KEPT/copies/FINGERPRINT/index.json           written last: without it there is no index
    KEPT/copies/FINGERPRINT/pitched.symbols ...  SYMBOL[N + DEPTH]; .order uint32[N]; .first int64[65537]; .songs
                                                 int64[songs + 1], where each song's symbols begin; .bars uint64[],
                                                 sorted
    KEPT/copies/FINGERPRINT/drums.symbols ...    likewise

KEPT is where this program keeps what is made once (cache_folder.py), never the dataset itself, whose files are counted.
A fingerprint is the music's (Dataset.fingerprint) and the format's: the same songs always give the same bytes. One
process at a time makes an index; any number read it.
"""

import hashlib
import itertools
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from configs import InputError
from jax_impl.device.cache_folder import VARIABLE, kept
from jax_impl.evaluation import copies_search
from jax_impl.evaluation.copies_notes import SYMBOL, lines
from jax_impl.evaluation.copies_search import AT_ONCE, DEPTH, Places
from tokenizer.dataset.songs import Dataset, Songs
from tokenizer.disk.atomic import FULL, WriteError, atomic_together, disk_free, write_json
from tokenizer.disk.lock import only_writer

FORMAT = 1
KINDS = ("pitched", "drums")
TYPES = {
    "symbols": SYMBOL,
    "order": np.dtype(np.uint32),
    "first": np.dtype(np.int64),
    "songs": np.dtype(np.int64),
    "bars": np.dtype(np.uint64),
}
CONTENTS = "index.json"
MOST_NOTES = 1 << 32  # that uint32 can count
BYTES_A_NOTE = 8  # of the files together, while they are made
NOTES_A_SECOND = 250_000  # of one core, in all
CHECKED_BYTES = 1 << 28  # files up to this size are read through when they are opened


class Damaged(InputError):
    """An index that is not what was written."""


@dataclass(frozen=True, eq=False)
class Held:
    """What the training songs hold, of one kind of tracks. songs: int64[songs + 1], where each song's symbols begin.
    bars: uint64[], sorted.
    """

    places: Places
    songs: np.ndarray
    bars: np.ndarray


def folder_of(fingerprint: str) -> Path:
    """Where the index of a dataset is kept. Raises InputError where nothing is."""
    where = kept()
    if where is None:
        raise InputError(f"{VARIABLE} says that nothing is kept, so there is no index of training songs; name a folder")
    return where.folder / "copies" / f"{fingerprint}-{FORMAT}"


def open_or_make(dataset: Dataset, folder: Path, progress: bool) -> tuple[Held, Held]:
    """The index, made where it is not there or damaged. Raises InputError where it cannot be: WriteError where nothing
    can be written, Busy while another process makes it.
    """
    try:
        return opened(folder)
    except (OSError, Damaged):
        if progress:
            print(_notice(dataset["train"], folder))
        make(dataset, folder, progress)
    try:
        return opened(folder)
    except (OSError, Damaged) as error:
        raise InputError(f"{folder}: what was just written there cannot be read ({error})") from error


def opened(folder: Path) -> tuple[Held, Held]:
    """Pitched tracks and drums. Files above CHECKED_BYTES are known by their size alone. Raises OSError, Damaged."""
    try:
        contents = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        if contents.pop("digest") != _digest(contents):
            raise Damaged(f"{folder / CONTENTS}: its digest is that of another content")
        files = contents["files"]
        arrays = {name: _mapped(folder / name, **files[name]) for name in _names()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{folder / CONTENTS}: {error}") from error
    return tuple(
        Held(Places(*(arrays[f"{kind}.{name}"] for name in ("symbols", "order", "first"))), *rest)
        for kind in KINDS
        for rest in [[arrays[f"{kind}.{name}"] for name in ("songs", "bars")]]
    )


def _mapped(path: Path, bytes: int, crc32: int) -> np.ndarray:
    if path.stat().st_size != bytes:
        raise Damaged(f"{path}: {path.stat().st_size} bytes, not {bytes}")
    if bytes <= CHECKED_BYTES and _crc32(path) != crc32:
        raise Damaged(f"{path}: its content is another one")
    dtype = TYPES[path.suffix[1:]]
    return np.asarray(np.memmap(path, dtype, "r")) if bytes else np.zeros(0, dtype)  # nothing cannot be mapped


def _names() -> list[str]:
    return [f"{kind}.{name}" for kind in KINDS for name in TYPES]


def _digest(contents: dict) -> str:
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:32]


def _crc32(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found = zlib.crc32(piece, found)
    return found


# ---------------------------------------------------------------- making it


def _notice(songs: Songs, folder: Path) -> str:
    seconds = float(songs.column("notes").sum()) / NOTES_A_SECOND
    about = f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    about = about if seconds > 1.5 else "a second"
    return f"notice: an index of the notes of {len(songs)} training songs is made once, in about {about}: {folder}"


def make(dataset: Dataset, folder: Path, progress: bool) -> None:
    """Writes the index, whole or not at all. Raises InputError: WriteError, Busy, DatasetError."""
    songs = dataset["train"]
    notes = int(songs.column("notes").sum())
    if notes >= MOST_NOTES:
        raise InputError(f"{dataset.folder}: an index holds {MOST_NOTES} notes at most, and there are {notes}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, error) from error
    with only_writer(folder):
        for abandoned in folder.glob(".tmp*"):  # of one that was killed
            abandoned.unlink(missing_ok=True)
        if disk_free(folder) < BYTES_A_NOTE * notes:
            raise WriteError(folder, OSError(FULL[0], "No space left on device"), BYTES_A_NOTE * notes)
        paths = [folder / name for name in (*_names(), CONTENTS)]
        with atomic_together(paths) as temporaries:
            files = dict(zip((*_names(), CONTENTS), temporaries, strict=True))
            _write_symbols(songs, files, progress)
            _write_order(files, progress)
            for kind in KINDS:
                _write_bars(files[f"{kind}.bars"])
            said = {
                name: {"bytes": path.stat().st_size, "crc32": _crc32(path)}
                for name, path in files.items()
                if name != CONTENTS
            }
            contents = {"format": FORMAT, "fingerprint": dataset.fingerprint, "songs": len(songs), "files": said}
            write_json(files[CONTENTS], contents | {"digest": _digest(contents)}, indent=1)


def _write_symbols(songs: Songs, files: dict[str, Path], progress: bool) -> None:
    """Of every song that is trained on, one after another; and the bars, in no order yet."""
    ends = np.zeros((len(KINDS), len(songs) + 1), np.int64)
    with ExitStack() as open_files:
        streamed = [files[f"{kind}.symbols"] for kind in KINDS], [_raw(files[f"{kind}.bars"]) for kind in KINDS]
        symbols, bars = ([open_files.enter_context(path.open("wb")) for path in paths] for paths in streamed)
        numbers = tqdm(range(len(songs)), "index of training songs", unit="song", disable=None if progress else True)
        for number in numbers:
            parts = lines(songs[number]) if songs.weight[number] else ()
            for kind, part in enumerate(parts):
                symbols[kind].write(part.symbols.tobytes())
                bars[kind].write(np.unique(part.bars).tobytes())
                ends[kind, number + 1] = len(part.symbols)
        for sink in symbols:
            sink.write(np.zeros(DEPTH, SYMBOL).tobytes())
    for kind, lengths in zip(KINDS, ends, strict=True):
        np.cumsum(lengths).tofile(files[f"{kind}.songs"])


def _raw(path: Path) -> Path:
    """Where bars are before they are sorted."""
    return path.with_name(f"{path.name}-raw")


def _write_order(files: dict[str, Path], progress: bool) -> None:
    """The places of the symbols in order."""
    symbols = {kind: np.asarray(np.memmap(files[f"{kind}.symbols"], SYMBOL, "r")) for kind in KINDS}
    total = sum(len(values) - DEPTH for values in symbols.values())
    with tqdm(total=total, desc="its notes in order", unit="note", disable=None if progress else True) as bar:
        for kind in KINDS:
            copies_search.firsts(symbols[kind]).tofile(files[f"{kind}.first"])
            with files[f"{kind}.order"].open("wb") as sink:
                for places in copies_search.ordered(symbols[kind]):
                    sink.write(places.astype(TYPES["order"]).tobytes())
                    bar.update(len(places))


def _write_bars(path: Path) -> None:
    """Each once, in order."""
    raw = _raw(path)
    with path.open("wb") as sink:
        if raw.stat().st_size:
            for piece in _each_once(np.asarray(np.memmap(raw, TYPES["bars"], "r"))):
                sink.write(piece.tobytes())
    raw.unlink()


def _each_once(values: np.ndarray) -> Iterator[np.ndarray]:
    """The values uint64[N], which are spread evenly, sorted and each once, piece by piece."""
    pieces = -(-len(values) // AT_ONCE)
    limits = [(number << 64) // pieces for number in range(pieces + 1)]
    for low, stop in itertools.pairwise(limits):
        low, last = np.uint64(low), np.uint64(stop - 1)
        blocks = np.array_split(values, pieces)
        yield np.unique(np.concatenate([block[(block >= low) & (block <= last)] for block in blocks]))
