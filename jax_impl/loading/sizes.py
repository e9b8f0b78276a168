"""How large songs, their windows and their bars may become: what the packer packs."""

from typing import NamedTuple

import numpy as np

from configs import DataConfig
from jax_impl.loading.tasks import (
    HIDDEN_BAR_SPANS,
    HIDDEN_BAR_TOKENS,
    HIDDEN_TRACK_TOKENS,
    MOST_SHARE,
    ORDER_BARS,
    SHARE_UNIT,
    Tasks,
)
from tokenizer.dataset.songs import Songs

TOKENS_OUTSIDE = 4  # BOS, tempo, signature, EOS
TOKENS_PER_TRACK = 4  # track and SEP, and the duration and velocity that a crop may have to say again
LEAST_HIDDEN = 4  # bars of a track, of a song that is short


class Sizes(NamedTuple):
    """Of songs, int64[n] each, and of all bars of the first, the second, ...: upper bounds where a song may be shown
    otherwise than it is stored. overhead: tokens that each window has besides those of its bars. The bars of a measure
    count as its first one's, the others as 0.
    """

    tokens: np.ndarray
    spans: np.ndarray
    bars: np.ndarray
    overhead: np.ndarray
    bar_tokens: np.ndarray
    bar_spans: np.ndarray


def stored_sizes(songs: Songs, which: np.ndarray) -> Sizes:
    """Of songs int[n] as they are stored."""
    overhead = TOKENS_OUTSIDE + TOKENS_PER_TRACK * songs.tracks[which]
    return Sizes(songs.tokens[which], songs.spans[which], songs.bars[which], overhead, *songs.bar_sizes(which))


def with_room(sizes: Sizes, tasks: Tasks, config: DataConfig) -> Sizes:
    """With room for the songs' tasks: what is left for a song as a whole is spread over its bars, so that each window
    has its part. A song of which a measure would fit no row any more has none, for no bar may be lost.
    """
    song_of = np.repeat(np.arange(len(sizes.bars), dtype=np.int32), sizes.bars)
    least = np.minimum(LEAST_HIDDEN * SHARE_UNIT // np.maximum(sizes.spans, 1) + 1, MOST_SHARE)
    share = np.where(tasks.hidden > 0, np.maximum(tasks.hidden, least), 0).astype(np.int32)
    hidden = _spread(sizes.bar_spans, sizes, share, SHARE_UNIT)
    in_measure = np.flatnonzero(sizes.bar_tokens == 0)
    bars = np.ones(len(song_of), np.int32)
    bars[in_measure] = 0
    bars[in_measure - 1] += 1
    more_spans = _spread(bars, sizes, tasks.is_reordered.astype(np.int32), ORDER_BARS)
    more_tokens = more_spans + HIDDEN_BAR_TOKENS * hidden
    more_spans += HIDDEN_BAR_SPANS * hidden
    more_overhead = np.where(tasks.hidden > 0, HIDDEN_TRACK_TOKENS, 0)

    tokens_left = (config.max_seq_len - sizes.overhead).astype(np.int32)[song_of] - sizes.bar_tokens
    spans_left = config.max_spans - sizes.bar_spans.astype(np.int32)
    fits = (tokens_left >= 0) & (spans_left >= 0)
    fits_no_more = fits & (
        (more_tokens + more_overhead.astype(np.int32)[song_of] > tokens_left) | (more_spans > spans_left)
    )
    has_room = np.bincount(song_of[fits_no_more], minlength=len(sizes.bars)) == 0
    more_tokens *= has_room[song_of]
    more_spans *= has_room[song_of]
    more_overhead *= has_room

    def of_songs(values: np.ndarray) -> np.ndarray:
        sums = np.append(0, np.cumsum(values))
        ends = np.cumsum(sizes.bars)
        return sums[ends] - sums[ends - sizes.bars]

    return Sizes(
        sizes.tokens + of_songs(more_tokens) + more_overhead,
        sizes.spans + of_songs(more_spans),
        sizes.bars,
        sizes.overhead + more_overhead,
        sizes.bar_tokens + more_tokens,
        sizes.bar_spans + more_spans,
    )


def _spread(amounts: np.ndarray, sizes: Sizes, numerator: np.ndarray, unit: int) -> np.ndarray:
    """int32[bars]: of the amounts of each song's bars numerator[song] / unit, in whole numbers that sum up to it from
    the song's start to any bar, rounded down.
    """
    up_to = np.cumsum(amounts, dtype=np.int32)
    starts = np.cumsum(sizes.bars) - sizes.bars
    before_song = np.append(np.int32(0), up_to)[starts]
    up_to -= np.repeat(before_song, sizes.bars)
    up_to *= np.repeat(numerator, sizes.bars)
    up_to //= unit
    begins = starts[sizes.bars > 0]
    first = up_to[begins]
    up_to[1:] -= up_to[:-1].copy()
    up_to[begins] = first
    return up_to
