"""MIDI folders to a dataset: find the files, tokenize them block by block on all cores,
gather the songs in the order of their content.

    files --find--> blocks of 64 --tokenize--> OUT.partial/blocks/KEY.arrow --gather--> OUT

A block's file appears whole or not at all, and its name is a hash of its files' names, sizes and times and of the
settings. So a killed run goes on with the blocks that are missing, and a file that changed meanwhile is read again. No
process holds more than a block or a shard in memory, besides the names of the files.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from configs import InputError, PrepareConfig
from tokenizer.dataset.files import FORMAT, REJECTED, open_batch, write_batch
from tokenizer.dataset.filters import reason_to_reject
from tokenizer.dataset.gather import gather, refuse_to_overwrite, work_folder
from tokenizer.dataset.songs import SongTooLong, StoredSong, record_batch, to_row
from tokenizer.dataset.workers import run
from tokenizer.grid.meter import ScoreTooLong
from tokenizer.grid.quantize import quantize
from tokenizer.music import midi
from tokenizer.tokens.encode import encode_grid

TOKENIZER_VERSION = "2.2"  # of what tokens a song becomes; raise it whenever that changes
SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
BLOCK_FILES = 64  # what a killed worker loses at most; 16 workers lose a shard of 1024 songs together
File = tuple[str, str]  # source name, path


def prepare(folders: Sequence[Path], out: Path, config: PrepareConfig) -> dict:
    """Makes the dataset `out` of all MIDI files below the folders (a file given itself is taken too); returns its
    manifest.

    The dataset depends on the files alone, not on their order or the number of workers. What cannot be used is listed
    in rejected.jsonl with its reason, and the rest goes on. The same call again goes on where it was stopped. Raises
    InputError where nothing can be made.
    """
    out = Path(out)
    refuse_to_overwrite(out)
    files, unreadable = find_midi(folders)
    if not files:
        raise InputError(f"no MIDI file ({', '.join(SUFFIXES)}) in {', '.join(map(str, folders))}")
    if not config.shard.startswith("1/"):
        unreadable = []  # the first shard tells
    with work_folder(out) as work:
        blocks = _tokenize_all(files, work / "blocks", config)
        manifest = gather(
            blocks, [chain.from_iterable(map(_rejected, blocks)), unreadable], work, out, config, TOKENIZER_VERSION
        )
    print(summary(out, manifest))
    return manifest


# ---------------------------------------------------------------- finding


def find_midi(folders: Sequence[Path]) -> tuple[list[File], list[dict]]:
    """Every MIDI file as (source name, path), sorted by name, and the folders that cannot be read as {"source",
    "reason"}.

    The name is the path below the given folder, that folder's own name first; of two folders with one name the second,
    sorted by their whole paths, gets a number.
    """
    files, unreadable = [], []
    given: dict[str, Path] = {}
    for folder in sorted({Path(folder).resolve(): Path(folder) for folder in folders}.items()):
        resolved, folder = folder
        if not folder.exists():
            raise InputError(f"{folder}: no such file or folder")
        name, number = resolved.name, 2
        while name in given:
            name, number = f"{resolved.name}-{number}", number + 1
        given[name] = folder
        if folder.is_file():
            files.append((_printable(name), str(folder)))
            continue

        def note(error: OSError, name: str = name, folder: Path = folder) -> None:
            source = os.path.join(name, os.path.relpath(error.filename, folder))
            unreadable.append({"source": _printable(source), "reason": f"cannot be read ({error.strerror})"})

        for root, _, names in os.walk(folder, onerror=note):  # does not follow links to folders, so no loops
            below = os.path.join(name, os.path.relpath(root, folder)) if root != str(folder) else name
            files += [
                (_printable(os.path.join(below, file)), os.path.join(root, file))
                for file in names
                if file.lower().endswith(SUFFIXES)
            ]
    return sorted(files), sorted(unreadable, key=lambda entry: entry["source"])


def _printable(name: str) -> str:
    """A file name that is not Unicode, with its odd bytes written as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# ---------------------------------------------------------------- tokenizing


