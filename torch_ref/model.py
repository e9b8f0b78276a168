"""The model, module by module, under v1.2.1's parameter names (sum_: of the summaries, reg_: of the regular tokens).
Called by train.py here, parity_tests and benchmarks.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.utils.checkpoint import checkpoint

from configs import ModelConfig
from configs.model import HEAD_DIM
from tokenizer.tokens.fields import BAR_STEPS, NO_INSTRUMENT, OUTSIDE
from tokenizer.vocabulary import SIXTEENTH
from torch_ref import attributes, masks
from torch_ref.harmony import Harmony
from torch_ref.rows import Rows, Summaries

Implementation = Literal["dense", "flex", "flex_compiled"]
MASK_FORMS = {"dense": masks.dense, "flex": masks.blocks, "flex_compiled": masks.compiled_blocks}
compiled_flex_attention = torch.compile(flex_attention, dynamic=False)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | BlockMask, implementation: Implementation) -> Tensor:
    """softmax(q k^T / sqrt(H)) v over visible keys, [B, N, T, H]; a query that sees nothing gives zeros.

    "dense" takes a bool mask and has gradients everywhere; "flex" (eager; forward only on a CPU) and "flex_compiled"
    take a BlockMask.
    """
    if implementation == "flex":
        return flex_attention(q, k, v, block_mask=mask)
    if implementation == "flex_compiled":
        return compiled_flex_attention(q, k, v, block_mask=mask)
    with torch.autocast(q.device.type, enabled=False):  # it would round the scores to bf16
        scores = (_at_least_fp32(q) @ _at_least_fp32(k).transpose(-1, -2)) / HEAD_DIM**0.5
        sees_something = mask.any(dim=-1, keepdim=True)
        scores = torch.where(sees_something, scores.masked_fill(~mask, float("-inf")), 0.0)
        weights = torch.where(mask, torch.softmax(scores, dim=-1), 0.0)
        return weights.to(v.dtype) @ v


def _at_least_fp32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


class Rotary(nn.Module):
    """Rotary positions (Su et al., RoFormer), half-split: element i turns with element i + H/2.
    In fp32, whatever x is.

    by_music: elements 1, 3, 5, ... turn by the time of the music instead, in sixteenths.
    """

    def __init__(self, by_music: bool):
        super().__init__()
        self.by_music = by_music
        # Written as v1.2.1 writes it: other forms differ in the last bit, which position 8192 turns into 5e-4 radians.
        self.register_buffer("inv_freq", 1.0 / (10000.0 ** (torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)))

    def forward(self, x: Tensor, position: Tensor, time: Tensor) -> Tensor:
        """x: [B, N, T, H]; position: int[B, T]; time: int[B, T] in fine steps."""
        angle = position[:, None, :, None] * self.inv_freq
        if self.by_music:
            of_time = time[:, None, :, None] * (self.inv_freq / SIXTEENTH)
            angle = torch.stack([angle[..., 0::2], of_time[..., 1::2]], dim=-1).flatten(-2)
        cos, sin = angle.cos(), angle.sin()
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Summarize (SS and SR), then update (RS and RR) with second keys and values made of what the
    summaries gathered.
    """

    def __init__(self, width: int, by_music: bool):
        super().__init__()
        self.sum_q_proj = nn.Linear(width, width)
        self.sum_k_proj = nn.Linear(width, width)
        self.sum_v_proj = nn.Linear(width, width)
        self.sum_out_proj = nn.Linear(width, width)
        self.reg_q_proj = nn.Linear(width, width)
        self.reg_k_proj = nn.Linear(width, width)
        self.reg_v_proj = nn.Linear(width, width)
        self.reg_out_proj = nn.Linear(width, width)
        self.sum_k2_proj = nn.Linear(width, width)
        self.sum_v2_proj = nn.Linear(width, width)
        self.rope = Rotary(by_music)

    def forward(
        self, s: Tensor, r: Tensor, summaries: Summaries, summarize_mask, update_mask, implementation
    ) -> tuple[Tensor, Tensor]:
        """s: [B, M, D] and r: [B, T, D], both normed; what comes back is added to the streams."""
        k_r = self.rope(split_heads(self.reg_k_proj(r)), summaries.token_position, summaries.token_time)
        v_r = split_heads(self.reg_v_proj(r))

        # summarize: Q = S over [S; R]
        q_s = self.rope(split_heads(self.sum_q_proj(s)), summaries.position, summaries.time)
        k_s = self.rope(split_heads(self.sum_k_proj(s)), summaries.position, summaries.time)
        v_s = split_heads(self.sum_v_proj(s))
        gathered = attend(
            q_s, torch.cat([k_s, k_r], dim=2), torch.cat([v_s, v_r], dim=2), summarize_mask, implementation
        )
        gathered = merge_heads(gathered)

        # update: Q = R over [S; R]
        q_r = self.rope(split_heads(self.reg_q_proj(r)), summaries.token_position, summaries.token_time)
        k_2 = self.rope(split_heads(self.sum_k2_proj(gathered)), summaries.position_in_rs, summaries.time)
        v_2 = split_heads(self.sum_v2_proj(gathered))
        updated = attend(q_r, torch.cat([k_2, k_r], dim=2), torch.cat([v_2, v_r], dim=2), update_mask, implementation)
        return self.sum_out_proj(gathered), self.reg_out_proj(merge_heads(updated))


