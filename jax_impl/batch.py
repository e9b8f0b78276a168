"""The batch: what one training or sampling step reads. Made here and nowhere else, for the loader and the sampler;
target shift and loss weights are decided here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.tokens.example import CUT_END, KNOWN_CHORD, Example, cut_ends, known_chords, whole
from tokenizer.tokens.fields import NO_INSTRUMENT, OUTSIDE, TokenFields, harmonies, places, positions


class Batch(NamedTuple):
    """Packed rows, [B, T] each (a single row is the same without B). See tokenizer.tokens.fields for what the fields
    mean.

    Two songs in a row of 8 tokens, then padding:

        tokens    BOS   x   x EOS | BOS   x EOS | PAD
        document    1   1   1   1 |   2   2   2 |   0
        position    0   1   2   3 |   0   1   2 |   0
        targets     x   x EOS PAD |   x EOS PAD | PAD
        weights     1   1   1   0 |   1   1   0 |   0
    """

    tokens: np.ndarray  # int32, token ids; PAD in padding
    bar: np.ndarray  # int32, -1 outside bars
    instrument: np.ndarray  # int32, 0-128, 129 outside tracks
    kind: np.ndarray  # int32, -1..3
    onset: np.ndarray  # int32, counts within its document, -1 outside
    span: np.ndarray  # int32, counts over the whole row, so that it numbers the row's summaries; -1 outside
    document: np.ndarray  # int32, 1.. in order; 0 = padding, which nothing sees
    position: np.ndarray  # int32, rotary: its index in its document, where no bars are hidden
    place: np.ndarray  # int32, fine step of its bar, -1 outside bars
    harmony: np.ndarray  # int32, what its track has said of chords, 0 none (see tokenizer.tokens.fields.chords_of)
    targets: np.ndarray  # int32, the next token of the same document; PAD where there is none
    # int32, KNOWN_CHORD where the target is a chord that the document's first track has said, CUT_END where it is what
    # comes behind a track that only a cut ended, else 0
    known: np.ndarray
    weights: np.ndarray  # float32, 1 where there is a target that counts (see tokenizer.tokens.example), else 0


def pack_row(songs: Sequence[TokenFields], max_seq_len: int) -> Batch:
    """pack_examples of whole songs."""
    return pack_examples([whole(song) for song in songs], max_seq_len)


def pack_examples(examples: Sequence[Example], max_seq_len: int) -> Batch:
    """One row [T] of examples one after another, padded to max_seq_len. Raises ValueError if they do not fit."""
    total = sum(map(len, examples))
    if total > max_seq_len:
        raise ValueError(f"{total} tokens do not fit a row of {max_seq_len}")
    fill = {
        "bar": OUTSIDE,
        "instrument": NO_INSTRUMENT,
        "kind": OUTSIDE,
        "onset": OUTSIDE,
        "span": OUTSIDE,
        "place": OUTSIDE,
        "tokens": vocab.PAD,
    }
    row = Batch(
        *(
            np.full(max_seq_len, fill.get(name, 0), np.float32 if name == "weights" else np.int32)
            for name in Batch._fields
        )
    )
    start = spans = 0
    for number, example in enumerate(examples, start=1):
        song, end = example.tokens, start + len(example)
        row.tokens[start:end] = song.ids
        row.bar[start:end] = song.bar
        row.instrument[start:end] = song.instrument
        row.kind[start:end] = song.kind
        row.onset[start:end] = song.onset
        row.span[start:end] = np.where(song.span == OUTSIDE, OUTSIDE, song.span + spans)
        row.document[start:end] = number
        row.position[start:end] = positions(song.ids)
        row.place[start:end] = places(song)
        row.harmony[start:end] = harmonies(song.ids)
        row.targets[start : end - 1] = song.ids[1:]
        row.known[start : end - 1] = (KNOWN_CHORD * known_chords(song.ids) + CUT_END * cut_ends(example))[1:]
        row.weights[start : end - 1] = example.loss_mask[1:]
        start, spans = end, spans + int(song.span.max(initial=OUTSIDE)) + 1
    return row


def stack_rows(rows: Sequence[Batch]) -> Batch:
    """Rows [T] to a batch [B, T]."""
    return Batch(*(np.stack(field) for field in zip(*rows, strict=True)))
