"""Part of the attention benchmark: FlexAttention compiled on the same masks,
and in bf16 dense causal attention (cuDNN) too.

    python benchmarks/attention_torch.py ROWS FINDINGS bf16|fp32 [LENGTH ...]

fp32 is how v1.2.1 ran FlexAttention. Without a GPU it is interpreted, forward only.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from attention_cases import Case, cases, first_rows, rows_and_heads, sample, seconds
from stages import attempt
from torch.nn.attention import SDPBackend, sdpa_kernel

from configs import MASK_RULES
from torch_ref import masks
from torch_ref.model import attend
from torch_ref.rows import Rows, Summaries

# Every case is a program of its own; past the limit FlexAttention would be dense, unasked.
torch._dynamo.config.recompile_limit = 64
torch._dynamo.config.fail_on_recompile_limit_hit = True


def wait(_: object) -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def build_masks(rows: Rows, case: Case, gpu: bool) -> dict[str, object]:
    build = masks.compiled_blocks if gpu else masks.blocks
    batch, where = len(rows.tokens), rows.tokens.device
    summaries = Summaries.of(rows, MASK_RULES[case.rule], case.slots)
    mods = {
        "update": masks.update_mod(rows, summaries, MASK_RULES[case.rule]),
        "summarize": masks.summarize_mod(rows, summaries),
    }
    keys = case.slots + case.length
    return {call: build(mod, batch, case.queries(call), keys, where) for call, mod in mods.items()}


def time_passes(
    findings: Path, place: tuple[str, ...], run: Callable, arrays: list[torch.Tensor], gradients: bool
) -> None:
    """Forward with what a backward pass needs kept, if there is one, so that one compilation serves both."""
    *inputs, d_out = arrays
    for x in inputs:
        x.requires_grad_(gradients)

    def both():
        for x in inputs:
            x.grad = None
        run(*inputs).backward(d_out)

    attempt(findings, *place, "forward", measure=lambda: seconds(lambda: run(*inputs), wait))
    if gradients:
        attempt(findings, *place, "forward and backward", measure=lambda: seconds(both, wait))
    attempt(findings, *place, "sample", measure=lambda: sample(run(*inputs).detach().float().cpu().numpy()))


def causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION if q.is_cuda else SDPBackend.MATH):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def time_case(findings: Path, case: Case, rows: Rows, gpu: bool, precision: str) -> None:
    torch._dynamo.reset()  # programs of other cases would only be in the way
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]

    def arrays(call):
        return [
            torch.tensor(x, device=rows.tokens.device, dtype=dtype) for x in case.arrays(call, *rows_and_heads(gpu))
        ]

    if precision == "bf16":
        square = [x[:, :, : case.length].contiguous() for x in arrays("update")]
        time_passes(findings, (*case.place, "update", "dense causal bf16"), causal, square, gradients=True)
    flex = "flex_compiled" if gpu else "flex"
    for call, mask in build_masks(rows, case, gpu).items():
        run = lambda q, k, v, mask=mask: attend(q, k, v, mask, flex)
        time_passes(findings, (*case.place, call, f"FlexAttention {precision}"), run, arrays(call), gradients=gpu)
    if precision == "bf16":
        place = *case.place, "mask building", "FlexAttention"
        attempt(findings, *place, measure=lambda: seconds(lambda: build_masks(rows, case, gpu), wait))


def main() -> None:
    rows_file, findings, precision = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    gpu = torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)
    for case in cases(gpu, list(map(int, sys.argv[4:]))):
        rows = Rows.of(first_rows(rows_file, case.length, rows_and_heads(gpu)[0])._asdict(), "cuda" if gpu else "cpu")
        attempt(findings, measure=lambda case=case, rows=rows: time_case(findings, case, rows, gpu, precision))


if __name__ == "__main__":
    main()
