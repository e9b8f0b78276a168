"""What v1.2.1 itself computed for one song: weights, inputs, masks, streams, logits, gradients.
Lies beside the project, not in it.
"""

import numpy as np

from tests import GOLDEN
from tokenizer.tokens.fields import OUTSIDE, TokenFields

NAME = "twolayer_hot"
SONG = f"{NAME}_aicha"


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return dict(arrays)


def fields(arrays: dict[str, np.ndarray]) -> TokenFields:
    """v1.2.1's own fields: it leaves silent bars out of its tokens but counts them, so ours cannot be computed from the
    ids.
    """
    return TokenFields(
        ids=arrays["token_ids"],
        bar=arrays["chord_ids"],
        instrument=arrays["instrument_ids"],
        kind=arrays["token_type_ids"],
        onset=arrays["note_ids"],
        span=np.full(len(arrays["token_ids"]), OUTSIDE, np.int32),  # the rule v121 does not look at spans
    )


def forward_values(song: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What v1.2.1 computed on the way to the logits, by name: summary and regular streams [L + 1, ...], logits."""
    return {
        "summary streams": np.stack([song["sum_x0"], *song["sum_x_layers"]]),
        "regular streams": np.stack([song["x0"], *song["x_layers"]]),
        "logits": song["logits"],
    }


def gradients(name: str) -> tuple[float, dict[str, np.ndarray]]:
    """v1.2.1's loss, and its gradient by parameter."""
    theirs = load(f"{name}_grads")
    return float(theirs.pop("loss")), {key.removeprefix("grad."): value for key, value in theirs.items()}
