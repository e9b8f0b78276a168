"""Verbs for those who come from v1.2.1: its checkpoints, data and text, and the comparison with the PyTorch reference.

What needs PyTorch lies in parity_tests and torch_ref, which nothing in jax_impl imports; a verb finds it by name when
it is called.
"""

import importlib
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from configs import InputError, PrepareConfig
from configs.model import ModelSize
from tokenizer.disk.atomic import write_text
from tokenizer.disk.destination import (
    MIDI,
    PICTURE,
    STANDARD_OUTPUT,
    TEXT,
    TORCH,
    file_named,
    folder_for,
    is_midi,
    standard_output,
    tell,
    to_be_written,
)

File = Annotated[Path, arg(metavar="FILE")]
Run = Annotated[Path, arg(metavar="RUN")]
Output = Annotated[str, arg(metavar="PATH")]


def parity(
    checkpoint: Path | None = None,
    size: ModelSize | None = None,
    plot: Annotated[str | None, arg(metavar="PATH")] = None,
    overwrite: bool = False,
) -> int:
    """Does the JAX program compute what the PyTorch one does? A table of the largest differences; exit status 1 if one
    is too large.

    Args:
        checkpoint: a run, of which the best checkpoint is compared.
        size: a size, compared under both mask rules with weights drawn so that mistakes show.
        plot: PNG file for the attention masks, or a folder for masks.png.
        overwrite: write over a picture that is there.
    """
    report = _with_torch("parity_tests.report")
    with ExitStack() as opened:
        picture = None if plot is None else file_named(plot, PICTURE, "masks.png", "--plot")
        if picture:
            opened.enter_context(folder_for([picture], "--plot"))
        return 0 if report.parity(checkpoint, size, picture, overwrite) else 1


def import_torch(
    file: Positional[File],
    run: Positional[Run],
    mask_rule: Literal["v121", "span"] = "v121",
    overwrite: bool = False,
) -> int:
    """Turn a checkpoint of v1.2.1 (best.pt) into a run that generate, parity and train --init-from take.

    No code in the file runs; one that is more than tensors and plain values is refused.

    Args:
        file: a PyTorch file with model_state_dict and args.
        run: the new folder.
        mask_rule: what the model was trained under; span only for files of export-torch.
        overwrite: move aside what is in the folder.
    """
    config = _with_torch("parity_tests.convert").import_torch(file, run, mask_rule, overwrite)
    shape = f"{config.layers} layers x {config.width}, {config.heads} heads, FFN {config.ffn}, {config.max_bars} bars"
    print(f"{run}: {shape}, rule {mask_rule}")
    if mask_rule == "v121":
        print(
            "its rule lets a bar see tracks that are written later; to go on under the causal one, and with the tokens "
            f"that v1.2.1 has not: train --init-from {run}"
        )
    return 0


def export_torch(run: Positional[Run], file: Positional[Output], overwrite: bool = False) -> int:
    """Write the best checkpoint of a run as a PyTorch file, under v1.2.1's parameter names. Its model must have
    v1.2.1's 643 tokens; models that are trained here have more.

    Args:
        run: a folder of import-torch, or the --output-dir of a training run that was begun before there were more.
        file: the PyTorch file (.pt, .pth, .ckpt), with model_state_dict and args; or a folder, where it is named as the
            run.
        overwrite: write over a file that is there.
    """
    path = file_named(file, TORCH, f"{run.resolve().name}.pt", "FILE")
    with to_be_written(path, flag="FILE", overwrite=overwrite):
        _with_torch("parity_tests.convert").export_torch(run, path)
    tell(path, f"the best checkpoint of {run}")
    return 0


def import_shards(
    data: Positional[Annotated[Path, arg(metavar="DATA")]],
    out: Positional[Annotated[Path, arg(metavar="OUT")]],
    config: Annotated[PrepareConfig, arg(name="")],
) -> int:
    """Turn data that v1.2.1 prepared into a dataset of this program: every note, with the silent bars that v1.2.1 left
    out.

    Args:
        data: folder with shard_*.pt and meta.json, or a Hugging Face dataset (save_to_disk).
        out: the folder of the dataset.
    """
    from tokenizer.dataset import v121

    is_arrow = v121.is_arrow(data)
    batches = v121.arrow_batches(data) if is_arrow else _with_torch("torch_ref.shards").shard_batches(data)
    v121.import_songs(batches, data, out, config)
    return 0


def text(
    file: Positional[File],
    out: Annotated[str | None, arg(aliases=["-o"], metavar="PATH")] = None,
    lossless: FlagCreatePairsOff[bool] = False,
    overwrite: FlagCreatePairsOff[bool] = False,
) -> int:
    """Show a MIDI file as v1.2.1's HID text, or turn such a text into a MIDI file.

    Args:
        file: a MIDI file, whatever its name, or a text file. Notes last as long as their keys were held, whatever the
            sustain pedal does, as in v1.2.1.
        out: what to write: text (.txt, .text, .hid) where FILE is MIDI, MIDI (.mid, .midi, .kar, .rmi) where FILE is
            text; a folder, where it is named as FILE; - is standard output, as is nothing where FILE is MIDI.
        lossless: times in ticks, not on v1.2.1's grid; a text file says itself which it is.
        overwrite: write over a file that is there.
    """
    if not file.exists():
        raise InputError(f"{file}: no such file")
    if is_midi(file) or _begins_as_midi(file):
        return _to_text(file, out, lossless, overwrite)
    if lossless:
        raise InputError(f"--lossless: {file} says itself in its first line whether it is; leave the flag out")
    if out is None:
        raise InputError(f"{file}: text becomes a MIDI file; name it with -o x.mid")
    return _to_midi(file, out, overwrite)


def _begins_as_midi(file: Path) -> bool:
    """Whether it holds what a text never does, near its beginning. Raises InputError."""
    try:
        with file.open("rb") as opened:
            return b"MThd" in opened.read(1024)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error


def _to_text(file: Path, out: str | None, lossless: bool, overwrite: bool) -> int:
    if out is None or out == STANDARD_OUTPUT:
        print(_text_of(file, lossless), end="")
        return 0
    path = file_named(out, TEXT, f"{file.stem}.txt", "--out")
    with to_be_written(path, [file], flag="--out", overwrite=overwrite):
        content = _text_of(file, lossless)
        write_text(path, content)
    tell(path, f"{content.count(chr(10))} lines of text from {file}")
    return 0


def _text_of(file: Path, lossless: bool) -> str:
    """Tells on standard error what was mended in the file. Raises MidiError."""
    from tokenizer.music import midi
    from tokenizer.tokens.text import to_text

    reading = midi.read_told(file, pedal="ignore")
    for repair in reading.repairs:
        print(f"notice: {file}: {repair}", file=sys.stderr)
    return to_text(reading.score, lossless)


def _to_midi(file: Path, out: str, overwrite: bool) -> int:
    from tokenizer.music import midi
    from tokenizer.tokens import text

    if out == STANDARD_OUTPUT:
        with standard_output("--out") as output:
            score = text.read(file)
            content, notice = midi.to_bytes(score, "standard output")
            output.write(content)
            tell("standard output", f"MIDI from {file}", notice)
        return 0
    path = file_named(out, MIDI, f"{file.stem}.mid", "--out")
    with to_be_written(path, [file], flag="--out", overwrite=overwrite):
        score = text.read(file)
        notice = midi.write(score, path)
    tell(path, f"MIDI from {file}", notice)
    return 0


def _with_torch(module: str) -> ModuleType:
    """Raises InputError where PyTorch is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError('this verb needs PyTorch: pip install "hid-museformer[torch]"') from error
