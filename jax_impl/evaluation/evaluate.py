"""What a trained model is worth as a musician, in one report: what it says of songs that it never saw, how the songs
that it writes compare with them, whether it copies, and what it gets wrong where no grammar holds it.

    evaluate("run")                                     {"losses", "features", "copies", "errors", ...}
    evaluate("run", out="report")                       also report.json, report.png, report.html, samples/0000.mid ...

Each part is a function of its own (losses, comparison.compare, copies.compare, errors); here they get the same songs.
Everything follows from the checkpoint, the dataset and the config: the same call gives the same report.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from configs import EvaluateConfig, InputError
from jax_impl.evaluation import comparison, copies, page, picture, samples
from jax_impl.evaluation.errors import errors
from jax_impl.evaluation.losses import losses
from jax_impl.sampling.sample import Sample
from jax_impl.training.found import Found, find
from jax_impl.training.record import plain, versions
from tokenizer.dataset.songs import Dataset
from tokenizer.disk import destination
from tokenizer.disk.atomic import atomic_together, file_digest, is_as_written, refuse_to_replace, write_json
from tokenizer.disk.lock import only_writer
from tokenizer.grid.meter import Bars
from tokenizer.tokens import fields
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import bar_maps
from tokenizer.tokens.fields import TokenFields

MADE_BY = "hid-museformer evaluate"
FOLDER, SAMPLES = "evaluation", "samples"  # in a run; in the folder of a report
NUMBERS, PICTURE, PAGE = FILES = ("report.json", "report.png", "report.html")
OF_FILES = (".json", ".png", ".html", ".htm", ".txt", ".csv", ".pdf", ".mid", ".midi")  # that --out may be taken for
DEFAULT = EvaluateConfig()


def evaluate(
    run: str | Path | None = None,
    *,
    dataset: str | Path | None = None,
    out: str | Path | None = None,
    config: EvaluateConfig = DEFAULT,
    checkpoint: str | int = "best",
    overwrite: bool = False,
) -> dict:
    """The report as JSON values, see report_of. run: None for the model that comes with this program. dataset: a folder
    made by prepare (None: the one that the run was trained on, which a file does not say). out: a folder for the report
    and the songs (None: nothing is written). overwrite: write over files there that no evaluation made, or that were
    changed since. Raises InputError before work starts, where it can.
    """
    if not isinstance(config, EvaluateConfig):
        raise InputError(f"config must be an EvaluateConfig, got {type(config).__name__}")
    if not isinstance(run, str | os.PathLike | None):
        raise InputError(f"run must be the path of a training run, got {type(run).__name__}")
    found = find(None if run is None else Path(run), checkpoint)
    songs = HeldOutSongs(found, dataset, config)
    if config.samples:
        samples.task(found, config)  # that the model can do it is known before the losses are
    if out is None:
        return report_of(found, songs, config, None)
    with _to_be_written(Path(out), config, overwrite) as (folder, old):
        report = report_of(found, songs, config, folder / SAMPLES)
        _write(report, folder, old)
    return report


class HeldOutSongs:
    """Songs of a split that is not trained on.

    folder: of the dataset. is_own: whether the run was trained on these very songs.
    """

    def __init__(self, found: Found, folder: str | Path | None, config: EvaluateConfig):
        """Raises InputError where there are none."""
        self.folder = found.record.dataset_folder() if folder is None else Path(folder)
        self.config, self.dataset = config, Dataset(self.folder)
        self.is_own = self.dataset.fingerprint == found.record.dataset
        there = self.dataset[config.split].weight > 0 if config.split in self.dataset else np.zeros(0, bool)
        self.numbers = np.flatnonzero(there)
        if not len(self.numbers):
            flag = f"--{config.split}-fraction"
            raise InputError(
                f"{self.folder}: has no {config.split} songs, which no training sees, to compare with; prepare it "
                f"with {flag} 0.1, or name another --data-dir or --split"
            )

    def first_bars(self) -> list[TokenFields]:
        """config.held_out of them at most, evenly spread: their first config.bars bars. Of a mixture, of whose datasets
        the model wrote in proportion, so many of each as its weight says, all of the one with the largest.
        """
        songs = self.dataset[self.config.split]
        weight = songs.part_weight[self.numbers]
        share = weight / weight.max()
        numbers = self.numbers[np.diff(np.floor(np.cumsum([0.5, *share]))) > 0]
        chosen = np.unique(np.linspace(0, len(numbers) - 1, self.config.held_out).round().astype(int))
        return [first_bars(songs[number], self.config.bars) for number in numbers[chosen].tolist()]


def first_bars(tokens: TokenFields, bars: int) -> TokenFields:
    """A song's first bars, whole ones as they are written."""
    signature, *_ = bar_maps(tokens)
    parts = int((Bars(signature).measure < bars).sum())
    return tokens if parts == len(signature) else crop(tokens, 0, parts)


