"""v1.2.1's checkpoint files: {"model_state_dict": ..., "args": ..., ...}. Reading one runs no code from it."""

import argparse
import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import torch

from configs import InputError

WRAPPERS = ("_orig_mod.", "module.")  # torch.compile and DistributedDataParallel put these before every name


class TorchFileError(InputError):
    """A file that is no checkpoint, or is one that only running its code could open; the message says which."""


def load(path: Path) -> object:
    """What is in a file that torch.save wrote, if it is made of tensors and plain values alone.
    Raises TorchFileError.
    """
    path = Path(path)
    if not path.is_file():
        raise TorchFileError(f"{path}: no such file")
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals([argparse.Namespace]),
        ):  # Namespace: flags, plain values
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it wants {wanted[1]}" if wanted else "it is no file of tensors and plain values"
        raise TorchFileError(
            f"{path}: refused, since opening it could run code from the file: {what}; save the tensors alone"
        ) from error
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
    """The same kind of file, whole or not at all. Raises TorchFileError where it cannot be written."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    content = {
        "model_state_dict": {name: torch.tensor(np.asarray(value)) for name, value in weights.items()},
        "args": args,
    }
    try:
        torch.save(content, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise TorchFileError(f"{path}: cannot be written ({error})") from error
