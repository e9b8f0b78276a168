"""Datasets that were prepared apart, joined: the verb `merge`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs import InputError, PrepareConfig
from tokenizer.dataset.files import REJECTED, DatasetError, read_manifest, read_rejected, shards_of
from tokenizer.dataset.gather import NONE, gather, make_room, named, work_folder
from tokenizer.dataset.shards import open_shard
from tokenizer.disk.atomic import file_digest


def merge(folders: Sequence[Path], out: Path, workers: int, overwrite: bool = False) -> dict:
    """One dataset of several that were prepared alike. All the shards I/N of one collection make the same bytes as one
    prepare of all files. Of independent datasets, a song that one of them holds out, in whatever key, is held out,
    from validation too where it is for a test in one.
    overwrite: what is there is moved aside. Raises InputError.
    """
    out = named(out)
    if out in map(named, folders):
        raise InputError(f"{out}: is one of the datasets to join; name a new folder")
    if not overwrite:
        make_room(out, overwrite)
    manifests = {folder: read_manifest(folder) for folder in sorted(set(map(named, folders)))}
    first = next(iter(manifests.values()))
    _check_alike(manifests)
    rejected_is_whole(manifests)
    files, held_out = [], {"validation": [NONE], "test": [NONE]}
    for folder, manifest in manifests.items():
        for split, entry in shards_of(manifest):
            rows = open_shard(folder / entry["file"], entry)
            files.append(rows.path)
            if split in held_out and manifest["shard"] == "1/1":
                held_out[split].append(rows.batch.column("family").to_numpy().copy())
    config = PrepareConfig(**first["config"], workers=workers)
    # The shards of one collection have read the same files, all of them.
    of_shards = {manifest["inputs"] if manifest["shard"] != "1/1" else None for manifest in manifests.values()}
    inputs = of_shards.pop() if len(of_shards) == 1 else None
    lists = [read_rejected(folder) for folder in manifests]
    with work_folder(out) as work:
        make_room(out, overwrite)
        families = {split: np.concatenate(parts) for split, parts in held_out.items()}
        merged = gather(files, lists, work, out, config, first["tokenizer_version"], inputs, families)
    return merged


def _check_alike(manifests: dict[Path, dict]) -> None:
    """Raises InputError where datasets cannot be joined."""
    first = next(iter(manifests))
    for folder, manifest in manifests.items():
        there, here = (
            vars(PrepareConfig(**of["config"])) | {"tokenizer version": of["tokenizer_version"]}
            for of in (manifests[first], manifest)
        )
        differs = [
            f"{name.replace('_', '-')} {there[name]} there, {here[name]} here"
            for name in there
            if there[name] != here[name]
        ]
        if differs:
            raise InputError(f"{folder}: prepared otherwise than {first} ({'; '.join(differs)}); prepare them alike")
    shards = sorted(manifest["shard"] for manifest in manifests.values())
    parts = max(int(shard.split("/")[1]) for shard in shards)
    if parts > 1 and shards != sorted(f"{number}/{parts}" for number in range(1, parts + 1)):
        raise InputError(
            f"these are the shards {', '.join(shards)}; merge takes each of 1/{parts} to {parts}/{parts} once"
        )


def rejected_is_whole(manifests: dict[Path, dict]) -> None:
    """Raises DatasetError."""
    for folder, manifest in manifests.items():
        for _ in read_rejected(folder):  # raises where it cannot be
            pass
        if file_digest(folder / REJECTED) != manifest["rejected_sha256"]:
            raise DatasetError(
                f"{folder / REJECTED}: damaged (its digest is that of another content); mend it with: hid-museformer "
                f"check --repair {folder}"
            )
