"""The files of a dataset: Arrow IPC shards, one row a song, and a manifest of what is in them and what was left out.

    OUT/manifest.json            written last: without it there is no dataset
    OUT/train-00000.arrow ...    record batch of songs: tokens, their fields, what the loader plans with, and what the
                                 tokens do not say: the file's tempo map, and what reading it changed
    OUT/validation-00000.arrow
    OUT/test-00000.arrow         of a dataset that was made with --test-fraction
    OUT/rejected.jsonl           every file that is not in the dataset, with its reason

Everything carries a digest: the manifest one of itself, of rejected.jsonl and of each shard, and a shard one of each
row (shards.py), so that damage is found and nothing that is damaged is trained on.
A folder that holds a mixture.json instead is several datasets trained on together: {"datasets": {"PATH": WEIGHT, ...}},
where a weight is how often an epoch has each song of that dataset (0.5: half of its songs) and a path is seen from the
folder.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import pyarrow as pa

from configs import InputError, PrepareConfig
from tokenizer import vocabulary as vocab
from tokenizer.disk.atomic import atomic, file_digest, write_text

FORMAT = 4
AGAIN = "prepare it again with --overwrite, which moves this aside"
MANIFEST, REJECTED, MIXTURE = "manifest.json", "rejected.jsonl", "mixture.json"
SPLITS = ("train", "validation", "test")  # where datasets differ about a song, it is in the last of these
# What a manifest means that does not say it: it has no test split, and its songs are read by their files' own time.
UNSAID = {"test_fraction": 0.0, "align": "off"}
Split = Literal["train", "validation", "test"]
SHARD_NAME = re.compile(r"(train|validation|test)-\d{5,}\.arrow")
FIELD_TYPES = {
    "ids": np.uint16,
    "bar": np.int16,
    "instrument": np.uint8,
    "kind": np.int8,
    "onset": np.uint16,
    "span": np.uint16,
}
DIGEST = "digest"
SCHEMA = pa.schema(
    [
        *((name, pa.list_(pa.from_numpy_dtype(dtype))) for name, dtype in FIELD_TYPES.items()),
        ("bar_tokens", pa.list_(pa.uint16())),  # tokens of each measure, over all tracks, by its first bar; else 0
        ("bar_spans", pa.list_(pa.uint16())),  # likewise how many bars of all tracks it has
        ("tracks", pa.uint16()),
        ("notes", pa.uint32()),
        ("seconds", pa.float32()),  # to the end of its last bar, by its own tempo map, else at the tempi of its bars
        ("source", pa.string()),  # the file, below the folder given to prepare
        ("hash", pa.uint64()),  # of the notes on the grid: see music_hash
        ("family", pa.uint64()),  # the same in every transposition
        ("tempo_ticks", pa.list_(pa.int32())),  # the file's own tempo map, in ticks of the grid; empty: none is known
        ("tempo_microseconds", pa.list_(pa.int32())),  # of a beat, from each of these ticks on
        ("told", pa.string()),  # a JSON object of what reading and the grid changed; empty: nothing is known
        (DIGEST, pa.uint32()),  # of all the columns above: see shards.Rows.digest
    ]
)


class DatasetError(InputError):
    """A dataset that cannot be used; the message names the file and says what to do."""


# ---------------------------------------------------------------- the manifest


def splits_of(manifest: dict) -> list[Split]:
    """The splits of a dataset: "test" only where one was asked for."""
    return [split for split in SPLITS if split != "test" or split in manifest["splits"]]


def shards_of(manifest: dict) -> list[tuple[Split, dict]]:
    """(split, entry) of every shard, in order."""
    return [(split, entry) for split in splits_of(manifest) for entry in manifest["splits"][split]["shards"]]


def read_manifest(folder: Path) -> dict:
    """The manifest, if it is whole and this program can read the dataset; its config says what it left unsaid. Raises
    DatasetError.
    """
    path = folder / MANIFEST
    manifest = _parsed(folder, path)
    if DIGEST in manifest and manifest[DIGEST] != digest_of(manifest):
        raise _damaged(path, "its digest is that of another content; was it edited?")
    if manifest.get("vocabulary") != vocab.FINGERPRINT:
        raise DatasetError(f"{path}: {_other_vocabulary(manifest)}")
    if manifest.get("format") != FORMAT:
        raise DatasetError(f"{path}: dataset format {manifest.get('format')}, this program reads {FORMAT}; {AGAIN}")
    if DIGEST not in manifest:
        raise _damaged(path, "it has no digest")
    try:
        manifest["config"] = UNSAID | manifest["config"]
        _check_entries(folder, manifest)
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{path}: lacks {error}; {AGAIN}") from error
    return manifest


def _parsed(folder: Path, path: Path) -> dict:
    """The JSON object of a manifest. Raises DatasetError."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(folder):
            raise DatasetError(
                f"{folder}: not a whole dataset (no {MANIFEST}); make one with: hid-museformer prepare MIDI_DIR OUT"
            ) from None
        raise DatasetError(
            f"{folder}: no such dataset; make one with: hid-museformer prepare MIDI_DIR {folder}"
        ) from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(manifest, dict):
        raise _damaged(path, "not a JSON object")
    return manifest


