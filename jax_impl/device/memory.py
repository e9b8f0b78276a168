"""How much memory a program takes, before it takes it: compiled, XLA says what it will allocate. Asked by training, the
verb `memory` and sampling.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax

from configs import ComputeConfig, InputError, TrainConfig
from configs.model import AUTO_REMAT
from jax_impl.batch import Batch

GB = 1e9


@dataclass(frozen=True)
class Memory:
    """Bytes on one device. arguments: parameters, optimizer and batch, donated ones once; temporaries: all else."""

    arguments: int
    temporaries: int

    @property
    def total(self) -> int:
        return self.arguments + self.temporaries


def of(compiled: jax.stages.Compiled) -> Memory:
    """What a compiled program needs."""
    analysis = compiled.memory_analysis()
    arguments = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return Memory(arguments, analysis.temp_size_in_bytes)


def refuse_what_cannot_fit(config: TrainConfig, parameters: Any, devices: int, limit: int) -> None:
    """Raises InputError where each of so many devices would need more than `limit` bytes for that alone which no
    rematerialization saves: parameters, their gradient and two moments (one, of what Muon moves), the logits of one
    micro batch, and the step's inputs. parameters: of the model, or their shapes.

    Found before songs are planned and programs compiled, which takes long where something is far too large.
    """
    with_one_moment = None if config.optimizer == "adamw" else "kernel"
    state = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(parameters):
        state += 4 * leaf.size * (3 if path[-1].key == with_one_moment else 4)
    state //= config.fsdp_devices
    tokens = config.batch_size * config.max_seq_len // devices
    vocab_size, _ = parameters["tokens"]["embedding"].shape
    rows = tokens * 4 * (vocab_size + config.gradient_accumulation_steps * len(Batch._fields))
    if state + rows > limit:
        raise InputError(
            f"a step takes more than {(state + rows) / GB:.1f} GB of each device, {state / GB:.1f} for the model and "
            f"its optimizer and {rows / GB:.1f} for {config.batch_size} rows of {config.max_seq_len} tokens, and "
            f"{limit / GB:.1f} GB are for it: take a smaller --max-seq-len, --batch-size or --model-size, or more "
            "--fsdp-devices"
        )


def fastest_that_fits(
    compile_: Callable[[ComputeConfig], jax.stages.Compiled], compute: ComputeConfig, limit: int
) -> tuple[jax.stages.Compiled, ComputeConfig]:
    """The program with the rematerialization that repeats least of those whose program fits into `limit` bytes, and its
    settings.

    compile_ is tried with one after another, those of AUTO_REMAT. Raises InputError where not even the leanest fits.
    """
    for remat in AUTO_REMAT:
        chosen = replace(compute, remat=remat)
        compiled = compile_(chosen)
        needed = of(compiled).total
        if needed <= limit:
            return compiled, chosen
    raise InputError(
        f"a step takes {needed / GB:.1f} GB of each device even with --remat {remat}, and {limit / GB:.1f} "
        "GB are for it: take a smaller "
        f"--batch-size (with more --gradient-accumulation-steps), --fsdp-devices, or --remat {remat} to try "
        "all the same"
    )


def largest_batch(measure: Callable[[int], int], rows: int, budget: int, group: int) -> int:
    """Most rows that fit, 0 if not even one does. measure(rows): bytes, nearly affine in rows, so few are asked for.

    group: rows that a layer works on at once; above it only its multiples count, since others are worked on in smaller
    groups.
    """
    known = {rows: measure(rows)}
    while True:
        fits = max((rows for rows, needed in known.items() if needed <= budget), default=0)
        fails = min((rows for rows, needed in known.items() if needed > budget), default=None)
        guess = _whole_groups(_crossing(known, budget), group)
        if fails is not None:
            guess = min(guess, _whole_groups(fails - 1, group))
        if guess <= fits:
            return fits
        known[guess] = measure(guess)


def _crossing(known: dict[int, int], budget: int) -> float:
    """Rows at which the line through the two points nearest the budget meets it; of a single point, the line from the
    origin.
    """
    (rows, needed), *others = sorted(known.items(), key=lambda point: abs(point[1] - budget))
    other_rows, other_needed = others[0] if others else (0, 0)
    return rows + (budget - needed) * (rows - other_rows) / (needed - other_needed)


def _whole_groups(rows: float, group: int) -> int:
    return int(rows // group * group) if rows >= group else int(rows)
