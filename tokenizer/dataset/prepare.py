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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from configs import CheckConfig, InputError, PrepareConfig
from tokenizer.dataset.accept import accept
from tokenizer.dataset.files import FORMAT, MANIFEST, REJECTED, UNSAID, DatasetError, read_manifest, shards_of
from tokenizer.dataset.find import File, find_midi
from tokenizer.dataset.gather import INSTEAD, gather, make_room, named, partial_folder, work_folder
from tokenizer.dataset.shards import Rows, open_batch, open_shard, write_batch
from tokenizer.dataset.songs import StoredSong, record_batch
from tokenizer.dataset.told import count_of, in_words
from tokenizer.dataset.workers import run
from tokenizer.disk.atomic import disk_free
from tokenizer.disk.destination import MIDI
from tokenizer.music import midi

TOKENIZER_VERSION = "5.0"  # of what tokens a song becomes; raise it whenever that changes
BLOCK_FILES = 64  # what a killed worker loses at most; 16 workers lose a shard of 1024 songs together
MB = 1e6
DISK_PER_MIDI_BYTE = 6  # a cautious guess, for a notice alone; songs lie first in blocks, then in shards
CONTENTS = "contents"  # in a block's metadata: of each of its files what says which content it has


class AnotherDataset(InputError):
    """What is there was made of other files, or otherwise; the message says which."""


def prepare(folders: Sequence[Path], out: Path, config: PrepareConfig) -> dict:
    """Makes the dataset `out` of all MIDI files below the folders (a file given itself is taken too); returns its
    manifest.

    The dataset depends on the files alone, not on their order or the number of workers. What cannot be used is listed
    in rejected.jsonl with its reason, and the rest goes on. The same call again goes on where it was stopped; once
    done, it does nothing. Raises InputError where nothing can be made.
    """
    shown, out = Path(out), named(out)
    if not config.overwrite and not (out / MANIFEST).exists():
        make_room(out, overwrite=False)
    files, unreadable = find_midi(folders, leave_out=[out, partial_folder(out)])
    if not files:
        raise InputError(f"no MIDI file ({', '.join(MIDI.suffixes)}) in {', '.join(map(str, folders))}")
    if (out / MANIFEST).exists() and (manifest := _complete(out, files, unreadable, config)):
        if partial_folder(out).is_dir():  # of a run that was killed in its last moment
            with work_folder(out):
                pass
        print(f"{shown}: already complete; for other songs or settings name another folder")
        return manifest
    if notice := disk_notice(shown, files):
        print(notice)
    listed = unreadable if config.shard.startswith("1/") else []  # the first shard tells
    with work_folder(out) as work:
        blocks = tokenize_all(files, work / "blocks", config)
        inputs = _inputs_digest(files, chain.from_iterable(map(_contents, blocks)), unreadable)
        lists = [chain.from_iterable(map(rejected_of, blocks)), listed]
        make_room(out, config.overwrite)
        manifest = gather(blocks, lists, work, out, config, TOKENIZER_VERSION, inputs)
    print(summary(shown, manifest))
    return manifest


def disk_notice(out: Path, files: list[File]) -> str | None:
    """What to say where the disk may be too small, before any work; an estimate."""
    midi_bytes = 0
    for _, path in files:
        with suppress(OSError):  # told when it is read
            midi_bytes += os.stat(path).st_size
    needed, free = midi_bytes * DISK_PER_MIDI_BYTE, disk_free(out)
    if needed <= free:
        return None
    return (
        f"notice: {out}: takes about {needed / MB:,.0f} MB while it is made, and half of it then; the disk has "
        f"{free / MB:,.0f} MB free"
    )


# ---------------------------------------------------------------- done already


def _complete(out: Path, files: list[File], unreadable: list[dict], config: PrepareConfig) -> dict | None:
    """The manifest of `out`, if it was made of these files with these settings; else None where it may be moved aside.
    Raises InputError naming which of them differ.
    """
    try:
        manifest = read_manifest(out)
        for _, entry in shards_of(manifest):
            open_shard(out / entry["file"], entry)
    except DatasetError:
        if config.overwrite:
            return None
        raise
    then = manifest["config"] | {"shard": manifest["shard"], "tokenizer version": manifest["tokenizer_version"]}
    now = UNSAID | config.content() | {"shard": config.shard, "tokenizer version": TOKENIZER_VERSION}
    differ = [
        f"{name.replace('_', '-')} {then[name]} there, {now[name]} here" for name in now if then[name] != now[name]
    ]
    if differ:
        what = f"made with other settings ({'; '.join(differ)})"
    elif manifest["inputs"] is None:
        what = "not made by one prepare (but by merge, import-shards or a repair)"
    else:
        starts = range(0, len(files), BLOCK_FILES)
        blocks = [(start, [path for _, path in files[start : start + BLOCK_FILES]]) for start in starts]
        found = sorted(run(_contents_of, blocks, config.workers, "local"))
        contents = chain.from_iterable(block for _, block in found)
        if _inputs_digest(files, contents, unreadable) == manifest["inputs"]:
            return manifest
        what = "made of other files (some were added, removed or changed since)"
    if config.overwrite:
        return None
    raise AnotherDataset(f"{out}: exists already, {what}; {INSTEAD}")