def _other_vocabulary(manifest: dict) -> str:
    """What to do with a dataset whose tokens are others."""
    vocabulary = manifest.get("vocabulary")
    if vocabulary != vocab.V121_FINGERPRINT:
        return f"tokens of another vocabulary ({vocabulary}, not {vocab.FINGERPRINT}); {AGAIN}"
    of_files = manifest.get("inputs") is not None
    again = AGAIN if of_files else f"it was joined, imported or repaired: make anew what it came from, or {AGAIN}"
    return f"tokens of another vocabulary, from before the fine grid; {again} (it takes seconds)"


def _damaged(path: Path, why: str) -> DatasetError:
    return DatasetError(f"{path}: damaged ({why}); {AGAIN}")


def _check_entries(folder: Path, manifest: dict) -> None:
    """Raises DatasetError, or what a missing key or a wrong type raises."""
    path = folder / MANIFEST
    missing = {name for name in ("tokenizer_version", "shard", "inputs", "rejected", "rejected_sha256", "config")}
    missing -= manifest.keys()
    for split in splits_of(manifest):
        missing |= {"songs", "tokens", "token_counts", "shards"} - manifest["splits"][split].keys()
    for _, entry in shards_of(manifest):
        missing |= {"file", "songs", "tokens", "bytes", "sha256"} - entry.keys()
    known = UNSAID | PrepareConfig().content()
    missing |= known.keys() - manifest["config"].keys()
    if missing:
        raise DatasetError(f"{path}: lacks {', '.join(sorted(missing))}; {AGAIN}")
    if unknown := manifest["config"].keys() - known.keys():
        raise DatasetError(f"{path}: unknown settings in config: {', '.join(sorted(unknown))}; {AGAIN}")
    inside, names = os.path.realpath(folder), set()
    for split, entry in shards_of(manifest):
        name = entry["file"]
        if not (isinstance(name, str) and SHARD_NAME.fullmatch(name) and name.startswith(split)) or name in names:
            raise DatasetError(f"{path}: {name!r} is no name of a {split} shard; {AGAIN}")
        if os.path.dirname(os.path.realpath(folder / name)) != inside:
            raise DatasetError(f"{folder / name}: a link that leads out of the dataset; put the file itself there")
        names.add(name)


