"""v1.2.1's checkpoint files: {"model_state_dict": ..., "args": ..., ...}. Reading one runs no code from it.
For import-torch and export-torch.
"""

import argparse
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import torch

from configs import InputError
from tokenizer.disk.atomic import atomic

ZIP, PICKLE = b"PK\3\4", b"\x80"  # how a file of torch.save begins, now and before PyTorch 1.6
WRAPPERS = ("_orig_mod.", "module.")  # torch.compile and DistributedDataParallel put these before every name


class TorchFileError(InputError):
    """A file that is no checkpoint, or is one that only running its code could open; the message says which."""


def load(path: Path) -> object:
    """What is in a file that torch.save wrote, if it is made of tensors and plain values alone.
    Raises TorchFileError.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            begin = file.read(len(ZIP))
    except OSError as error:
        raise TorchFileError(f"{path}: cannot be read ({error.strerror})") from error
    if not begin.startswith((ZIP, PICKLE)):
        raise TorchFileError(
            f"{path}: not a PyTorch checkpoint, by its first bytes (torch.save writes a zip or a pickle)"
        )
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals([argparse.Namespace]),
        ):  # Namespace: flags, plain values
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        if wanted:
            what = f"opening it could run code from the file: it wants {wanted[1]}"
        else:  # an instruction that no file of tensors has
            said = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
            what = f"it is more than tensors and plain values ({said[1] if said else str(error)[:200]})"
        raise TorchFileError(f"{path}: refused, since {what}; save the tensors alone") from error
    except Exception as error:  # damage shows in many ways
        reason = next(iter(str(error).strip().splitlines()), "empty or truncated")[:200]
        raise TorchFileError(f"{path}: not a readable PyTorch file ({type(error).__name__}: {reason})") from error


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