def split_heads(x: Tensor) -> Tensor:
    """[B, T, D] to [B, N, T, H]."""
    return x.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, N, T, H] to [B, T, D]."""
    return x.transpose(1, 2).flatten(2)


class Layer(nn.Module):
    """Pre-norm, residual; both streams have their own norms and SwiGLU (Shazeer, GLU Variants)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width, ffn = config.width, config.ffn
        self.attention = Attention(width, config.music)
        self.dropout = nn.Dropout(config.dropout)
        self.sum_attn_norm, self.reg_attn_norm = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.sum_ffn_norm, self.reg_ffn_norm = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.sum_ffn_gate, self.reg_ffn_gate = nn.Linear(width, ffn, bias=False), nn.Linear(width, ffn, bias=False)
        self.sum_ffn_up, self.reg_ffn_up = nn.Linear(width, ffn, bias=False), nn.Linear(width, ffn, bias=False)
        self.sum_ffn_down, self.reg_ffn_down = nn.Linear(ffn, width, bias=False), nn.Linear(ffn, width, bias=False)

    def forward(
        self, s: Tensor, r: Tensor, summaries: Summaries, summarize_mask, update_mask, implementation
    ) -> tuple[Tensor, Tensor]:
        a_s, a_r = self.attention(
            self.sum_attn_norm(s), self.reg_attn_norm(r), summaries, summarize_mask, update_mask, implementation
        )
        s, r = s + self.dropout(a_s), r + self.dropout(a_r)
        return s + self.dropout(self.sum_ffn(s)), r + self.dropout(self.reg_ffn(r))

    def sum_ffn(self, s: Tensor) -> Tensor:
        x = self.sum_ffn_norm(s)
        return self.sum_ffn_down(F.silu(self.sum_ffn_gate(x)) * self.sum_ffn_up(x))

    def reg_ffn(self, r: Tensor) -> Tensor:
        x = self.reg_ffn_norm(r)
        return self.reg_ffn_down(F.silu(self.reg_ffn_gate(x)) * self.reg_ffn_up(x))


