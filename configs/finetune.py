"""How a trained model is tuned to other songs; the field names are flags of `hid-museformer finetune`, the comments
their help.
"""

from dataclasses import dataclass
from pathlib import Path

from configs import ranges


@dataclass(frozen=True)
class FinetuneConfig:
    """Raises InputError naming the flag that makes no sense."""

    output_dir: Path  # the tuned model, a run like any other; starting again there goes on
    init_from: Path | None = None  # model to begin with: a run, or a file of `export` (none: the one that comes along)
    minutes: float = 10.0  # about so long it trains on this machine, less where the songs are few
    seed: int = 0  # of the order of songs, their crops and augmentation, and of the samples

    def __post_init__(self) -> None:
        ranges.check(self)
