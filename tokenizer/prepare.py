"""MIDI folders to a dataset: find, tokenize on all cores, drop duplicates, split by content, write."""

import concurrent.futures
import multiprocessing
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from configs import InputError, PrepareConfig
from tokenizer import midi
from tokenizer.dataset import MANIFEST, SongTooLong, StoredSong, to_row, write_manifest, write_shard
from tokenizer.encode import encode
from tokenizer.meter import ScoreTooLong

TOKENIZER_VERSION = "2.0"  # of what tokens a song becomes; raise it whenever that changes
SUFFIXES = (".mid", ".midi")


def prepare(folders: Sequence[Path], out: Path, config: PrepareConfig) -> dict:
    """Makes the dataset `out` of all MIDI files below the folders (a file given itself is taken too); returns its manifest.

    The dataset depends on the files alone, not on their order or the number of workers. What cannot be used is listed in the manifest with
    its reason, and the rest goes on. Raises InputError, leaving no trace of `out`, where nothing can be made.
    """
    out = Path(out)
    check_free(out)
    files = find_midi(folders)
    if not files:
        raise InputError(f"no .mid or .midi file in {', '.join(map(str, folders))}")
    songs, rejected = [], []
    for source, result in _tokenize_all(files, config.workers):
        if isinstance(result, StoredSong):
            songs.append(result)
        else:
            rejected.append({"source": source, "reason": result})
    if not songs:
        rejected.sort(key=lambda entry: entry["source"])
        raise InputError(f"none of the {len(files)} files can be used; the first: {rejected[0]['source']}: {rejected[0]['reason']}")
    return write_dataset(out, songs, rejected, config, config)


def check_free(out: Path) -> None:
    """Raises InputError where something is already."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists already; name a new folder, or remove it first")


def write_dataset(out: Path, songs: list[StoredSong], rejected: list[dict], config: PrepareConfig, record: object) -> dict:
    """The dataset `out` of these songs without their duplicates, split by content; prints a summary and returns the manifest, which
    keeps `record` (a dataclass) as the config that made it. Raises InputError, leaving no trace of `out`."""
    songs, duplicates = _without_duplicates(songs)
    rejected = sorted(rejected + duplicates, key=lambda entry: entry["source"])
    manifest = _write(out, _split(songs, config.validation_fraction), rejected, config.songs_per_shard, record)
    print(summary(out, manifest))
    return manifest


def find_midi(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """(source name, path) of every MIDI file, sorted. The name is the path below the given folder, that folder's own name first."""
    files = {}
    for folder in map(Path, folders):
        if folder.is_file():
            files[folder.name] = folder
        elif not folder.is_dir():
            raise InputError(f"{folder}: no such file or folder")
        for root, directories, names in os.walk(folder):  # does not follow links to folders, so no loops
            directories.sort()
            for name in sorted(names):
                if name.lower().endswith(SUFFIXES):
                    path = Path(root) / name
                    files[str(Path(folder.resolve().name) / path.relative_to(folder))] = path
    return sorted(files.items())


def tokenize(file: tuple[str, Path]) -> tuple[str, StoredSong | str]:
    """(source, song), or (source, why it cannot be used)."""
    source, path = file
    try:
        tokens = encode(midi.read(path))
        if not (tokens.kind >= 0).any():
            return source, "no notes"
        return source, to_row(tokens, source)
    except midi.MidiError as error:
        return source, str(error).removeprefix(f"{path}: ")
    except (ScoreTooLong, SongTooLong) as error:
        return source, str(error)


def _tokenize_all(files: list[tuple[str, Path]], workers: int) -> Iterator[tuple[str, StoredSong | str]]:
    workers = min(workers or os.cpu_count() or 1, len(files))
    progress = tqdm(total=len(files), desc="tokenizing", unit="file", disable=None)
    if workers == 1:
        for file in files:
            yield tokenize(file)
            progress.update()
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for result in pool.map(tokenize, files, chunksize=8):
                yield result
                progress.update()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise InputError("a worker process died (out of memory?); try again with --workers 1 to find the file") from error


def _without_duplicates(songs: list[StoredSong]) -> tuple[list[StoredSong], list[dict]]:
    """Sorted by content; of songs with the same tokens the first by name stays."""
    kept: dict[str, StoredSong] = {}
    duplicates = []
    for song in sorted(songs, key=lambda song: (song.hash, song.source)):
        if song.hash in kept:
            duplicates.append({"source": song.source, "reason": f"the same music as {kept[song.hash].source}"})
        else:
            kept[song.hash] = song
    return list(kept.values()), duplicates


def _split(songs: list[StoredSong], validation_fraction: float) -> dict[str, list[StoredSong]]:
    """By content hash, which is uniform, so that a song stays in its split whatever is added; of two songs one validates at least."""
    chosen = sum(int(song.hash, 16) < validation_fraction * 16**16 for song in songs)
    if validation_fraction > 0 and len(songs) > 1:
        chosen = max(chosen, 1)
    return {"train": songs[chosen:], "validation": songs[:chosen]}


def _write(out: Path, splits: dict[str, list[StoredSong]], rejected: list[dict], size: int, record: object) -> dict:
    """Everything into a folder beside `out`, which then takes its name."""
    temporary = out.with_name(f".{out.name}.tmp{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        shards = {
            split: [
                write_shard(temporary, f"{split}-{number:05}.arrow", songs[start : start + size])
                for number, start in enumerate(range(0, len(songs), size))
            ]
            for split, songs in splits.items()
        }
        manifest = write_manifest(temporary, shards, rejected, record, TOKENIZER_VERSION)
        if out.is_dir():
            out.rmdir()  # it is empty
        os.replace(temporary, out)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); nothing was left there") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def summary(out: Path, manifest: dict) -> str:
    """What prepare tells at its end."""
    songs = {split: part["songs"] for split, part in manifest["splits"].items()}
    tokens = sum(part["tokens"] for part in manifest["splits"].values())
    lines = [f"{out}: {songs['train']} songs to train on, {songs['validation']} to validate, {tokens:,} tokens"]
    reasons = Counter(entry["reason"].split(" as ")[0].split(" (")[0] for entry in manifest["rejected"])
    if reasons:
        lines.append(f"{len(manifest['rejected'])} files left out, each with its reason in {out / MANIFEST}:")
        lines += [f"  {count:6} {reason}" for reason, count in reasons.most_common(5)]
    return "\n".join(lines)
