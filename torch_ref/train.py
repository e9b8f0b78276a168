"""A training step: next-token loss inside each document, AdamW with decay on matrices, clipped gradients."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_ref.model import MuseFormer
from torch_ref.rows import Rows

MATRICES = ("proj.weight", "gate.weight", "up.weight", "down.weight", "embedding.weight", "lm_head.weight")


def loss(logits: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """(summed cross entropy in nats, number of targets): every token but a document's last has the next one for its target."""
    targets = rows.tokens[:, 1:]
    same_document = (rows.document[:, 1:] == rows.document[:, :-1]) & (rows.document[:, 1:] > 0)
    nats = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten(), reduction="none")
    return (nats * same_document.flatten()).sum(), same_document.sum()


def optimizer(model: MuseFormer, learning_rate: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    matrices = [parameter for name, parameter in model.named_parameters() if name.endswith(MATRICES)]
    vectors = [parameter for name, parameter in model.named_parameters() if not name.endswith(MATRICES)]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=1e-8)


def step(
    model: MuseFormer,
    adamw: torch.optim.AdamW,
    micro_batches: list[Rows],
    slots: int,
    learning_rate: Callable[[int], float] | float,
    clip_norm: float,
    step_number: int = 0,
    dtype: torch.dtype = torch.float32,
) -> tuple[float, float]:
    """One update from the mean over all targets of the micro batches; returns (loss, gradient norm before clipping).

    dtype bfloat16 computes matrix products in bf16; parameters, softmax and loss stay fp32.
    """
    adamw.zero_grad(set_to_none=True)
    device = next(model.parameters()).device.type
    targets = sum(int(((rows.document[:, 1:] == rows.document[:, :-1]) & (rows.document[:, 1:] > 0)).sum()) for rows in micro_batches)
    total = 0.0
    for rows in micro_batches:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = model(rows, slots)
        summed, _ = loss(output.logits, rows)
        (summed / targets).backward()
        total += float(summed.detach()) / targets
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm))
    for group in adamw.param_groups:
        group["lr"] = learning_rate(step_number) if callable(learning_rate) else learning_rate
    adamw.step()
    return total, norm
