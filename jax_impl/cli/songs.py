"""Verbs for songs: MIDI into a dataset and back, and whether both are whole. None of them loads jax."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from configs import InputError, PrepareConfig
from tokenizer.disk.atomic import refuse_to_replace

FoldersAndOut = Annotated[tuple[Path, ...], arg(metavar="MIDI_DIR... OUT", help_behavior_hint="")]
DatasetsAndOut = Annotated[tuple[Path, ...], arg(metavar="DATASET... OUT", help_behavior_hint="")]
Files = Annotated[tuple[Path, ...], arg(metavar="FILE...", help_behavior_hint="")]
Output = Annotated[Path, arg(aliases=["-o"])]


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


def merge(paths: Positional[DatasetsAndOut], workers: int = 0) -> int:
    """Join datasets that were prepared alike, such as all the shards that several machines made of one collection.

    Args:
        paths: datasets, then the folder of the new one.
        workers: processes (0: one per core).
    """
    from tokenizer.dataset import gather, prepare

    if len(paths) < 2:
        raise InputError("name at least one dataset, then the folder of the dataset to make")
    *datasets, out = paths
    print(prepare.summary(out, gather.merge(datasets, out, workers)))
    return 0


def check(files: Positional[Files], repair: bool = False) -> int:
    """Do these MIDI files survive the tokenizer exactly, are these datasets whole? Exit status 1 if one is not.

    Args:
        files: MIDI files, folders of MIDI files, and folders made by prepare.
        repair: write datasets anew from those of their rows that are whole songs.
    """
    from tokenizer.dataset.files import MANIFEST, MIXTURE, read_mixture
    from tokenizer.dataset.prepare import find_midi

    if not files:
        raise InputError("name at least one MIDI file, or a folder")
    datasets, songs = [], []
    for path in files:
        if any((path / name).exists() for name in (MANIFEST, MIXTURE)):
            datasets += list(read_mixture(path))
        elif path.is_dir():
            found = [Path(song) for _, song in find_midi([path])[0]]
            if not found:
                raise InputError(f"{path}: neither a dataset (no {MANIFEST}) nor a folder with MIDI files")
            songs += found
        else:
            songs.append(path)
    all_whole = all([_check_dataset(path, repair) for path in datasets])  # a list, so that all are looked at
    return 0 if _check_songs(songs) and all_whole else 1


def _check_dataset(path: Path, repair: bool) -> bool:
    from tokenizer.dataset import audit
    from tokenizer.dataset.files import DatasetError

    try:
        findings = audit.audit(path)
    except DatasetError as error:
        print(error)
        return False
    for finding in findings[:100]:
        print(f"{path / finding.shard}{'' if finding.row is None else f' row {finding.row}'}: {finding.problem}")
    print(f"{path}: {len(findings) or 'nothing'} wrong" + (", the first 100 above" if len(findings) > 100 else ""))
    if findings and repair:
        manifest = audit.repair(path)
        print(f"{path}: written anew, {sum(part['songs'] for part in manifest['splits'].values())} songs")
        return True
    return not findings


def _check_songs(files: list[Path]) -> bool:
    from tokenizer.tokens.check import check

    if files:
        print(f"{'exact':>5} {'notes':>8} {'tokens':>8} {'tok/note':>8} {'seconds':>8}  file")
    all_exact = True
    for path in files:
        result = check(path)
        all_exact &= result.exact
        if result.error:
            print(f"{'no':>5} {'-':>8} {'-':>8} {'-':>8} {result.seconds:8.3f}  {result.error}", flush=True)
            continue
        exact, ratio = "yes" if result.exact else "NO", result.tokens / max(result.notes, 1)
        print(f"{exact:>5} {result.notes:8} {result.tokens:8} {ratio:8.3f} {result.seconds:8.3f}  {path}", flush=True)
    return all_exact


def decode(
    dataset: Positional[Path],
    index: int,
    out: Output,
    split: Literal["train", "validation"] = "train",
    overwrite: bool = False,
) -> int:
    """Write a song of a dataset back to a MIDI file.

    Args:
        dataset: a folder made by prepare.
        index: number of the song in its split, from 0.
        out: the MIDI file.
        split: train or validation.
        overwrite: write over a file that is there.
    """
    from tokenizer.dataset.songs import Dataset
    from tokenizer.music import midi
    from tokenizer.tokens import decode

    refuse_to_replace(out, flag="--out", overwrite=overwrite)
    songs = Dataset(dataset)[split]
    if not 0 <= index < len(songs):
        raise InputError(f"--index {index}: {dataset} has the {split} songs 0 to {len(songs) - 1}")
    midi.write(decode.decode(songs[index].ids), out)
    print(f"{out}: {songs.source(index)}, {len(songs[index])} tokens")
    return 0
