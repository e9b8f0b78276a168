"""Training, in the order in which it happens; `train` reads from top to bottom.

Starting again with the same output_dir goes on from the last checkpoint, and every number after is the one that an
uninterrupted run has: the random keys of a step are functions of (seed, step), and the checkpoint holds everything
else.
"""

import dataclasses
import functools
import itertools
import signal
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
import numpy as np

from configs import (
    MASK_RULES,
    MODEL_SIZES,
    AugmentConfig,
    ComputeConfig,
    DataConfig,
    InputError,
    ModelConfig,
    TrainConfig,
)
from configs.model import AS_V121, VOCAB_SIZE
from jax_impl.batch import Batch
from jax_impl.device import device, memory, sharding
from jax_impl.loading import loader
from jax_impl.model import flops
from jax_impl.model.museformer import abstract_model
from jax_impl.training import by_kind, loss_plot, rollback
from jax_impl.training.checkpoint import Checkpoints
from jax_impl.training.found import FOLDER, CheckpointError, Steps, find
from jax_impl.training.guesses import uniform, unigram
from jax_impl.training.init_from import state_from
from jax_impl.training.metrics import Metrics
from jax_impl.training.progress import Progress
from jax_impl.training.record import CONFIG_FILE, Record, plain, versions
from jax_impl.training.resume import as_begun, check_schedule, find_start, leave_behind
from jax_impl.training.step import Measured, abstract_batches, make_step, validation_step
from jax_impl.training.stop import Stop
from tokenizer import vocabulary as vocab
from tokenizer.dataset.songs import Dataset
from tokenizer.disk.atomic import disk_free, write_json
from tokenizer.disk.lock import only_writer

# Steps given to the device before the metrics of the one before are waited for: it never idles, and NaN shows soon
RUN_AHEAD = 2
PICTURE_FILE = "loss.png"


# Of a step, its validation loss and the parameters: why the run is to end there, None where it goes on
Watch = Callable[[int, float, Any], str | None]


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended: after `step` of `total_steps`, stopped by this signal (15 SIGTERM, 2 Ctrl-C) or by none. ended:
    why its Watch ended it.
    """

    step: int
    total_steps: int
    signal: int | None
    ended: str | None = None


def model_config(config: TrainConfig) -> ModelConfig:
    """The model that the flags describe. Raises CheckpointError where --init-from names no run."""
    shape = MODEL_SIZES[config.model_size]
    if config.mask_rule == "v121":
        shape = dataclasses.replace(shape, **AS_V121)
    if config.init_from is not None:
        shape = find(config.init_from, "best").record.model_config
    elif there := model_begun(config.output_dir):  # it goes on as it was begun
        shape = dataclasses.replace(shape, **{name: getattr(there, name) for name in AS_V121})
    own = dict(mask_rule=MASK_RULES[config.mask_rule], dropout=config.dropout, vocab_size=VOCAB_SIZE)
    return dataclasses.replace(shape, **own)


def model_begun(run: Path) -> ModelConfig | None:
    """That of the checkpoints in a run's folder; None where there are none, or none that can be read."""
    with suppress(CheckpointError):
        for step in reversed(Steps(run).steps()):
            with suppress(CheckpointError):
                return Steps(run).record(step).model_config
    return None


