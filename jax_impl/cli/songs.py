"""Verbs for songs: MIDI into a dataset and back, and whether both are whole. None of them loads jax."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from configs import CheckConfig, InputError, PrepareConfig, ranges
from configs.ranges import RANGES
from tokenizer.disk.atomic import refuse_to_replace
from tokenizer.disk.destination import (
    MIDI,
    PICTURE,
    STANDARD_OUTPUT,
    file_named,
    folder_for,
    is_folder,
    standard_output,
    tell,
    to_be_written,
)

if TYPE_CHECKING:
    from tokenizer.music.score import Score

FoldersAndOut = Annotated[tuple[Path, ...], arg(metavar="MIDI_DIR... OUT", help_behavior_hint="")]
DatasetsAndOut = Annotated[tuple[Path, ...], arg(metavar="DATASET... OUT", help_behavior_hint="")]
Files = Annotated[tuple[Path, ...], arg(metavar="FILE...", help_behavior_hint="")]
Output = Annotated[str, arg(aliases=["-o"], metavar="PATH")]


def prepare(paths: Positional[FoldersAndOut], config: Annotated[PrepareConfig, arg(name="")]) -> int:
    """Turn folders of MIDI files into a dataset.

    Args:
        paths: folders that are searched for MIDI files, with all folders in them; then the folder of the dataset.
    """
    from tokenizer.dataset import prepare

    if len(paths) < 2:
        raise InputError("name at least one folder of MIDI files, then the folder of the dataset to make")
    *midi_dirs, out = paths
    prepare.prepare(midi_dirs, out, config)
    return 0


def merge(paths: Positional[DatasetsAndOut], workers: int = 0, overwrite: bool = False) -> int:
    """Join datasets that were prepared alike, such as all the shards that several machines made of one collection.

    Args:
        paths: datasets, then the folder of the new one.
        workers: processes (0: one per core).
        overwrite: move aside what is in the folder of the new one.
    """
    from tokenizer.dataset import prepare
    from tokenizer.dataset.merge import merge

    ranges.within("--workers", workers, RANGES["PrepareConfig"]["workers"])
    if len(paths) < 2:
        raise InputError("name at least one dataset, then the folder of the dataset to make")
    *datasets, out = paths
    print(prepare.summary(out, merge(datasets, out, workers, overwrite)))
    return 0


def check(
    files: Positional[Files],
    config: Annotated[CheckConfig, arg(name="")],
    repair: bool = False,
    from_: Annotated[tuple[Path, ...], arg(name="from", metavar="MIDI_DIR...")] = (),
    plot: Annotated[str | None, arg(metavar="FOLDER")] = None,
    overwrite: bool = False,
    workers: int = 0,
    json: FlagCreatePairsOff[bool] = False,
) -> int:
    """How much of these MIDI files' music survives the tokenizer, are these datasets whole? Exit status 1 if a file is
    unreadable, off grid, not exact or damaged, or a dataset not whole.

    exact: tokens say the music on the grid, note for note. faithful, audibly changed, damaged: whether the music on the
    grid is that of the file. off grid: its beats are not heard well enough, so that prepare leaves it out.

    Args:
        files: MIDI files, folders of MIDI files, and folders made by prepare.
        repair: write damaged datasets anew from those of their rows that are whole songs; the old folder is kept where
            any is not.
        from_: with --repair, the folders that prepare was given: songs that are missing are prepared from them again.
        plot: a folder for a picture of each file: its first 16 bars over its own beats and over those that were found.
        overwrite: with --plot, write over pictures that are there.
        workers: processes (0: one per core).
        json: for programs: a JSON object a line, of each file and then of all; what is said of datasets goes to
            standard error.
    """
    from jax_impl.cli.checked import check_songs

    ranges.within("--workers", workers, RANGES["PrepareConfig"]["workers"])
    if not files:
        raise InputError("name at least one MIDI file, or a folder")
    if from_ and not repair:
        raise InputError("--from says where --repair finds songs that are missing; add --repair")
    if plot is not None and config.align == "off":
        raise InputError("--plot shows what beats were found, and --align off looks for none; leave one of them out")
    if overwrite and plot is None:
        raise InputError("--overwrite says that --plot may write over pictures; add --plot")
    with ExitStack() as opened:
        with contextlib.redirect_stdout(sys.stderr if json else sys.stdout):
            datasets, songs = _told_apart(files)
            pictures: list[Path] | None = None
            if plot is not None:
                pictures = opened.enter_context(_pictures(songs, plot, overwrite))
            # Lists, so that all are looked at.
            all_whole = all([_check_dataset(part, repair, from_, workers) for _, part in datasets])
            if all_whole:
                mixtures = dict.fromkeys(path for path, part in datasets if path != part)
                all_whole = all([_check_mixture(path) for path in mixtures])
        return 0 if check_songs(songs, pictures, config, workers, json) and all_whole else 1


@contextlib.contextmanager
def _pictures(songs: Sequence[Path], plot: str, overwrite: bool) -> Iterator[list[Path]]:
    """Around the work: where each song is drawn; that it can be written there is known. Raises InputError."""
    from jax_impl.cli.checked import named_pictures

    if not songs:
        raise InputError("--plot draws MIDI files, and there are none")
    if is_folder(plot, PICTURE, "--plot"):
        pictures = named_pictures(songs, Path(plot))
    elif len(songs) == 1:
        pictures = [Path(plot)]
    else:
        raise InputError(f"--plot {plot}: is one picture, and there are {len(songs)} files; name a folder")
    for picture in pictures:
        refuse_to_replace(picture, flag="--plot", overwrite=overwrite)
    with folder_for(pictures, "--plot"):
        yield pictures


def _told_apart(paths: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Datasets, each as (what was named, it or a part of it), and songs; says which folders cannot be searched. Raises
    InputError.
    """
    from tokenizer.dataset.files import MANIFEST, MIXTURE, read_mixture
    from tokenizer.dataset.find import find_midi

    datasets, songs = [], []
    for path in paths:
        if any(os.path.lexists(path / name) for name in (MANIFEST, MIXTURE)):
            datasets += [(path, part) for part in read_mixture(path)]
        elif path.is_dir():
            found, unread = find_midi([path])
            for entry in unread:
                print(f"{entry['source']}: {entry['reason']}")
            if not found:
                raise InputError(f"{path}: neither a dataset (no {MANIFEST}) nor a folder with MIDI files")
            songs += [Path(song) for _, song in found]
        else:
            songs.append(path)
    return datasets, songs


