"""Where a run goes on: from which checkpoint, whether it is the same run, and what becomes of checkpoints that it
leaves behind. `train` asks before it does any work.

A run of schedule "wsd" is the same run whatever its length, up to the step where its decay begins: its plateau can be
made longer. One that has begun to decay goes on from that step, and its decayed checkpoints become a run of their own:

    --steps 8:    1 2 3 4 5 6 7 8        then --steps 12:    1 2 3 4 5 6 7 8 9 10 11 12
    rate            /‾‾‾‾‾‾‾‾‾‾‾\\                               /‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾‾\\
    checkpoints:        4     7 8                                4     7       10 11 12        and decayed-8: 8
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from configs import InputError, ModelConfig, TrainConfig
from jax_impl.device import sharding
from jax_impl.training import metrics, rollback
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.found import FOLDER, CheckpointError
from jax_impl.training.record import CONFIG_FILE, Record, plain
from tokenizer.dataset.songs import Dataset
from tokenizer.disk.atomic import WriteError, write_text

# A run that goes on may change these: they do not touch the numbers, or only as another machine would.
MAY_CHANGE = {
    *("data_dir", "output_dir", "precision", "attention", "remat", "num_workers", "data_devices", "fsdp_devices"),
    *("log_every", "validate_every", "eval_every", "validation_batches", "checkpoint_every", "keep_last"),
    *("tracker", "tracker_project", "resume_from"),
    "init_from",  # a run that goes on has weights of its own
    *("epochs", "steps"),  # what they come to may not
}
# What a run was that was begun before there was such a flag
BEFORE_THERE_WAS = (
    {field.name: field.default for field in dataclasses.fields(TrainConfig) if field.default is not dataclasses.MISSING}
    | {"reorder": 0.0, "fill": 0.0, "chord_targets": "all", "track_targets": "ended"}
    | {"optimizer": "adamw"}
)


@dataclasses.dataclass(frozen=True)
class Start:
    """record: of the checkpoint to go on from, None for a new run. back: checkpoints after it are deleted. aside: name
    of the folder in the run's that they go to instead, None where they do not.
    """

    record: Record | None = None
    back: bool = False
    aside: str | None = None


def find_start(
    checkpoints: Checkpoints, config: TrainConfig, model: ModelConfig, total_steps: int, dataset: Dataset
) -> Start:
    """Changes nothing. Raises CheckpointError where what is there is another run, or cannot go on."""
    newest, back = rollback.begin(config.output_dir, checkpoints, config.resume_from)
    if newest is None:
        return Start()
    record = checkpoints.record(newest)
    check_agreement(record, config, model, total_steps, dataset)
    same_until = _same_until(record, config, total_steps)
    if newest <= same_until:
        return Start(record, back)
    before = [step for step in checkpoints.steps() if step <= same_until]
    if back or not before or total_steps < record.total_steps:
        raise CheckpointError(
            f"{config.output_dir}: up to step {same_until} a run of {record.total_steps} and one of {total_steps} "
            f"steps are the same, and step {newest} is past it; "
            + (f"--resume-from {max(before)} goes back, later checkpoints are deleted" if before else
               "there is no checkpoint from before: give another --output-dir")
        )  # fmt: skip
    record = checkpoints.record(max(before))
    check_agreement(record, config, model, total_steps, dataset)
    return Start(record, back=False, aside=f"decayed-{checkpoints.record(newest).total_steps}")


def as_begun(config: TrainConfig, record: Record | None, total_steps: int) -> TrainConfig:
    """The config with what was not given as the run was begun with it: the lengths of warm-up and decay, in steps, the
    optimizer, and which chords are targets.
    """
    warmup, plateau_end = config.warmup(total_steps), config.plateau_end(total_steps)
    if config.warmup_steps is None and record is not None:
        warmup = record.train.get("warmup_steps", warmup)
    decay = None if plateau_end is None else total_steps - plateau_end
    begun_with = BEFORE_THERE_WAS | record.train if record else {}
    own = {name: vars(config)[name] or begun_with.get(name) for name in ("optimizer", "chord_targets", "track_targets")}
    return dataclasses.replace(config, warmup_steps=warmup, decay_steps=decay, **own).as_new()


def check_schedule(config: TrainConfig, total_steps: int) -> None:
    """Raises InputError where a run of so many steps has no room for its schedule."""
    warmup, plateau_end = config.warmup(total_steps), config.plateau_end(total_steps)
    if warmup >= total_steps:
        raise InputError(f"--warmup-steps {warmup} must be below the {total_steps} steps of the run")
    if plateau_end is None and config.decay_steps is not None:
        raise InputError("--decay-steps is for --schedule wsd; a cosine falls from the warm-up on")
    if plateau_end is not None and plateau_end < warmup:
        raise InputError(
            f"--warmup-steps {warmup} and --decay-steps {total_steps - plateau_end} together must be at most the "
            f"{total_steps} steps of the run"
        )


def check_agreement(
    record: Record, config: TrainConfig, model: ModelConfig, total_steps: int, dataset: Dataset
) -> None:
    """Raises CheckpointError naming what differs between the run that wrote the checkpoint and this one. How long a run
    of schedule "wsd" is and how long it decays may differ.
    """
    if record.step == 0:
        raise CheckpointError(
            f"{config.output_dir} holds imported weights (step 0), which a run would replace; to train from them give "
            f"--init-from {config.output_dir} and another --output-dir"
        )
    tokens = record.model_config.vocab_size
    if tokens != model.vocab_size:
        raise CheckpointError(
            f"{config.output_dir} holds a run of {tokens} tokens, and the songs of a dataset are written in "
            f"{model.vocab_size} now, on a finer grid, so it cannot go on; to train on from its weights give "
            f"--init-from {config.output_dir} and another --output-dir"
        )
    config = as_begun(config, record, total_steps)
    then = BEFORE_THERE_WAS | record.train | plain(record.model_config)
    then |= {"total steps": record.total_steps, "dataset": record.dataset}
    now = plain(config) | plain(model) | {"total steps": total_steps, "dataset": dataset.fingerprint}
    may_change = MAY_CHANGE | ({"total steps", "decay_steps"} if config.schedule == "wsd" else set())
    different = [name for name in now if name not in may_change and then.get(name) != now[name]]
    if different == ["total steps"]:
        raise CheckpointError(
            f"{config.output_dir}: each rate of a cosine depends on the last step, which is {record.total_steps} there "
            f"and {total_steps} here; give --steps {record.total_steps} to finish that run, or begin another with "
            f"--init-from {config.output_dir} and another --output-dir (one of --schedule wsd can be made longer)"
        )
    if different:
        listed = "; ".join(f"{name} {then.get(name)} there, {now[name]} here" for name in different)
        raise CheckpointError(
            f"{config.output_dir} holds a run of another configuration: {listed}. "
            "Give the values it was started with to continue it, or another --output-dir to start a new run"
        )


def _same_until(record: Record, config: TrainConfig, total_steps: int) -> int:
    """The last step that the run there and this one, which agree, have in common."""
    plateau_end = config.plateau_end(total_steps)
    if plateau_end is None:
        return total_steps
    plateau_end_there = record.total_steps - record.train["decay_steps"]
    if (total_steps, plateau_end) == (record.total_steps, plateau_end_there):
        return total_steps
    return min(plateau_end, plateau_end_there)


# ---------------------------------------------------------------- checkpoints that are left behind


def leave_behind(run: Path, checkpoints: Checkpoints, start: Start) -> str | None:
    """Deletes or moves the checkpoints after the one to go on from; says so in a line. Ended anywhere, the next start
    finishes it.
    """
    if start.aside is not None:
        return move_aside(run, checkpoints, start.record.step, start.aside)
    return go_back(run, checkpoints, start.record.step) if start.back else None


def go_back(run: Path, checkpoints: Checkpoints, step: int) -> str:
    """What was done is remembered: a command that is given again goes back once."""
    if sharding.is_leader():
        rollback.write(run, rollback.Rollback(step, deleted=None))
    deleted = checkpoints.delete_after(step)
    if sharding.is_leader():
        rollback.write(run, rollback.Rollback(step, deleted))
    what = f"checkpoints {', '.join(map(str, deleted))} deleted" if deleted else "there were no later checkpoints"
    return f"went back to step {step}: {what}"


def move_aside(run: Path, checkpoints: Checkpoints, step: int, folder: str) -> str:
    """Into a run of its own in this run's folder, the last first: while one is left, the next start moves it."""
    later = [there for there in checkpoints.steps() if there > step]
    place = _free(run / folder, later)
    with sharding.all_or_none():  # the leader begins once all of them have looked
        pass
    with sharding.all_or_none():
        if sharding.is_leader():
            try:
                (place / FOLDER).mkdir(parents=True, exist_ok=True)
                for name in (metrics.FILE, CONFIG_FILE):
                    if (run / name).exists():
                        write_text(place / name, (run / name).read_text(encoding="utf-8", errors="replace"))
                for there in reversed(later):
                    os.replace(run / FOLDER / str(there), place / FOLDER / str(there))
            except OSError as error:
                raise WriteError(place, error) from error
    checkpoints.read_again()
    return (
        f"the plateau goes on from step {step}; the decayed model is kept as {place}, a run of its own "
        f"(checkpoints {', '.join(map(str, later))})"
    )


def _free(place: Path, steps: Sequence[int]) -> Path:
    """The folder, or the first of FOLDER-2, ... that has no checkpoints of these steps."""
    number, free = 1, place
    while any((free / FOLDER / str(step)).exists() for step in steps):
        number += 1
        free = place.with_name(f"{place.name}-{number}")
    return free