def train(config: TrainConfig, model: ModelConfig | None = None, watch: Watch | None = None) -> Result:
    """Trains, or goes on training, the run in config.output_dir.

    model: of a shape or with a mask rule that no flag says; None: the one that the flags say. watch: asked at each
    validation, before a checkpoint of it; where it ends the run there is none. It says the same in all processes.

    On several hosts each process calls it (after sharding.join) with the same config; output_dir is one folder that all
    of them see. Raises InputError before any work where dataset, flags and checkpoint do not fit each other, and
    Diverged where training fails.
    """
    # ------------------------------------------------------------ what can be wrong is found first
    model = model or model_config(config)
    if model.vocab_size != vocab.SIZE:
        raise InputError(
            f"the songs of a dataset are written in {vocab.SIZE} tokens, so a model of {model.vocab_size} cannot be "
            "trained on them; one of v1.2.1's can be given as --init-from"
        )
    limit = device.memory_limit()
    with sharding.all_or_none():
        mesh = sharding.make_mesh(config)
        compute = device.compute_config(config)
        graph, abstract = abstract_model(model)
        memory.refuse_what_cannot_fit(config, abstract, mesh.size, limit)
        dataset = Dataset(config.data_dir)
        data_config = rows_of(config, model)
        epoch_rows = loader.rows_per_epoch(dataset, data_config, "train")
        total_steps = count_steps(config, epoch_rows)
        check_schedule(config, total_steps)
        if config.resume_from is not None and not (config.output_dir / FOLDER).is_dir():
            raise CheckpointError(
                f"--resume-from {config.resume_from}: there are no checkpoints in {config.output_dir}"
            )
    for notice in dataset.notices:
        say(f"notice: {notice}")
    with ExitStack() as opened:  # closes everything again, last first, however this ends
        opened.enter_context(alone_in(config.output_dir))
        plateau_end = config.plateau_end(total_steps)
        checkpoints = opened.enter_context(Checkpoints(config.output_dir, config.keep_last, plateau_end))
        with sharding.all_or_none():
            start = find_start(checkpoints, config, model, total_steps, dataset)
            record = start.record
            config = as_begun(config, record, total_steps)
            check_schedule(config, total_steps)
        tx, initialize, take_step = make_step(model, config, total_steps)
        abstract_state = jax.eval_shape(initialize)
        layout = sharding.state_layout(abstract_state, mesh)
        abstract_state = sharding.laid_out(abstract_state, layout)
        taken = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract_state))
        free = disk_free(config.output_dir)
        if free < taken:
            say(f"notice: {config.output_dir}: a checkpoint takes {taken / 1e6:.0f} MB, and {free / 1e6:.0f} are free")
        if record and record.step == total_steps:
            checkpoints.restore(total_steps, abstract_state)  # it is whole
            longer = f"begin another with --init-from {config.output_dir}; a cosine has come to its end"
            if plateau_end is not None:
                longer = f"give a larger --steps, and it goes on from step {plateau_end}, before it decayed"
            say(f"{config.output_dir}: already complete after {total_steps} steps; to train longer, {longer}")
            return Result(total_steps, total_steps, signal=None)

        # ------------------------------------------------------------ data and state
        own_part = dataclasses.replace(data_config, part=jax.process_index(), parts=jax.process_count())
        with sharding.all_or_none():
            rows = opened.enter_context(
                loader.loader(dataset, own_part, "train", record.data if record else loader.START)
            )
            validation = validation_batches(config, dataset, data_config)
            guesses = {}
            if validation:
                by_chance = {"uniform": uniform(), "unigram": unigram(dataset["train"].token_counts())}
                guesses = {name: guess.loss(validation, config.chord_targets) for name, guess in by_chance.items()}

        if record:
            state = checkpoints.restore(record.step, abstract_state)
        elif config.init_from is not None:
            state, told = state_from(config.init_from, model, tx, initialize, abstract_state)
            if told:
                say(told)
        else:
            state = jax.jit(initialize, out_shardings=layout)()
        if left := leave_behind(config.output_dir, checkpoints, start):  # its checkpoint is whole, as was seen above
            say(left)
        elif record and config.resume_from is not None:
            say(
                f"already went back to step {config.resume_from}; going on from {record.step} (to go back once more, "
                f"remove {config.output_dir / rollback.FILE})"
            )
        seen = tasks_seen(config, record)
        steps_done = record.step if record else 0
        about = {
            "train": plain(config),
            "model": plain(model),
            "parameters": sum(leaf.size for leaf in jax.tree.leaves(abstract)),
            "total_steps": total_steps,
            "dataset": dataset.fingerprint,
            "vocabulary": vocab.FINGERPRINT,
            "versions": versions(),
        }
        metrics = None
        if sharding.is_leader():
            write_json(config.output_dir / CONFIG_FILE, about, indent=1)  # of the last start, where it is not the first
            metrics = opened.enter_context(closing(Metrics(config, steps_done, about)))

        # ------------------------------------------------------------ the two programs
        batches_place, batch_place = sharding.rows(mesh, stacked=True), sharding.rows(mesh, stacked=False)
        on_all = sharding.everywhere(mesh)

        def compile_step(compute: ComputeConfig) -> jax.stages.Compiled:
            places = dict(in_shardings=(layout, batches_place), out_shardings=(layout, on_all))
            step_fn = jax.jit(functools.partial(take_step, compute=compute), donate_argnames="state", **places)
            return step_fn.lower(abstract_state, abstract_batches(config)).compile()

        validate_fn = functools.partial(
            validation_step,
            graph=graph,
            max_spans=config.row_spans,
            chord_targets=config.chord_targets,
            compute=compute,
        )
        validate_fn = jax.jit(validate_fn, in_shardings=(layout.parameters, batch_place), out_shardings=on_all)
        placed_validation = [sharding.from_all_rows(batch, batch_place) for batch in validation]
        say("compiling the step: seconds where it was compiled before, else up to minutes")
        with jax.set_mesh(mesh):  # attention kernels of our own need it
            if config.remat == "auto":
                step_fn, compute = memory.fastest_that_fits(compile_step, compute, limit)
            else:
                step_fn = compile_step(compute)
            if placed_validation:
                validate_fn = validate_fn.lower(abstract_state.parameters, placed_validation[0]).compile()

        # ------------------------------------------------------------ the loop
        peak = device.peak_flops(compute, mesh.size)
        needed_flops = flops.per_token(model, validation[:4] or [rows.first], config.row_spans)
        say(
            f"device: {mesh.size} x {device.describe(compute)}; mesh "
            f"{' x '.join(f'{name} {size}' for name, size in mesh.shape.items())}"
        )
        say(
            f"model: {about['parameters'] / 1e6:.1f} M parameters; steps {steps_done + 1} to {total_steps}, "
            f"{needed_flops / 1e6:.0f} MFLOPs per token"
        )

        carried = record.window if record else {}
        steps = range(steps_done + 1, total_steps + 1)
        measures = Progress(config, metrics, steps, carried, epoch_rows, needed_flops, peak)
        progress = opened.enter_context(closing(measures))
        stop = opened.enter_context(Stop())
        agreement = sharding.Agreement(mesh, lag=RUN_AHEAD)
        in_flight: deque[tuple[int, Measured]] = deque()
        ended = None
        for step in steps:
            with progress.waiting():
                batches = stack([next(rows) for _ in range(config.gradient_accumulation_steps)])
            state, measured = step_fn(state, sharding.from_own_rows(batches, batches_place))
            in_flight.append((step, measured))

            save_due = step % config.checkpoint_every == 0 or step in (plateau_end, total_steps)
            by_kind_due = step == total_steps or config.eval_every == 0 or step % config.eval_every == 0
            validate_due = save_due or step % config.validate_every == 0 or (config.eval_every and by_kind_due)
            stopping = agreement.signal(stop.signal)  # read once: the signal may come at any line
            settled = 0 if validate_due or stopping else RUN_AHEAD
            while len(in_flight) > settled:
                progress.step(*in_flight.popleft())

            validation_loss = None
            with progress.paused():
                if validate_due and placed_validation:
                    validation_loss, of_kinds = mean_losses(
                        validate_fn, state.parameters, placed_validation, validation
                    )
                    progress.validation(step, validation_loss, guesses, of_kinds if by_kind_due else {})
                    if watch and (ended := watch(step, validation_loss, state.parameters)):
                        break
                if save_due or stopping:
                    now = Record(
                        step=step,
                        model=plain(model),
                        train=plain(config),
                        total_steps=total_steps,
                        data=rows.get_state(),
                        dataset=dataset.fingerprint,
                        window=progress.carried(),
                        vocabulary=vocab.FINGERPRINT,
                        versions=versions(),
                        checksums={},
                        tasks=seen,
                    )
                    checkpoints.save(state, now, validation_loss)
                    if metrics:
                        loss_plot.draw(metrics.path, config.output_dir / PICTURE_FILE)
            if stopping:
                break
        checkpoints.finish()

        if stopping:
            say(
                f"stopped by {signal.Signals(stopping).name} after step {step}, saved; the same command "
                "goes on from here"
            )
        return Result(step, total_steps, stopping, ended)


