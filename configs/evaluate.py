"""What `evaluate` compares; the field names are its flags, the comments their help."""

from dataclasses import dataclass
from typing import Literal

from configs import ranges

HeldOut = Literal["validation", "test"]


@dataclass(frozen=True)
class EvaluateConfig:
    """Raises InputError naming the flag that makes no sense."""

    samples: int = 64  # songs that the model writes, to be compared with songs held out (0: the losses alone)
    bars: int = 32  # of each of them; as many first bars of a held-out song are compared
    max_length: int = 0  # tokens of each at most (0: what so many bars usually take)
    seed: int = 0  # of the samples, and of the songs that intervals are drawn from
    split: HeldOut = "validation"  # songs of the dataset that no training saw; test: see prepare --test-fraction
    held_out: int = 256  # of them at most, evenly spread over the split, that samples are compared with

    def __post_init__(self) -> None:
        ranges.check(self)
