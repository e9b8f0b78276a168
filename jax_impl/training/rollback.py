"""Going back to an earlier checkpoint once, however often the command that says so is given.

A requeued job gives the same --resume-from each time; going back each time, it would never get past its time limit. So
RUN/went_back.json says where the run went back to. It is written before anything is deleted, `deleted` None, and again
afterwards: a run that is ended in between finishes it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.found import CheckpointError
from jax_impl.training.record import digest_of
from tokenizer.disk.atomic import write_json

FILE = "went_back.json"


@dataclass(frozen=True)
class Rollback:
    """step: of the checkpoint that the run went back to; deleted: those after it, None until they are."""

    step: int
    deleted: list[int] | None


def read(run: Path) -> Rollback | None:
    """None where the run never went back. Raises CheckpointError."""
    path = run / FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("digest") != digest_of(values):
            raise ValueError("its digest is that of another content")
        return Rollback(int(values["step"]), values["deleted"])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); remove it, and --resume-from goes back once more") from error


def write(run: Path, rollback: Rollback) -> None:
    """Raises WriteError."""
    values = asdict(rollback)
    write_json(run / FILE, values | {"digest": digest_of(values)})


def begin(run: Path, checkpoints: Checkpoints, resume_from: int | None) -> tuple[int | None, bool]:
    """(the step to go on from, None for a new run; whether later ones are still to be deleted). Changes nothing. Raises
    CheckpointError.
    """
    done, newest = read(run), checkpoints.latest()
    if done and done.deleted is None and newest is not None:  # ended while it went back
        return checkpoints.choose(done.step if resume_from is None else resume_from), True
    if resume_from is None:
        return newest, False
    if done and done.step == resume_from and newest is not None and newest >= resume_from:
        return newest, False
    return checkpoints.choose(resume_from), True