def _check_dataset(path: Path, repair: bool, midi_dirs: tuple[Path, ...], workers: int) -> bool:
    from tokenizer.dataset import audit
    from tokenizer.dataset.files import REJECTED, DatasetError

    try:
        findings = audit.audit(path, workers)
        if repair and (findings or (midi_dirs and audit.missing_songs(path))):
            _tell(path, findings)
            return _repair(path, midi_dirs, workers)
        missing = [] if any(finding.file == REJECTED for finding in findings) else audit.missing_songs(path)
    except DatasetError as error:
        print(error)
        return False
    _tell(path, findings)
    if missing:
        print(f"{path}: {len(missing)} missing since a repair: {_some(missing)}; {_way_back(path)}")
    return not findings and not missing


def _tell(path: Path, findings: list) -> None:
    for finding in findings[:100]:
        print(f"{path / finding.file}{'' if finding.row is None else f' row {finding.row}'}: {finding.problem}")
    print(f"{path}: {len(findings) or 'nothing'} wrong" + (", the first 100 above" if len(findings) > 100 else ""))


def _repair(path: Path, midi_dirs: tuple[Path, ...], workers: int) -> bool:
    """Whether all songs are there now."""
    from tokenizer.dataset.repair import repair

    place = path.resolve()
    inside = Path.cwd().is_relative_to(place)
    done = repair(path, midi_dirs, workers)
    print(f"{path}: written anew, {sum(part['songs'] for part in done.manifest['splits'].values())} songs")
    if done.aside:
        print(f"{path}: {done.dropped} rows or shards were damaged; the old folder is {done.aside}")
    if done.missing:
        print(f"{path}: to be prepared again: {_some(done.missing)}; {_way_back(path)}")
    if inside:
        print(f"this folder is now another one: cd {place}")
    return not done.missing


def _way_back(path: Path) -> str:
    """How songs that are missing come into a dataset again."""
    from tokenizer.dataset.files import read_manifest
    from tokenizer.dataset.prepare import TOKENIZER_VERSION

    version = read_manifest(path)["tokenizer_version"]
    if version == TOKENIZER_VERSION:
        return f"hid-museformer check {path} --repair --from MIDI_DIR prepares them"
    return f"they cannot be added to songs of tokenizer {version}, this is {TOKENIZER_VERSION}: prepare all of it again"


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _check_mixture(path: Path) -> bool:
    from tokenizer.dataset.files import DatasetError
    from tokenizer.dataset.songs import Dataset

    try:
        for notice in Dataset(path).notices:
            print(f"{path}: {notice}")
    except DatasetError as error:
        print(error)
        return False
    return True


def decode(
    dataset: Positional[Path],
    index: int,
    out: Output,
    split: Literal["train", "validation", "test"] = "train",
    overwrite: bool = False,
) -> int:
    """Write a song of a dataset back to a MIDI file.

    Args:
        dataset: a folder made by prepare.
        index: number of the song in its split, from 0.
        out: the MIDI file (.mid, .midi, .kar, .rmi); a folder, where it is named by split and number; - is standard
            output.
        split: train, validation, or test where prepare was given --test-fraction.
        overwrite: write over a file that is there.
    """
    from tokenizer.music import midi

    if out == STANDARD_OUTPUT:
        with standard_output("--out") as output:
            score, what = _song(dataset, split, index)
            content, notice = midi.to_bytes(score, "standard output")
            output.write(content)
            tell("standard output", what, notice)
        return 0
    path = file_named(out, MIDI, f"{split}-{index}.mid", "--out")
    with to_be_written(path, flag="--out", overwrite=overwrite):
        score, what = _song(dataset, split, index)
        notice = midi.write(score, path)
    tell(path, what, notice)
    return 0


def _song(dataset: Path, split: str, index: int) -> "tuple[Score, str]":
    """A song of a dataset, at the tempi of its file where they are known, and what it is. Raises InputError."""
    from tokenizer.dataset.songs import Dataset
    from tokenizer.grid.tempo_map import with_tempos
    from tokenizer.tokens import decode

    songs = Dataset(dataset)[split]
    if not len(songs):
        raise InputError(f"--split {split}: {dataset} has no {split} songs")
    if not 0 <= index < len(songs):
        raise InputError(f"--index {index}: {dataset} has the {split} songs 0 to {len(songs) - 1}")
    score = with_tempos(decode.decode(songs[index].ids), songs.tempos(index))
    return score, f"{songs.source(index)}, {len(songs[index])} tokens"
