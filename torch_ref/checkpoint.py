"""v1.2.1's checkpoint files: {"model_state_dict": ..., "args": ..., ...}. Reading one runs no code from it."""

import argparse
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch

from configs import InputError
from tokenizer.disk.atomic import atomic

ZIP, PICKLE = b"PK\3\4", b"\x80"  # how a file of torch.save begins, now and before PyTorch 1.6
WRAPPERS = ("_orig_mod.", "module.")  # torch.compile and DistributedDataParallel put these before every name


class TorchFileError(InputError):
    """A file that is no checkpoint, or is one that only running its code could open; the message says which."""


def load(path: Path, kind: str = "checkpoint") -> object:
    """What is in a file that torch.save wrote, if it is made of tensors and plain values alone. kind: of file, for the
    messages. Raises TorchFileError.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            begin = file.read(len(ZIP))
    except IsADirectoryError:
        raise TorchFileError(f"{path}: not a PyTorch {kind} but a folder; name the file in it") from None
    except OSError as error:
        raise TorchFileError(f"{path}: cannot be read ({error.strerror})") from error
    if begin.startswith(ZIP):
        _check_zip(path, kind)
    elif not begin.startswith(PICKLE):
        what = "by its first bytes (torch.save writes a zip or a pickle)" if begin else "it is empty"
        raise TorchFileError(f"{path}: not a PyTorch {kind}, {what}")
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals([argparse.Namespace]),
        ):  # Namespace: flags, plain values
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            what = f"opening it could run code from the file: it wants {wanted[1]}"
        elif "Unsupported operand" in str(error):  # an instruction that no file of torch.save has
            raise TorchFileError(
                f"{path}: not a PyTorch {kind} (another pickle, or damage); refused, since opening it could run code"
            ) from error
        else:
            said = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
            what = f"it is more than tensors and plain values ({said[1] if said else str(error)[:200]})"
        raise TorchFileError(f"{path}: refused, since {what}; save the tensors alone") from error
    except Exception as error:  # damage shows in many ways
        raise TorchFileError(f"{path}: not a PyTorch {kind}, or a damaged one ({type(error).__name__})") from error


def _check_zip(path: Path, kind: str) -> None:
    """Raises TorchFileError for one that torch.save has not written."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(name).name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise TorchFileError(f"{path}: not a PyTorch {kind}, or one that was copied in part (no whole zip)") from error
    if "data.pkl" not in names:
        raise TorchFileError(f"{path}: not a PyTorch {kind} but another zip (it has no data.pkl)")
    if "constants.pkl" in names:
        raise TorchFileError(f"{path}: not a PyTorch {kind} but a TorchScript program; save its weights alone")


def read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """(weights by name as fp32 arrays, args) of a checkpoint. Raises TorchFileError."""
    content = load(path)
    if not isinstance(content, dict) or not isinstance(content.get("model_state_dict"), dict):
        raise TorchFileError(f"{path}: no model_state_dict in it; expected a checkpoint written by v1.2.1's training")
    weights = {}
    for name, value in content["model_state_dict"].items():
        if not isinstance(value, torch.Tensor):
            raise TorchFileError(f"{path}: {name} is a {type(value).__name__}, not a tensor")
        for wrapper in WRAPPERS:
            name = name.removeprefix(wrapper)
        weights[name] = value.detach().float().numpy()
    args = content.get("args", {})
    args = vars(args) if isinstance(args, argparse.Namespace) else args
    if not isinstance(args, dict):
        raise TorchFileError(f"{path}: its args are a {type(args).__name__}, not names and values")
    return weights, args


def write(weights: dict[str, np.ndarray], args: dict, path: Path) -> None:
    """The same kind of file, whole or not at all. Raises InputError where it cannot be written."""
    content = {
        "model_state_dict": {name: torch.tensor(np.asarray(value)) for name, value in weights.items()},
        "args": args,
    }
    with atomic(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # what its writer makes of the system's
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise TorchFileError(f"{path}: cannot be written ({error})") from error
