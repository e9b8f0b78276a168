"""Verbs for those who come from v1.2.1: its checkpoints, data and text, and the comparison with the PyTorch reference.

What needs PyTorch lies in parity_tests and torch_ref, which nothing in jax_impl imports; a verb finds it by name when
it is called.
"""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, arg

from configs import InputError, PrepareConfig
from configs.model import ModelSize
from tokenizer.disk.atomic import refuse_to_replace, write_text

MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
File = Annotated[Path, arg(metavar="FILE")]
Run = Annotated[Path, arg(metavar="RUN")]


def parity(
    checkpoint: Path | None = None, size: ModelSize | None = None, plot: Path | None = None, overwrite: bool = False
) -> int:
    """Does the JAX program compute what the PyTorch one does? A table of the largest differences; exit status 1 if one
    is too large.

    Args:
        checkpoint: a run, of which the best checkpoint is compared.
        size: a size, compared under both mask rules with weights drawn so that mistakes show.
        plot: PNG file for the attention masks.
        overwrite: write over a picture that is there.
    """
    return 0 if _with_torch("parity_tests.report").parity(checkpoint, size, plot, overwrite) else 1


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
            "its rule lets a bar see tracks that are written later; to go on under the causal one: train "
            f"--init-from {run}"
        )
    return 0


def export_torch(run: Positional[Run], file: Positional[File], overwrite: bool = False) -> int:
    """Write the best checkpoint of a run as a PyTorch file, under v1.2.1's parameter names.

    Args:
        run: the --output-dir of a training run, or a folder of import-torch.
        file: the PyTorch file, with model_state_dict and args.
        overwrite: write over a file that is there.
    """
    refuse_to_replace(file, flag="FILE", overwrite=overwrite)
    _with_torch("parity_tests.convert").export_torch(run, file)
    print(file)
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
    out: Annotated[Path | None, arg(aliases=["-o"])] = None,
    lossless: FlagCreatePairsOff[bool] = False,
    overwrite: FlagCreatePairsOff[bool] = False,
) -> int:
    """Show a MIDI file as v1.2.1's HID text, or turn such a text into a MIDI file.

    Args:
        file: a MIDI file, or a text file (any other suffix than .mid, .midi, .kar and .rmi).
        out: what to write: text where FILE is MIDI (without it, it is printed), MIDI where FILE is text.
        lossless: times in ticks, not on v1.2.1's grid; a text file says itself which it is.
        overwrite: write over a file that is there.
    """
    from tokenizer.music import midi
    from tokenizer.tokens import text as hid_text

    if not file.exists():
        raise InputError(f"{file}: no such file")
    if out is not None:
        refuse_to_replace(out, [file], flag="--out", overwrite=overwrite)
    if file.suffix.lower() in MIDI_SUFFIXES:
        content = hid_text.to_text(midi.read(file), lossless)
        if out is None:
            print(content, end="")
        else:
            write_text(out, content)
    elif out is None:
        raise InputError(f"{file}: text becomes a MIDI file; name it with -o x.mid")
    elif lossless:
        raise InputError(f"--lossless: {file} says itself in its first line whether it is; leave the flag out")
    else:
        midi.write(hid_text.read(file), out)
    return 0


def _with_torch(module: str) -> ModuleType:
    """Raises InputError where PyTorch is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise InputError('this verb needs PyTorch: pip install "hid-museformer[torch]"') from error
