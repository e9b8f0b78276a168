"""The attention rule as FlexAttention mask_mods:
functions of (b, h, q, k) that say whether query q of row b sees key k.

Keys of both calls are the summaries followed by the tokens, [S; R]. Queries of `summarize` are the summaries (SS, SR),
of `update` the tokens (RS, RR).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from configs import MaskRule
from tokenizer.tokens.fields import KIND_PITCH, KIND_POSITION, KIND_VELOCITY, NO_INSTRUMENT, OUTSIDE
from torch_ref.rows import Rows, Summaries

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
compiled_create_block_mask = torch.compile(create_block_mask, dynamic=False)


def summarize_mod(rows: Rows, summaries: Summaries) -> MaskMod:
    """SS: earlier summaries of the document, itself included. SR: the tokens that this summary pools."""
    slots = summaries.document.shape[1]
    key_document = torch.cat([summaries.document, rows.document], dim=1)
    key_member = torch.cat([torch.full_like(summaries.document, OUTSIDE), summaries.member], dim=1)

    def mask_mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        same_document = (summaries.document[b, q] == key_document[b, k]) & (key_document[b, k] > 0)
        ss = (k < slots) & (k <= q)
        sr = (k >= slots) & (key_member[b, k] == q)
        return same_document & (ss | sr)

    return mask_mod


def update_mod(rows: Rows, summaries: Summaries, rule: MaskRule) -> MaskMod:
    """RS: the summaries of what is over. RR: tokens by the rule."""
    slots = summaries.document.shape[1]
    pad = torch.zeros_like(summaries.document)
    key_document = torch.cat([summaries.document, rows.document], dim=1)
    # Token fields by key number, [B, M + T]: what stands at the summaries' places is never read as a token's.
    bar, instrument, kind, onset = (
        torch.cat([pad, field], dim=1) for field in (rows.bar, rows.instrument, rows.kind, rows.onset)
    )

    def mask_mod(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        q_token = q + slots
        same_document = (rows.document[b, q] == key_document[b, k]) & (key_document[b, k] > 0)
        rs = (k < slots) & (k < summaries.visible[b, q])

        causal = k <= q_token
        distance = bar[b, q_token] - bar[b, k]
        both_play = (instrument[b, q_token] < NO_INSTRUMENT) & (instrument[b, k] < NO_INSTRUMENT)
        same = instrument[b, q_token] == instrument[b, k]
        global_key = (bar[b, k] == OUTSIDE) | (instrument[b, k] == NO_INSTRUMENT)
        same_instrument = both_play & same
        near = both_play & ~same & (distance >= 0) & (distance <= rule.near_bars)
        far = both_play & ~same & _any_of(distance, rule.far_offsets)
        reachable = global_key | same_instrument | near | far
        rr = (k >= slots) & causal & reachable
        if rule.typed:
            rr = rr & typed(kind[b, q_token], kind[b, k], onset[b, q_token], onset[b, k])
        return same_document & (rs | rr)

    return mask_mod


def _any_of(distance: Tensor, offsets: tuple[int, ...]) -> Tensor:
    """Is it one of the offsets? In comparisons alone, which is what FlexAttention compiles."""
    found = distance != distance  # of no offsets, none
    for offset in offsets:
        found = found | (distance == offset)
    return found


def typed(q_kind: Tensor, k_kind: Tensor, q_onset: Tensor, k_onset: Tensor) -> Tensor:
    """Within an onset everything; else positions and pitches see positions and pitches, velocities see velocities,
    durations nothing. Tokens without a kind or an onset see and are seen by all.
    """
    same_onset = (q_onset == k_onset) & (q_onset >= 0)
    q_note = (q_kind == KIND_POSITION) | (q_kind == KIND_PITCH)
    k_note = (k_kind == KIND_POSITION) | (k_kind == KIND_PITCH)
    table = (q_note & k_note) | ((q_kind == KIND_VELOCITY) & (k_kind == KIND_VELOCITY))
    free = (q_kind == OUTSIDE) | (k_kind == OUTSIDE) | (q_onset == OUTSIDE) | (k_onset == OUTSIDE)
    return same_onset | table | free


def dense(mask_mod: MaskMod, batch: int, queries: int, keys: int, device: torch.device | str = "cpu") -> Tensor:
    """bool[B, 1, queries, keys]: the mask_mod written out."""
    b = torch.arange(batch, device=device)[:, None, None]
    q = torch.arange(queries, device=device)[None, :, None]
    k = torch.arange(keys, device=device)[None, None, :]
    return mask_mod(b, torch.zeros_like(b), q, k)[:, None]


def blocks(mask_mod: MaskMod, batch: int, queries: int, keys: int, device: torch.device | str = "cpu") -> BlockMask:
    """The same as FlexAttention's BlockMask, a mask for every row of the batch."""
    return create_block_mask(mask_mod, B=batch, H=None, Q_LEN=queries, KV_LEN=keys, device=device)


def compiled_blocks(
    mask_mod: MaskMod, batch: int, queries: int, keys: int, device: torch.device | str = "cpu"
) -> BlockMask:
    """The same without writing the mask out on the way: at 8192 tokens that would be gigabytes."""
    return compiled_create_block_mask(mask_mod, B=batch, H=None, Q_LEN=queries, KV_LEN=keys, device=device)