class SummaryEmbedding(nn.Module):
    """The table of bar numbers, a module of its own for the sake of its name."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embedding = nn.Embedding(config.max_bars, config.width)


@dataclass(frozen=True)
class Output:
    """logits: float32[B, T, V]. summary, regular: the streams after the embedding and after each layer, if kept."""

    logits: Tensor
    summary: list[Tensor]
    regular: list[Tensor]


class MuseFormer(nn.Module):
    """attention: see attend. checkpointing: keep only each layer's input for the backward pass.

    Parameters are fp32. For bf16 matrix products call it under torch.autocast: softmax, residual streams, norms and
    logits stay fp32.
    """

    def __init__(self, config: ModelConfig, attention: Implementation, checkpointing: bool):
        super().__init__()
        if attention not in MASK_FORMS:
            raise ValueError(f"attention {attention!r} does not exist; choose one of {', '.join(MASK_FORMS)}")
        self.config, self.implementation, self.checkpointing = config, attention, checkpointing
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.instrument_embedding = nn.Embedding(NO_INSTRUMENT + 1, config.width)
        if config.attributes:
            self.attribute_embedding = nn.Embedding(attributes.COUNT, config.width)
        if config.places:
            self.place_embedding = nn.Embedding(BAR_STEPS, config.width)
        if config.harmony:
            self.harmony = Harmony()
        self.summary_embedding = SummaryEmbedding(config)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.output_norm = nn.LayerNorm(config.width, eps=1e-5)
        self.lm_head = nn.Linear(config.width, config.vocab_size, bias=False)
        self.lm_head.weight = self.token_embedding.weight
        self.apply(_initialize)

    def forward(self, rows: Rows, slots: int, keep_streams: bool = False) -> Output:
        """slots: summaries of a row, at least as many as any row needs."""
        rule, (batch, length) = self.config.mask_rule, rows.tokens.shape
        device = rows.tokens.device
        summaries = Summaries.of(rows, rule, slots)
        form = MASK_FORMS[self.implementation]
        summarize_mask = form(masks.summarize_mod(rows, summaries), batch, slots, slots + length, device)
        update_mask = form(masks.update_mod(rows, summaries, rule), batch, length, slots + length, device)

        s, r = self.dropout(self.embed_summaries(summaries)), self.dropout(self.embed_tokens(rows))
        kept_s, kept_r = [s], [r]
        for layer in self.layers:
            arguments = (s, r, summaries, summarize_mask, update_mask, self.implementation)
            s, r = checkpoint(layer, *arguments, use_reentrant=False) if self.checkpointing else layer(*arguments)
            if keep_streams:
                kept_s.append(s)
                kept_r.append(r)
        with torch.autocast(device.type, enabled=False):
            logits = F.linear(self.output_norm(r), self.token_table())
            if self.config.harmony:
                logits = self.harmony(logits, rows)
        return Output(logits, kept_s, kept_r)

    def embed_tokens(self, rows: Rows) -> Tensor:
        embedded = self.token_table()[rows.tokens] + self.instrument_table()[rows.instrument]
        if self.config.places:
            is_outside = rows.place == OUTSIDE
            of_place = self.place_embedding(torch.where(is_outside, 0, rows.place))
            embedded = embedded + torch.where(is_outside[..., None], 0.0, of_place)
        return embedded

    def token_table(self) -> Tensor:
        """[V, D]; lm_head has the rows that are a token's own."""
        return self._with_attributes(self.token_embedding.weight, attributes.OF_TOKENS)

    def instrument_table(self) -> Tensor:
        return self._with_attributes(self.instrument_embedding.weight, attributes.OF_INSTRUMENTS)

    def _with_attributes(self, table: Tensor, rows: list[list[int]]) -> Tensor:
        if not self.config.attributes:
            return table
        pairs = [(row, attribute) for row, has in enumerate(rows[: len(table)]) for attribute in has]
        row, attribute = torch.tensor(pairs, device=table.device).unbind(-1)
        return table.index_add(0, row, self.attribute_embedding(attribute))

    def embed_summaries(self, summaries: Summaries) -> Tensor:
        """By bar, and by instrument where the summary has one."""
        has_instrument = summaries.instrument_row >= 0
        instrument = self.instrument_table()[torch.where(has_instrument, summaries.instrument_row, NO_INSTRUMENT)]
        return self.summary_embedding.embedding(summaries.bar_row) + torch.where(
            has_instrument[..., None], instrument, 0.0
        )


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