# ---------------------------------------------------------------- the numbers


def report_of(found: Found, songs: HeldOutSongs, config: EvaluateConfig, folder: Path | None) -> dict:
    """{"made_by", "run", "step", "checksum", "dataset", "is_own_dataset", "held_out_songs", "config", "versions",
    "losses"}; with samples also {"samples": {...}, "features", "copies", "errors"}, see the functions of these names.
    folder: where the samples are kept.
    """
    with ExitStack() as opened:
        index = _index(songs.dataset, opened) if config.samples else None
        return _report_of(found, songs, config, folder, index)


def _index(dataset: Dataset, opened: ExitStack) -> copies.Index:
    """Of the songs that are trained on; where it cannot be kept, one for as long as `opened` is."""
    try:
        return copies.open_index(dataset)
    except InputError as error:
        print(f"notice: {error}; it is made for this evaluation alone")
        folder = opened.enter_context(tempfile.TemporaryDirectory())
        return copies.open_index(dataset, folder=Path(folder))


def _report_of(
    found: Found, songs: HeldOutSongs, config: EvaluateConfig, folder: Path | None, index: copies.Index | None
) -> dict:
    record = found.record
    report: dict[str, Any] = {
        "made_by": MADE_BY,
        "run": found.name,
        "step": record.step,
        "checksum": str(record.checksums.get("parameters", "")),
        "dataset": str(songs.folder),
        "is_own_dataset": songs.is_own,
        "held_out_songs": len(songs.numbers),
        "config": plain(config),
        "versions": versions(),
        "losses": losses(found.run_dir, dataset=songs.dataset, checkpoint=record.step, split=config.split).plain(),
    }
    if config.samples:
        written = samples.sample(found, config) if folder is None else samples.write(found, config, folder)
        new, real = [fields.compute(song.ids) for song in written], songs.first_bars()
        free = samples.sample_without_grammar(found, config)
        report |= {
            "samples": _told_of(written, len(real)),
            "features": comparison.compare(new, real, seed=config.seed, bars=config.bars),
            "copies": copies.compare(new, real, index),
            "errors": errors([song.ids for song in free], record.model_config.max_bars, record.has_seen_orders),
        }
    return report


def _told_of(written: Sequence[Sample], compared_with: int) -> dict:
    return {
        "songs": len(written),
        "tokens": sum(len(song.ids) for song in written),
        "cut_short": sum(song.cut_short for song in written),
        "compared_with": compared_with,
    }


# ---------------------------------------------------------------- the files


@contextmanager
def _to_be_written(folder: Path, config: EvaluateConfig, overwrite: bool) -> Iterator[tuple[Path, dict]]:
    """Around the work: the folder, made and held for this process alone, and what an earlier report there says, {}
    where there is none. Raises InputError.
    """
    if str(folder) == destination.STANDARD_OUTPUT or folder.suffix.lower() in OF_FILES:
        raise InputError(f"--out {folder}: name a folder, in which {', '.join(FILES)} and {SAMPLES}/ are written")
    old = _earlier(folder)
    for name in FILES:
        ours = bool(old) and (name == NUMBERS or _may_replace(folder / name, old))
        refuse_to_replace(folder / name, flag="--out", overwrite=overwrite, ours=ours)
    places = samples.paths(folder / SAMPLES, config.samples)
    samples.refuse_to_replace(folder / SAMPLES, config.samples, overwrite)
    with ExitStack() as opened:
        opened.enter_context(destination.folder_for([folder / name for name in FILES], "--out"))
        opened.enter_context(only_writer(folder))
        if places:
            opened.enter_context(destination.folder_for(places, "--out"))
        yield folder, old


def _earlier(folder: Path) -> dict:
    """What an earlier report in this folder says; {} where there is none of this program."""
    try:
        report = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_ours = isinstance(report, dict) and report.get("made_by") == MADE_BY and isinstance(report.get("files"), dict)
    return report if is_ours else {}


def _may_replace(path: Path, old: dict) -> bool:
    """Whether a file is as a report noted it, or as it was before that one, where an interruption came between."""
    return any(is_as_written(path, files.get(path.name)) for files in (old["files"], old.get("replaces", {})))


def _write(report: dict, folder: Path, old: dict) -> None:
    """All three files, each whole or not at all. Raises WriteError."""
    replaces = old.get("files", {})
    with atomic_together([folder / name for name in FILES]) as (numbers, *others):
        for draw, file in zip((picture.draw, page.write), others, strict=True):
            draw(report, file)
        files = {file: file_digest(new) for file, new in zip((PICTURE, PAGE), others, strict=True)}
        write_json(numbers, report | {"files": files, "replaces": replaces}, indent=1)
    write_json(folder / NUMBERS, report | {"files": files}, indent=1)
