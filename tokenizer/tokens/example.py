"""What training shows of a song, and which of its tokens are targets: those that say what its music does, and none that
only the form or a cut made.

A window that stops before its song does makes tracks end, and EOS come, where no composer ended anything. A model that
learned from these ends would write songs as short as its windows.

    song      #D  bars 0 1 2 3 4 5    #P0  bars 0 1 2 3 4 5    #P40  bars 0 1                        EOS
    bars 0-2  #D  bars 0 1 2          #P0  bars 0 1 2          #P40  bars 0 1                        EOS
    targets           1 1 1            0        1 1 1           0         1 1                         0
    cut ends          0 0 0            1        0 0 0           1         0 0                         1

Which track comes where a cut ended the one before, or that none does, is still the song's doing: given that a track is
over, it can be learned.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.tokens.crop import Window
from tokenizer.tokens.encode import Hidden, encode_song
from tokenizer.tokens.fields import TokenFields
from tokenizer.vocabulary import CLASS, Class

KNOWN_CHORD, CUT_END = 1, 2  # what is known of a target: see known_chords and cut_ends, 0 neither


@dataclass(frozen=True, eq=False)
class Example:
    """loss_mask: bool[T], whether each token counts where it is a target."""

    tokens: TokenFields
    loss_mask: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


def known_chords(ids: np.ndarray) -> np.ndarray:
    """bool[T]: chord tokens of all tracks but the first, which has said the chord of every bar."""
    class_ = CLASS[ids]
    return (class_ == Class.CHORD) & (np.cumsum(class_ == Class.TRACK) > 1)


def cut_ends(shown: Example) -> np.ndarray:
    """bool[T]: tracks, and EOS, that do not count because only a cut ended the track before. Not where bars that were
    hidden are said, for there it is known what comes.
    """
    class_ = CLASS[shown.tokens.ids]
    said_again = np.cumsum(class_ == Class.UNK) > 0
    return ~shown.loss_mask & ((class_ == Class.TRACK) | (class_ == Class.EOS)) & ~said_again


def whole(tokens: TokenFields) -> Example:
    """A song from its first bar to its last: all of it counts but the MASK of each hidden bar."""
    return Example(tokens, tokens.ids != vocab.MASK)


def example(window: Window, hidden: Hidden | None = None) -> Example:
    """A window; hidden: what is said at its end of it. What does not count besides MASK:

    - the token behind the last bar that is shown of a track which goes on behind the window. The first track has every
      bar, so it goes on wherever the song does. Of hidden bars all are said at the end, so what stands behind them
      counts;
    - EOS where the song goes on, also behind hidden bars: it would be known there, but not for what the song does.
    """
    shown = whole(encode_song(window.song, window.chords, hidden))
    ids, n_tracks = shown.tokens.ids, len(window.song.tracks)
    goes_on = window.tracks_go_on.copy()
    goes_on[:1] = window.goes_on
    is_end = (CLASS[ids] == Class.TRACK) | (ids == vocab.UNK) | (ids == vocab.EOS)
    behind_track = np.flatnonzero(is_end)[1 : n_tracks + 1]  # the first begins the first track
    shown.loss_mask[behind_track[goes_on]] = False
    shown.loss_mask[-1] = not window.goes_on
    return shown
