"""A training step: next-token loss inside each document where it counts, AdamW with decay on matrices, clipped
gradients, warm-up and cosine. For parity_tests and benchmarks.
"""

import math

import torch
from torch import Tensor

from configs.train import ChordTargets, TrackTargets
from tokenizer.tokens.example import CUT_END, KNOWN_CHORD
from tokenizer.vocabulary import CLASS, Class
from torch_ref.model import MuseFormer
from torch_ref.rows import Rows


def loss(
    logits: Tensor, rows: Rows, chord_targets: ChordTargets, track_targets: TrackTargets = "ended"
) -> tuple[Tensor, Tensor]:
    """(cross entropy in nats, summed over the targets that count; how many those are). chord_targets "first": any
    chord is right where the next token is one that the document's first track has said. track_targets "all": what comes
    behind a track that only a cut ended counts too, among tracks and EOS.
    """
    counts = rows.weights[:, :-1]
    likelihood = torch.log_softmax(logits[:, :-1], dim=-1)
    of_next = likelihood.gather(-1, rows.tokens[:, 1:, None]).squeeze(-1)
    if chord_targets == "first":
        of_any_chord = likelihood[..., torch.as_tensor(CLASS == Class.CHORD)[: logits.shape[-1]]].logsumexp(-1)
        of_next = torch.where(rows.known[:, :-1] == KNOWN_CHORD, of_any_chord, of_next)
    if track_targets == "all":
        is_next = torch.as_tensor((CLASS == Class.TRACK) | (CLASS == Class.EOS))[: logits.shape[-1]]
        is_cut = rows.known[:, :-1] == CUT_END
        of_next = torch.where(is_cut, of_next - likelihood[..., is_next].logsumexp(-1), of_next)
        counts = torch.where(is_cut, 1, counts)
    return -(of_next * counts).sum(), counts.sum()


def learning_rate(step: int, peak: float, warmup_steps: int, total_steps: int, final: float) -> float:
    """Of step `step`, counted from 0: linear up to the peak at step warmup_steps - 1, then half a cosine down to final
    * peak.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step + 1 - warmup_steps) / (total_steps - warmup_steps)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2)


def optimizer(model: MuseFormer, rate: float, betas: tuple[float, float], weight_decay: float) -> torch.optim.AdamW:
    """Decay on matrices (tables too), none on biases and norms."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim == 2]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=betas, eps=1e-8)


def step(
    model: MuseFormer,
    adamw: torch.optim.AdamW,
    micro_batches: list[Rows],
    slots: int,
    rate: float,
    clip_norm: float,
    dtype: torch.dtype = torch.float32,
) -> tuple[float, float]:
    """One update from the mean over all targets of the micro batches; returns (loss, gradient norm before clipping).

    dtype bfloat16 computes matrix products in bf16; parameters, softmax, logits and loss stay fp32.
    """
    adamw.zero_grad(set_to_none=True)
    device = micro_batches[0].tokens.device.type
    targets = max(sum(int(rows.weights.sum()) for rows in micro_batches), 1)  # none at all: loss 0, no gradient
    total = 0.0
    for rows in micro_batches:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            output = model(rows, slots)
        summed, _ = loss(output.logits, rows, "all")
        (summed / targets).backward()
        total += float(summed.detach()) / targets
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm))
    for group in adamw.param_groups:
        group["lr"] = rate
    adamw.step()
    return total, norm