def tokenize(path: str, source: str, config: PrepareConfig) -> StoredSong | str | None:
    """The song, or why it cannot be used, or None where it belongs to another shard."""
    try:
        raw = midi.load(path)
        if not _in_shard(raw, config.shard):
            return None
        song = quantize(midi.parse(raw, path))
        return reason_to_reject(song, config) or to_row(encode_grid(song), source)
    except midi.UnreadableFile as error:
        return str(error).removeprefix(f"{path}: ") if _in_shard(source.encode(), config.shard) else None
    except midi.MidiError as error:
        return str(error).removeprefix(f"{path}: ")
    except (ScoreTooLong, SongTooLong) as error:
        return str(error)


def _in_shard(content: bytes, shard: str) -> bool:
    """By a hash of the file's bytes, so that machines agree without a word."""
    number, count = map(int, shard.split("/"))
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % count == number - 1


def _tokenize_all(files: list[File], folder: Path, config: PrepareConfig) -> list[Path]:
    """Block files of all files, in order; those that are there already are not made again."""
    starts = range(0, len(files), BLOCK_FILES)
    blocks = [folder / f"{_key(files[start : start + BLOCK_FILES], config)}.arrow" for start in starts]
    missing = [(start, block) for start, block in zip(starts, blocks, strict=True) if not block.exists()]
    tasks = [(files[start : start + BLOCK_FILES], block) for start, block in missing]
    done = len(files) - sum(len(task) for task, _ in tasks)
    with tqdm(total=len(files), initial=done, desc="tokenizing", unit="file", disable=None) as progress:
        for count in run(partial(_tokenize_block, config), tasks, config.workers, config.engine):
            progress.update(count)
    return blocks


def _tokenize_block(config: PrepareConfig, task: tuple[list[File], Path]) -> int:
    """Writes a block: its songs as rows, and what was left out in the schema's metadata.
    Returns the number of files.
    """
    files, block = task
    songs, rejected = [], []
    for source, path in files:
        result = tokenize(path, source, config)
        if isinstance(result, StoredSong):
            songs.append(result)
        elif result is not None:
            rejected.append({"source": source, "reason": result})
    write_batch(block.parent, block.name, record_batch(songs).replace_schema_metadata({REJECTED: json.dumps(rejected)}))
    return len(files)


def _key(files: list[File], config: PrepareConfig) -> str:
    """Of everything that decides what a block holds."""
    states = []
    for source, path in files:
        try:
            state = os.stat(path)
            states.append((source, state.st_size, state.st_mtime_ns))
        except OSError as error:
            states.append((source, error.errno, 0))
    settings = config.content() | {"shard": config.shard, "version": TOKENIZER_VERSION, "format": FORMAT}
    return hashlib.sha256(json.dumps([states, settings], sort_keys=True).encode()).hexdigest()[:24]


def _rejected(block: Path) -> Iterator[dict]:
    """Read when it is needed, block by block."""
    yield from json.loads(open_batch(block).schema.metadata[REJECTED.encode()])


def summary(out: Path, manifest: dict) -> str:
    """What prepare tells at its end."""
    songs = {split: part["songs"] for split, part in manifest["splits"].items()}
    tokens = sum(part["tokens"] for part in manifest["splits"].values())
    lines = [
        f"{out}: {songs['train']} songs to train on, {songs['validation']} to validate, {tokens:,} tokens "
        "(report.json, report.png)"
    ]
    reasons = manifest["rejected"]
    if reasons:
        lines.append(f"{sum(reasons.values())} files left out, each with its reason in {out / REJECTED}:")
        lines += [f"  {count:6} {reason}" for reason, count in list(reasons.items())[:8]]
    return "\n".join(lines)
