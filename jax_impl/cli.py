"""The command line. Nothing heavy is imported before the verb that needs it: --help, prepare, check and decode never load jax."""

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from configs import ClusterConfig, Constraints, InputError, PrepareConfig, SampleConfig, TrainConfig
from configs.model import ModelSize
from jax_impl import cli_v121

app = tyro.extras.SubcommandApp()
DESCRIPTION = """Symbolic music: prepare your MIDI files, train a model on them, let it write new ones.

  hid-museformer prepare MIDI_DIR songs
  hid-museformer train --data-dir songs --output-dir run
  hid-museformer generate run -o new.mid
"""
Output = Annotated[Path, arg(aliases=["-o"])]
FoldersAndOut = Annotated[tuple[Path, ...], arg(metavar="MIDI_DIR... OUT", help_behavior_hint="")]
Files = Annotated[tuple[Path, ...], arg(metavar="FILE...", help_behavior_hint="")]


@app.command
def demo(midi: Path | None = None, out: Path = Path("demo")) -> int:
    """The whole chain in minutes: prepare, train the tiny model, restore it, write a song.

    Args:
        midi: folder of MIDI files (none: songs that a built-in composer writes).
        out: folder for the checkpoint, song.mid, pianoroll.png, loss.png and summary.json.
    """
    from jax_impl.demo import demo

    return demo(midi, out)


@app.command
def prepare(paths: Positional[FoldersAndOut], config: Annotated[PrepareConfig, arg(name="")]) -> int:
    """Turn folders of MIDI files into a dataset.

    Args:
        paths: folders that are searched for MIDI files, with all folders in them; then the folder of the dataset.
    """
    from tokenizer import prepare

    if len(paths) < 2:
        raise InputError("name at least one folder of MIDI files, then the folder of the dataset to make")
    *midi_dirs, out = paths
    prepare.prepare(midi_dirs, out, config)
    return 0


@app.command
def merge(paths: Positional[Annotated[tuple[Path, ...], arg(metavar="DATASET... OUT", help_behavior_hint="")]], workers: int = 0) -> int:
    """Join datasets that were prepared alike, such as all the shards that several machines made of one collection.

    Args:
        paths: datasets, then the folder of the new one.
        workers: processes (0: one per core).
    """
    from tokenizer import gather, prepare

    if len(paths) < 2:
        raise InputError("name at least one dataset, then the folder of the dataset to make")
    *datasets, out = paths
    print(prepare.summary(out, gather.merge(datasets, out, workers)))
    return 0


@app.command
def check(files: Positional[Files], repair: bool = False) -> int:
    """Do these MIDI files survive the tokenizer exactly, are these datasets whole? Exit status 1 if one is not.

    Args:
        files: MIDI files, folders of MIDI files, and folders made by prepare.
        repair: write datasets anew from those of their rows that are whole songs.
    """
    from tokenizer.dataset import MANIFEST, MIXTURE, read_mixture
    from tokenizer.prepare import find_midi

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
    from tokenizer import audit
    from tokenizer.dataset import DatasetError

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
    from tokenizer.check import check

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


@app.command
def decode(dataset: Positional[Path], index: int, out: Output, split: Literal["train", "validation"] = "train") -> int:
    """Write a song of a dataset back to a MIDI file.

    Args:
        dataset: a folder made by prepare.
        index: number of the song in its split, from 0.
        out: the MIDI file.
        split: train or validation.
    """
    from tokenizer import decode, midi
    from tokenizer.dataset import Dataset

    songs = Dataset(dataset)[split]
    if not 0 <= index < len(songs):
        raise InputError(f"--index {index}: {dataset} has the {split} songs 0 to {len(songs) - 1}")
    midi.write(decode.decode(songs[index].ids), out)
    print(f"{out}: {songs.source(index)}, {len(songs[index])} tokens")
    return 0


@app.command
def train(config: Annotated[TrainConfig, arg(name="")], cluster: Annotated[ClusterConfig, arg(name="")]) -> int:
    """Train a model on a dataset; the same command again goes on where it stopped.

    SIGTERM and Ctrl-C finish the step, save a checkpoint and end with exit status 143 or 130.
    """
    from jax_impl import sharding, train

    sharding.join(cluster)
    result = train.train(config, train.model_config(config))
    return 128 + result.signal if result.signal else 0


@app.command
def generate(
    run: Positional[Path],
    config: Annotated[SampleConfig, arg(name="")],
    constraints: Annotated[Constraints, arg(name="")],
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    continue_: Annotated[Path | None, arg(name="continue")] = None,
    accompany: Path | None = None,
    again: Path | None = None,
    stream: bool = False,
    wav: bool = False,
    picture: bool = True,
    checkpoint: str = "best",
) -> int:
    """Let a trained model write songs, go on with one, or play along with one.

    Examples: generate run -o new.mid --instruments drums,bass,piano --bars 16 --chords "C Am F G7";
    generate run -o longer.mid --continue a.mid --keep-bars 8; generate run -o band.mid --accompany a.mid --add drums,bass;
    generate run --out many --num-samples 1000

    Args:
        run: the --output-dir of a training run; everything else the model needs is in its checkpoint.
        out: the MIDI file, of several the second is NAME-2.mid and so on; or a folder, where the same command goes on after a stop.
        continue_: a MIDI file to go on with, after --keep-bars of it.
        accompany: a MIDI file to play along with, on the instruments of --add.
        again: the JSON of a sample, to make it once more.
        stream: print the bars as they are finished, instead of writing files.
        wav: also write sound, with FluidSynth.
        picture: also draw the piano roll.
        checkpoint: best (lowest validation loss), latest, or a step.
    """
    from jax_impl import compose

    if continue_ and (accompany or constraints.add):
        raise InputError("--continue goes on with a song, --accompany and --add play along with one: give one of the two")
    if accompany and not constraints.add:
        raise InputError("--accompany needs --add: the instruments that are to play along, such as --add drums,bass")
    given = continue_ or accompany
    if out is None and not stream:
        raise InputError("--out is missing: name a .mid file, or a folder for many songs")
    if stream:
        return compose.print_stream(run, config, constraints, given, checkpoint)
    if again:
        return compose.again(run, out, again, picture, wav)
    return compose.generate(run, out, config, constraints, given, checkpoint, picture, wav)


@app.command
def memory(model_size: ModelSize = "large", batch_size: int = 4, max_seq_len: int = 8192, layers: bool = False) -> int:
    """What a training step takes of a GPU with each --remat, and the largest batch that fits; no GPU is needed.

    The real step is compiled, for this machine's GPU or else for an H800 of 80 GB, and the compiler says. Minutes.

    Args:
        model_size: tiny, small, base, large or xlarge.
        batch_size: rows of a batch on one GPU.
        max_seq_len: tokens of a row.
        layers: instead, what each layer adds to 1 x 4096 tokens at width 512.
    """
    from jax_impl import gpu_target

    gpu_target.add_plugin()
    from jax_impl import memory_table

    if layers:
        memory_table.show_layers()
    else:
        memory_table.show(model_size, batch_size, max_seq_len)
    return 0


cli_v121.register(app)


def main() -> None:
    try:
        status = app.cli(prog="hid-museformer", description=DESCRIPTION)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"error: {error.filename or 'writing'}: {error.strerror}; make room and give the same command again", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