def digest_of(manifest: dict) -> str:
    """sha256 of the manifest without its digest, as JSON with sorted keys and no spaces."""
    content = {name: value for name, value in manifest.items() if name != DIGEST}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_manifest(
    folder: Path,
    splits: dict[str, list[dict]],
    rejected: Iterable[dict],
    config: PrepareConfig,
    version: str,
    shard: str = "1/1",
    inputs: str | None = None,
    changes: Mapping = MappingProxyType({}),
) -> dict:
    """The manifest, last of all, and before it the list of what was left out.

    splits: entries of write_batch. rejected: {"source", "reason"} of every file that is not in the dataset. shard:
    "I/N" of a dataset that holds one of N parts. inputs: digest of the files that were read (None: not known). changes:
    told.sum_up of its songs.
    """
    reasons = write_rejected(folder, rejected)
    manifest = {
        "format": FORMAT,
        "vocabulary": vocab.FINGERPRINT,
        "tokenizer_version": version,
        "shard": shard,
        "inputs": inputs,
        "config": config.content(),
        "changes": dict(changes),
        "splits": {split: _summed(entries) for split, entries in splits.items()},
        "rejected": dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        "rejected_sha256": file_digest(folder / REJECTED),
    }
    save_manifest(folder, manifest)
    return manifest


def save_manifest(folder: Path, manifest: dict) -> None:
    """Puts the digest on and writes it, a list of numbers a line."""
    manifest[DIGEST] = digest_of(manifest)
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    # No text in JSON holds a line break, so that these are lists.
    text = re.sub(r"\[\n[\s\d,]*\]", lambda numbers: re.sub(r"\s+", " ", numbers[0]), text)
    write_text(folder / MANIFEST, text + "\n")


def _summed(entries: list[dict]) -> dict:
    """What the manifest says of a split."""
    counts = sum((np.array(entry["token_counts"]) for entry in entries), np.zeros(vocab.SIZE, np.int64))
    shards = [{name: value for name, value in entry.items() if name != "token_counts"} for entry in entries]
    return {
        "songs": sum(entry["songs"] for entry in entries),
        "tokens": sum(entry["tokens"] for entry in entries),
        "token_counts": counts.tolist(),
        "shards": shards,
    }


# ---------------------------------------------------------------- what was left out


def write_rejected(folder: Path, rejected: Iterable[dict]) -> Counter[str]:
    """How many were left out for which kind of reason."""
    reasons: Counter[str] = Counter()
    with atomic(folder / REJECTED) as temporary, temporary.open("w", encoding="utf-8") as sink:
        for entry in rejected:
            reasons[kind_of(entry["reason"])] += 1
            sink.write(json.dumps(entry, ensure_ascii=False) + "\n")
    return reasons


def kind_of(reason: str) -> str:
    return reason.split(":")[0].split(" (")[0]


def read_rejected(folder: Path) -> Iterator[dict]:
    """{"source", "reason"} of each file that prepare left out, by name of the source. Raises DatasetError."""
    path = folder / REJECTED
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                entry = json.loads(line)
                if not isinstance(entry, dict) or not {"source", "reason"} <= entry.keys():
                    raise ValueError(f"line {number} names no source and reason")
                yield entry
    except FileNotFoundError:
        raise DatasetError(f"{path}: missing; mend it with: hid-museformer check --repair {folder}") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DatasetError(
            f"{path}: damaged ({error}); mend it with: hid-museformer check --repair {folder}"
        ) from error


# ---------------------------------------------------------------- mixtures


def read_mixture(folder: Path) -> dict[Path, float]:
    """Weight of each dataset of a mixture; a dataset by itself has weight 1. Raises DatasetError."""
    path, form = folder / MIXTURE, 'it should say {"datasets": {"PATH": WEIGHT}}'
    try:
        mixture = json.loads(path.read_text(encoding="utf-8"))
        weights = {folder / name: float(weight) for name, weight in mixture["datasets"].items()}
    except (FileNotFoundError, NotADirectoryError):
        return {folder: 1.0}
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: cannot be understood ({error}); {form}") from error
    if unknown := mixture.keys() - {"datasets"}:
        raise DatasetError(f"{path}: unknown keys {', '.join(sorted(unknown))}; {form}, and nothing else")
    if not weights or not all(0 < weight < 1000 for weight in weights.values()):
        raise DatasetError(f"{path}: name at least one dataset, with weights above 0 and below 1000")
    return weights
