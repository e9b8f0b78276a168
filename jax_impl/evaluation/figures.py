"""The figures that losses.py gives, from the costs of targets; NumPy alone. All is of the targets that count in
training (tokenizer.tokens.example says which do not):

    nats_per_token              mean of -ln P(token), as training's loss under --chord-targets all
    nats_per_token_as_sampled   the same, but a chord of a later track, which is known, costs -ln P(any chord), as
                                training's loss under --chord-targets first
    bits_per_note               sum of the nats as sampled / ln 2 / number of pitch targets
    bits_per_second             sum of the nats as sampled / ln 2 / seconds of the windows, bar by bar by the meters and
                                tempi that their tokens say

The last two do not depend on how music is cut into tokens, as far as tokenizers keep the same of it.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jax_impl.batch import Batch
from jax_impl.evaluation.groups import Sums
from jax_impl.training.by_kind import KINDS, PITCH
from jax_impl.training.guesses import Guess
from tokenizer.grid.meter import Bars
from tokenizer.grid.tempo_map import length
from tokenizer.tokens import fields
from tokenizer.tokens.encode import bar_maps

GUESSES = ("unigram", "bigram")


@dataclass(frozen=True)
class Losses:
    """For the figures see the top of this file. unigram, bigram: the same figures of guesses. by_kind and so on: of
    each group that has targets its nats per token ("nats", "as_sampled"), "targets", and "share" of the sum of all nats
    as sampled; by_kind also the nats per token of the guesses, as sampled.
    """

    nats_per_token: float
    nats_per_token_as_sampled: float
    targets: int
    notes: int
    seconds: float
    bits_per_note: float | None  # None where there is no note
    bits_per_second: float
    unigram: dict[str, float | None]
    bigram: dict[str, float | None]
    by_kind: dict[str, dict[str, float]]
    by_family: dict[str, dict[str, float]]
    by_bar: dict[str, dict[str, float]]
    by_tracks: dict[str, dict[str, float]]

    def plain(self) -> dict:
        """JSON values."""
        return dataclasses.asdict(self)


def costs(nats: np.ndarray, sampled: np.ndarray, batch: Batch, of_guesses: dict[str, Guess]) -> dict[str, np.ndarray]:
    """What by_group takes, [B, T] each: of the model, as it is and as sampled, and the same of each guess.

    nats, sampled: float32[B, T] of each target by the model, see training.step.token_losses.
    """
    named = {"nats": nats, "as_sampled": sampled}
    for name, guess in of_guesses.items():
        named |= {name: guess.costs(batch, "all"), f"{name}_as_sampled": guess.costs(batch, "first")}
    return named


def summed(sums: Sums, seconds: float) -> Losses:
    """The figures of the sums of all batches, whose windows last so many seconds."""
    kinds = sums["by_kind"].values()
    total = {cost: sum(kind[cost] for kind in kinds) for cost in next(iter(kinds))}
    notes = sums["by_kind"].get(KINDS[PITCH], {}).get("targets", 0)

    def figures(cost: str, sampled: str) -> dict[str, float | None]:
        bits = total[sampled] / math.log(2)
        return {
            "nats_per_token": total[cost] / total["targets"],
            "nats_per_token_as_sampled": total[sampled] / total["targets"],
            "bits_per_note": bits / notes if notes else None,
            "bits_per_second": bits / seconds,
        }

    def group(of: dict[str, float], costs_by_name: dict[str, str]) -> dict[str, float]:
        share = of["as_sampled"] / total["as_sampled"] if total["as_sampled"] else 0.0
        of_all = {name: of[cost] / of["targets"] for name, cost in costs_by_name.items()}
        return of_all | {"targets": of["targets"], "share": share}

    tables = {}
    for grouping, groups in sums.items():
        of_guesses = {name: f"{name}_as_sampled" for name in GUESSES if grouping == "by_kind"}
        named = {"nats": "nats", "as_sampled": "as_sampled"} | of_guesses
        tables[grouping] = {name: group(of, named) for name, of in groups.items()}
    return Losses(
        **figures("nats", "as_sampled"),
        targets=total["targets"],
        notes=notes,
        seconds=seconds,
        **{name: figures(name, f"{name}_as_sampled") for name in GUESSES},
        **tables,
    )


def seconds_of(batch: Batch) -> float:
    """How long the windows in a batch [B, T] last, from their first bar line to the end of their last bar, by the
    meters and tempi that their tokens say.
    """
    return sum(_seconds(ids) for ids in _documents(batch))


def _seconds(ids: np.ndarray) -> float:
    signature, tempo, _ = bar_maps(fields.compute(ids))
    return length(Bars(signature), tempo, ())


def _documents(batch: Batch) -> Iterator[np.ndarray]:
    """int32[]: the tokens of each document."""
    for tokens, document in zip(batch.tokens, batch.document, strict=True):
        for number in range(1, int(document.max(initial=0)) + 1):
            yield tokens[document == number]