def _inputs_digest(files: list[File], contents: Iterable[str], unreadable: list[dict]) -> str:
    """Of all files that were found, by name: which content each has, or why it cannot be read."""
    digest = hashlib.sha256()
    for (source, _), content in zip(files, contents, strict=True):
        digest.update((json.dumps([source, content]) + "\n").encode())
    digest.update(json.dumps(unreadable).encode())
    return digest.hexdigest()


def _contents_of(block: tuple[int, list[str]]) -> tuple[int, list[str]]:
    """Number of a block, and which content each of its files has."""
    number, paths = block
    return number, [_content(path)[1] for path in paths]


def _content(path: str) -> tuple[bytes | midi.UnreadableFile, str]:
    """A file's bytes, or why there are none; and in a word which they are."""
    try:
        raw = midi.load(path)
    except midi.UnreadableFile as error:
        return error, str(error).removeprefix(f"{path}: ")
    return raw, hashlib.sha256(raw).hexdigest()


# ---------------------------------------------------------------- tokenizing


def tokenize(path: str, source: str, config: PrepareConfig) -> tuple[StoredSong | str | None, str]:
    """The song, or why it cannot be used, or None where it belongs to another shard; and which content the file has."""
    raw, content = _content(path)
    if isinstance(raw, midi.UnreadableFile):
        return (content if _in_shard(source.encode(), config.shard) else None), content
    if not _in_shard(raw, config.shard):
        return None, content
    accepted = accept(raw, path, source, config, CheckConfig().moved_ms)
    return accepted if isinstance(accepted, str) else accepted.row, content


def _in_shard(content: bytes, shard: str) -> bool:
    """By a hash of the file's bytes, so that machines agree without a word."""
    number, count = map(int, shard.split("/"))
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") % count == number - 1


def tokenize_all(files: list[File], folder: Path, config: PrepareConfig) -> list[Path]:
    """Block files of all files, in order; those that are there already, whole, are not made again."""
    starts = range(0, len(files), BLOCK_FILES)
    blocks = [folder / f"{_key(files[start : start + BLOCK_FILES], config)}.arrow" for start in starts]
    missing = [(start, block) for start, block in zip(starts, blocks, strict=True) if not _is_whole(block)]
    tasks = [(files[start : start + BLOCK_FILES], block) for start, block in missing]
    done = len(files) - sum(len(task) for task, _ in tasks)
    with tqdm(total=len(files), initial=done, desc="tokenizing", unit="file", disable=None) as progress:
        for count in run(partial(_tokenize_block, config), tasks, config.workers, config.engine):
            progress.update(count)
    return blocks


def _is_whole(block: Path) -> bool:
    try:
        rows = Rows(open_batch(block), block)
        return {REJECTED.encode(), CONTENTS.encode()} <= (rows.batch.schema.metadata or {}).keys() and not any(
            map(rows.problem, range(len(rows)))
        )
    except DatasetError:
        return False


def _tokenize_block(config: PrepareConfig, task: tuple[list[File], Path]) -> int:
    """Writes a block: its songs as rows, and in the schema's metadata what was left out and which content each file
    has. Returns the number of files.
    """
    files, block = task
    songs, rejected, contents = [], [], []
    for source, path in files:
        result, content = tokenize(path, source, config)
        contents.append(content)
        if isinstance(result, StoredSong):
            songs.append(result)
        elif result is not None:
            rejected.append({"source": source, "reason": result})
    metadata = {REJECTED: json.dumps(rejected), CONTENTS: json.dumps(contents)}
    write_batch(block.parent, block.name, record_batch(songs).replace_schema_metadata(metadata))
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


def rejected_of(block: Path) -> Iterator[dict]:
    """Read when it is needed, block by block."""
    yield from json.loads(open_batch(block).schema.metadata[REJECTED.encode()])


def _contents(block: Path) -> Iterator[str]:
    yield from json.loads(open_batch(block).schema.metadata[CONTENTS.encode()])


def summary(out: Path, manifest: dict) -> str:
    """What prepare tells at its end."""
    songs = {split: part["songs"] for split, part in manifest["splits"].items()}
    tokens = sum(part["tokens"] for part in manifest["splits"].values())
    tested = f"{songs['test']} to test, " if "test" in songs else ""
    size = sum(entry["bytes"] for _, entry in shards_of(manifest))
    lines = [
        f"{out}: {count_of(songs['train'], 'song')} to train on, {songs['validation']} to validate, {tested}"
        f"{tokens:,} tokens, {size / MB:,.1f} MB "
        f"{'(report.json, report.png)' if any(songs.values()) else '(an empty part)'}"
    ]
    lines += in_words(manifest.get("changes", {}), CheckConfig())
    reasons = manifest["rejected"]
    if reasons:
        lines.append(f"{count_of(sum(reasons.values()), 'file')} left out, each with its reason in {out / REJECTED}:")
        lines += [f"  {count:6} {reason}" for reason, count in list(reasons.items())[:8]]
    return "\n".join(lines)
