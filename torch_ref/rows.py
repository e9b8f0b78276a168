"""What a batch of rows says about its tokens, and about the summaries that pool them: model.py's input."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from configs import MaskRule
from tokenizer.tokens.fields import OUTSIDE, time


@dataclass(frozen=True)
class Rows:
    """Fields of B rows of T tokens, each int64[B, T]. document 0 is padding; the others count songs of a row from 1.

    bar: -1 outside bars. instrument: 0-127 programs, 128 drums, 129 none. kind: position 0, pitch 1, duration 2,
    velocity 3, else -1.
    onset: -1 outside; span: number of the bar of one track, over the whole row, -1 outside. position: rotary, the index
    in the document where no bars are hidden. place: fine step of its bar, -1 outside bars. harmony: what its track has
    said of chords (see tokenizer.tokens.fields.chords_of), 0 none.
    known: KNOWN_CHORD where the next token is a chord that the document's first track has said, CUT_END where it is
    what comes behind a track that only a cut ended. weights: 1 where the next token is of the same document and counts
    as a target, else 0.
    """

    tokens: Tensor
    bar: Tensor
    instrument: Tensor
    kind: Tensor
    onset: Tensor
    span: Tensor
    document: Tensor
    position: Tensor
    place: Tensor
    harmony: Tensor
    known: Tensor
    weights: Tensor

    @classmethod
    def of(cls, arrays: Mapping, device: str = "cpu") -> "Rows":
        """From anything that has these fields as arrays [B, T]."""
        return cls(**{field.name: torch.as_tensor(arrays[field.name], device=device).long() for field in fields(cls)})


@dataclass(frozen=True)
class Summaries:
    """M summaries of each row, [B, M], and how tokens relate to them, [B, T]. The two scopes of a rule differ in
    nothing but this.

    document: 0 where a row has fewer than M. bar_row, instrument_row: what the summary's embedding is looked up by
    (instrument_row -1: not by one). position: for rotations in SS and SR; position_in_rs: as a key of RS.
    member: the summary that pools a token (-1 none). visible: a token sees the summaries below this number.
    token_position: for rotations of tokens. time, token_time: where the music stands, in fine steps.
    """

    document: Tensor
    bar_row: Tensor
    instrument_row: Tensor
    position: Tensor
    position_in_rs: Tensor
    member: Tensor
    visible: Tensor
    token_position: Tensor
    time: Tensor
    token_time: Tensor

    @classmethod
    def of(cls, rows: Rows, rule: MaskRule, slots: int) -> "Summaries":
        """Raises ValueError if a row needs more summaries than there are slots."""
        build = {"span": _of_spans, "bar": _of_bars}[rule.scope]
        each = [build(row, slots) for row in _single(rows)]
        of_rows = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        at_start = torch.zeros_like(of_rows["bar_row"])  # of its bar stands a summary
        return cls(**of_rows, time=time(of_rows["bar_row"], at_start), token_time=time(rows.bar, rows.place))


def _single(rows: Rows) -> list[Rows]:
    names = [field.name for field in fields(Rows)]
    return [Rows(**{name: getattr(rows, name)[b] for name in names}) for b in range(len(rows.tokens))]


def _of_spans(row: Rows, slots: int) -> dict[str, Tensor]:
    """One summary for every bar of every track, standing where the bar's last token stands."""
    member = torch.where(row.document > 0, row.span, OUTSIDE)
    _check(int(member.max()) + 1, slots)
    inside = torch.nonzero(member >= 0).squeeze(1)
    last = torch.full((slots,), -1, device=member.device).scatter_reduce(
        0, member[inside], inside, "amax"
    )  # index of the span's last token
    used = last >= 0
    of_last = lambda field: torch.where(used, field[last], 0)
    ends = torch.zeros_like(member)
    ends[last[used]] = 1
    ended_before = torch.cumsum(ends, 0) - ends  # spans whose last token comes before this one
    return {
        "document": of_last(row.document),
        "bar_row": of_last(row.bar),
        "instrument_row": of_last(row.instrument),
        "position": of_last(row.position),
        "position_in_rs": of_last(row.position),
        "member": member,
        "visible": ended_before,
        "token_position": row.position,
    }


def _of_bars(row: Rows, slots: int) -> dict[str, Tensor]:
    """One summary for every bar number of a document, pooling all tracks (and, in bar 0, what stands outside bars): as
    v1.2.1.
    """
    document, bar_row = (torch.zeros(slots, dtype=torch.long, device=row.bar.device) for _ in range(2))
    member, token_position = torch.full_like(row.bar, OUTSIDE), torch.zeros_like(row.bar)
    first = 0
    for number in range(1, int(row.document.max()) + 1):
        here = row.document == number
        bar = torch.where(row.bar[here] == OUTSIDE, 0, row.bar[here])
        num_bars = int(bar.max()) + 1
        _check(first + num_bars, slots)
        document[first : first + num_bars] = number
        bar_row[first : first + num_bars] = torch.arange(num_bars)
        member[here] = first + bar
        token_position[here] = num_bars + row.position[here]
        first += num_bars
    return {
        "document": document,
        "bar_row": bar_row,
        "instrument_row": torch.full_like(bar_row, OUTSIDE),
        "position": bar_row,
        "position_in_rs": torch.zeros_like(bar_row),
        "member": member,
        "visible": member,
        "token_position": token_position,
    }


def _check(needed: int, slots: int) -> None:
    if needed > slots:
        raise ValueError(f"a row has {needed} summaries, but there is room for {slots}")