def say(line: str) -> None:
    """A line of the run's, from one process alone."""
    if sharding.is_leader():
        print(line)


# ---------------------------------------------------------------- what can be wrong


def count_steps(config: TrainConfig, epoch_rows: int) -> int:
    """Optimizer steps of the run: given, or as many as its epochs have batches. Raises InputError."""
    if config.steps is not None:
        return config.steps
    steps = config.epochs * epoch_rows // (config.batch_size * config.gradient_accumulation_steps)
    if steps < 1:
        raise InputError(
            f"--epochs {config.epochs} of {epoch_rows} rows do not fill one step of "
            f"{config.gradient_accumulation_steps} x {config.batch_size} "
            "rows; take a smaller --batch-size, more --epochs, or --steps"
        )
    return steps


def tasks_seen(config: TrainConfig, record: Record | None) -> dict:
    """The tasks that a run's model has seen: its own, and those of the run that it began with. record: where it goes
    on, which says so of what came before.
    """
    before = record.tasks if record else {}
    if record is None and config.init_from is not None:
        before = find(config.init_from, "best").record.tasks
    return {name: max(before.get(name, 0.0), vars(config)[name]) for name in ("reorder", "fill")}


def make_writable(folder: Path) -> None:
    """Creates the folder of the run. Raises InputError where nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"--output-dir {folder}: cannot be written ({error.strerror})") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """The run's folder, made where there is none, and no other run in it meanwhile. The leader holds it for all its
    processes. Raises InputError in all of them.
    """
    with ExitStack() as held:
        with sharding.all_or_none():
            if sharding.is_leader():
                make_writable(folder)
                held.enter_context(only_writer(folder))
        yield


# ---------------------------------------------------------------- batches


def rows_of(config: TrainConfig, model: ModelConfig) -> DataConfig:
    """How a run's songs become rows."""
    return DataConfig(
        max_seq_len=config.max_seq_len,
        max_spans=config.row_spans,
        batch_size=config.batch_size,
        max_bars=model.max_bars,
        seed=config.seed,
        num_workers=config.num_workers,
        augment=AugmentConfig() if config.augment else None,
        reorder=config.reorder,
        fill=config.fill,
    )


def stack(micro_batches: Sequence[Batch]) -> Batch:
    """Micro batches [B, T] to [A, B, T]."""
    return Batch(*(np.stack(field) for field in zip(*micro_batches, strict=True)))


def validation_batches(config: TrainConfig, dataset: Dataset, data_config: DataConfig) -> list[Batch]:
    """The same ones at every validation, [B, T] each, kept in memory; none where no songs are kept for it."""
    if not len(dataset["validation"]):
        return []
    with loader.loader(dataset, dataclasses.replace(data_config, num_workers=0), "validation") as rows:
        return list(itertools.islice(rows, config.validation_batches))


def mean_losses(
    validate_fn: Callable, parameters: Any, placed: Sequence[Batch], batches: Sequence[Batch]
) -> tuple[float, dict[str, float]]:
    """Nats per token over all batches, and by kind of token. placed: the batches where they are computed."""
    nats = [validate_fn(parameters, batch) for batch in placed]  # all are begun before one is waited for
    return by_kind.mean_nats(list(map(np.asarray, nats)), batches)
