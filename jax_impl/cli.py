"""The command line. Nothing heavy is imported before the verb that needs it: --help, prepare, check and decode never load jax."""

import errno
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional, arg

from configs import ClusterConfig, InputError, PrepareConfig, SampleConfig, TrainConfig

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
def check(files: Positional[Files]) -> int:
    """Do these MIDI files survive the tokenizer exactly? Exit status 1 if one does not.

    Args:
        files: MIDI files.
    """
    from tokenizer.check import check

    if not files:
        raise InputError("name at least one MIDI file")
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
    return 0 if all_exact else 1


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
def generate(run: Positional[Path], out: Output, config: Annotated[SampleConfig, arg(name="")], checkpoint: str = "best") -> int:
    """Let a trained model write songs as MIDI files.

    Args:
        run: the --output-dir of a training run; everything else the model needs is in its checkpoint.
        out: the MIDI file; of several, the second is out-2.mid and so on.
        checkpoint: best (lowest validation loss), latest, or a step.
    """
    from tqdm import tqdm

    from jax_impl import device, sample
    from jax_impl.checkpoint import load_model
    from tokenizer import midi

    step = int(checkpoint) if checkpoint.isdigit() else checkpoint
    model, record = load_model(run, step)
    with tqdm(total=config.max_length, unit="token", disable=None) as bar:
        samples = sample.generate(model, config, device.sampling_compute(), on_token=lambda length: bar.update(length - bar.n))
    for number, song in enumerate(samples, start=1):
        path = out if number == 1 else out.with_stem(f"{out.stem}-{number}")
        midi.write(song.score(), path)
        print(f"{path}: {len(song.ids)} tokens{'' if song.finished else ', cut at --max-length'} (checkpoint of step {record.step})")
    return 0


def main() -> None:
    try:
        status = app.cli(prog="hid-museformer", description=DESCRIPTION)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
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
