"""The model, module by module, under v1.2.1's parameter names (sum_: of the summaries, reg_: of the regular tokens)."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils.checkpoint import checkpoint

from configs import ModelConfig
from configs.model import HEAD_DIM
from tokenizer import vocabulary as vocab
from torch_ref import masks
from torch_ref.rows import Rows, Summaries

Implementation = Literal["dense", "flex", "flex_compiled"]
compiled_flex_attention = torch.compile(flex_attention, dynamic=False)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | BlockMask, implementation: Implementation) -> Tensor:
    """softmax(q k^T / sqrt(H)) v over visible keys, [B, N, T, H]; a query that sees nothing gives zeros.

    "dense" takes a bool mask and has gradients everywhere; "flex" (eager; forward only on a CPU) and "flex_compiled" take a BlockMask.
    """
    if implementation == "flex":
        return flex_attention(q, k, v, block_mask=mask)
    if implementation == "flex_compiled":
        return compiled_flex_attention(q, k, v, block_mask=mask)
    if implementation != "dense":
        raise ValueError(f"attention {implementation!r} does not exist; choose dense, flex or flex_compiled")
    scores = (q.float() @ k.float().transpose(-1, -2)) / HEAD_DIM**0.5
    scores = scores.masked_fill(~mask, float("-inf"))
    sees_something = mask.any(dim=-1, keepdim=True)
    weights = torch.softmax(torch.where(sees_something, scores, 0.0), dim=-1)
    return (torch.where(mask, weights, 0.0).to(v.dtype) @ v).to(q.dtype)


class Rotary(nn.Module):
    """Rotary positions (Su et al., RoFormer), half-split: element i turns with element i + H/2."""

    def __init__(self):
        super().__init__()
        self.register_buffer("inv_freq", 10000.0 ** (-torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM))

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x: [B, N, T, H]; position: int[B, T]."""
        angle = position[:, None, :, None].float() * self.inv_freq
        cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    """Summarize (SS and SR), then update (RS and RR) with the summaries' second keys and values."""

    def __init__(self, width: int):
        super().__init__()
        for name in ("sum_q", "sum_k", "sum_v", "sum_out", "reg_q", "reg_k", "reg_v", "reg_out", "sum_k2", "sum_v2"):
            setattr(self, f"{name}_proj", nn.Linear(width, width))
        self.rope = Rotary()

    def forward(self, s: Tensor, r: Tensor, summaries: Summaries, summarize_mask, update_mask, implementation) -> tuple[Tensor, Tensor]:
        heads = lambda x: x.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)  # noqa: E731
        merge = lambda x: x.transpose(1, 2).flatten(2)  # noqa: E731
        k_r = self.rope(heads(self.reg_k_proj(r)), summaries.token_position)
        v_r = heads(self.reg_v_proj(r))

        q_s = self.rope(heads(self.sum_q_proj(s)), summaries.position)
        k_s = self.rope(heads(self.sum_k_proj(s)), summaries.position)
        v_s = heads(self.sum_v_proj(s))
        pooled = merge(attend(q_s, torch.cat([k_s, k_r], 2), torch.cat([v_s, v_r], 2), summarize_mask, implementation))

        q_r = self.rope(heads(self.reg_q_proj(r)), summaries.token_position)
        k_2 = self.rope(heads(self.sum_k2_proj(pooled)), summaries.position_in_rs)
        v_2 = heads(self.sum_v2_proj(pooled))
        updated = merge(attend(q_r, torch.cat([k_2, k_r], 2), torch.cat([v_2, v_r], 2), update_mask, implementation))
        return self.sum_out_proj(pooled), self.reg_out_proj(updated)


class Layer(nn.Module):
    """Pre-norm, residual; both streams have their own norms and SwiGLU."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.attention = Attention(config.width)
        self.dropout = nn.Dropout(config.dropout)
        for stream in ("sum", "reg"):
            setattr(self, f"{stream}_attn_norm", nn.LayerNorm(config.width, eps=1e-5))
            setattr(self, f"{stream}_ffn_norm", nn.LayerNorm(config.width, eps=1e-5))
            setattr(self, f"{stream}_ffn_gate", nn.Linear(config.width, config.ffn, bias=False))
            setattr(self, f"{stream}_ffn_up", nn.Linear(config.width, config.ffn, bias=False))
            setattr(self, f"{stream}_ffn_down", nn.Linear(config.ffn, config.width, bias=False))

    def forward(self, s: Tensor, r: Tensor, summaries: Summaries, summarize_mask, update_mask, implementation) -> tuple[Tensor, Tensor]:
        a_s, a_r = self.attention(self.sum_attn_norm(s), self.reg_attn_norm(r), summaries, summarize_mask, update_mask, implementation)
        s, r = s + self.dropout(a_s), r + self.dropout(a_r)
        x = self.sum_ffn_norm(s)
        s = s + self.dropout(self.sum_ffn_down(F.silu(self.sum_ffn_gate(x)) * self.sum_ffn_up(x)))
        x = self.reg_ffn_norm(r)
        r = r + self.dropout(self.reg_ffn_down(F.silu(self.reg_ffn_gate(x)) * self.reg_ffn_up(x)))
        return s, r


class SummaryEmbedding(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.max_bars, config.width)


@dataclass(frozen=True)
class Output:
    """logits: float32[B, T, 643]. summary, regular: the streams after the embedding and after each layer, if kept."""

    logits: Tensor
    summary: list[Tensor]
    regular: list[Tensor]


class MuseFormer(nn.Module):
    """attention: see attend. checkpointing: keep only each layer's input for the backward pass."""

    def __init__(self, config: ModelConfig, attention: Implementation, checkpointing: bool):
        super().__init__()
        self.config, self.implementation, self.checkpointing = config, attention, checkpointing
        self.token_embedding = nn.Embedding(vocab.SIZE, config.width)
        self.instrument_embedding = nn.Embedding(masks.NO_INSTRUMENT + 1, config.width)
        self.summary_embedding = SummaryEmbedding(config)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.output_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.lm_head = nn.Linear(config.width, vocab.SIZE, bias=False)
        self.lm_head.weight = self.token_embedding.weight
        self.apply(_initialize)

    def forward(self, rows: Rows, slots: int, keep_streams: bool = False) -> Output:
        """slots: summaries of a row, at least as many as any row needs."""
        rule, (batch, length) = self.config.mask_rule, rows.tokens.shape
        device = str(rows.tokens.device)
        summaries = Summaries.of(rows, rule, slots)
        form = masks.dense if self.implementation == "dense" else masks.blocks
        summarize_mask = form(masks.summarize_mod(rows, summaries), batch, slots, slots + length, device)
        update_mask = form(masks.update_mod(rows, summaries, rule), batch, length, slots + length, device)

        r = self.token_embedding(rows.tokens) + self.instrument_embedding(rows.instrument)
        named = (summaries.instrument_row >= 0)[..., None]
        s = self.summary_embedding.embedding(summaries.bar_row)
        s = s + torch.where(named, self.instrument_embedding(summaries.instrument_row.clamp(min=0)), 0.0)
        s, r = self.dropout(s), self.dropout(r)
        kept_s, kept_r = [s], [r]
        for layer in self.layers:
            arguments = (s, r, summaries, summarize_mask, update_mask, self.implementation)
            s, r = checkpoint(layer, *arguments, use_reentrant=False) if self.checkpointing else layer(*arguments)
            if keep_streams:
                kept_s.append(s)
                kept_r.append(r)
        logits = self.lm_head(self.output_norm(r)).float()
        return Output(logits, kept_s, kept_r)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
