"""The user's songs as a dataset in which enough of them are held out.

`prepare` holds a share out by content, which of a handful may be any number of songs, one at least. Where that is too
few, the share is taken that holds out enough, and kept for the same command again.
"""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs import InputError, PrepareConfig, presets
from tokenizer.dataset.files import read_manifest
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset
from tokenizer.disk.atomic import write_json

ALL = 1 << 64  # families: what `prepare` divides by


def prepared(midi_dirs: Sequence[Path], folder: Path, kept: Path) -> Dataset:
    """The dataset in `folder`, made where there is none; kept: the file that says the share. Raises InputError."""
    if kept.exists():
        config = replace(presets.FINETUNE_SONGS, validation_fraction=_share_in(kept))
        _remove_if_divided_otherwise(folder, config)
        prepare(midi_dirs, folder, config)
        return Dataset(folder)
    prepare(midi_dirs, folder, presets.FINETUNE_SONGS)
    dataset = Dataset(folder)
    if (share := share_for(dataset)) is None:
        return dataset
    write_json(kept, {"validation_fraction": share})
    print(f"{len(dataset['validation'])} held out is too few; a tenth is wanted, so they are divided anew")
    return prepared(midi_dirs, folder, kept)


def share_for(dataset: Dataset) -> float | None:
    """That holds out FINETUNE_HELD_OUT of the songs; None where as many are held out, or there are no two to divide."""
    families = np.sort(np.concatenate([dataset[split].column("family") for split in ("train", "validation")]))
    wanted = math.ceil(presets.FINETUNE_HELD_OUT * len(families))
    if len(dataset["validation"]) >= wanted or len(families) < 2:
        return None
    return math.nextafter(int(families[wanted - 1]) / ALL, 1.0)


def _share_in(kept: Path) -> float:
    try:
        return float(json.loads(kept.read_text(encoding="utf-8"))["validation_fraction"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{kept}: cannot be read ({error}); name another --output-dir") from error


def _remove_if_divided_otherwise(folder: Path, config: PrepareConfig) -> None:
    """What an interruption left of the dataset that was divided first."""
    try:
        there = read_manifest(folder)["config"]["validation_fraction"]
    except (InputError, OSError, KeyError):
        return
    if there != config.validation_fraction:
        aside = folder.with_name(f".{folder.name}-before")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)  # at once, whenever it is killed
        shutil.rmtree(aside)
