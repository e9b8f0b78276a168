"""Small grammatical songs as tokens, for tests of masks and model that need no MIDI; and windows of real ones."""

from pathlib import Path

import numpy as np

from jax_impl.batch import Batch, pack_row, stack_rows
from tokenizer import vocabulary as vocab
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens import fields
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import Hidden, encode, encode_song, grid_song
from tokenizer.tokens.fields import TokenFields
from tokenizer.vocabulary import Class


def ids(names: str) -> np.ndarray:
    """int32[T] of token names separated by spaces."""
    return np.array([vocab.ID[name] for name in names.split()], np.int32)


def random_song(
    seed: int, bars: int = 3, programs: tuple[int, ...] = (128, 33, 0, 0), size: int = vocab.SIZE
) -> TokenFields:
    """A song of len(programs) tracks; the later tracks end earlier or have silent bars, as real ones do. size: of the
    vocabulary whose tokens it is made of.
    """
    random = np.random.default_rng(seed)

    def any_of(class_: int, number: int = 1) -> list[int]:
        tokens = np.flatnonzero((vocab.CLASS == class_) & (np.arange(vocab.SIZE) < size))
        return random.choice(tokens, number, replace=False).tolist()

    tokens = ids("BOS BPM_19 TS_4/4").tolist()
    for index, program in enumerate(programs):
        tokens += [vocab.track_token(program), vocab.SEP]
        for bar in range(bars if index == 0 else 1 + int(random.integers(bars))):
            tokens += any_of(Class.CHORD)
            positions = any_of(Class.POSITION, int(random.integers(4)) if bar else 2)
            for position in sorted(positions, key=vocab.VALUE.__getitem__):
                tokens.append(position)
                for note in range(1 + int(random.integers(2))):
                    tokens.append(int(vocab.TOKEN[Class.PITCH][40 + 5 * note + int(random.integers(5))]))
                    tokens += [*any_of(Class.DURATION), *any_of(Class.VELOCITY)]
    return fields.compute(np.array([*tokens, vocab.EOS]))


def long_measures() -> TokenFields:
    """Three measures of 5/4 and two of 12/8, each written in two bars, with triplets, thirty-seconds and a note of 80
    sixteenths: much of what only our tokens say.
    """
    five_four, twelve_eight = 2400, 2880
    drums = [(at, 80, 36 + at // 80 % 3, 90) for at in range(0, 3 * five_four, 160)]
    piano = [(at, 60, 60 + at // 60 % 5, 70) for at in range(0, 3 * five_four + 2 * twelve_eight, 180)]
    bass = [(0, 80 * 120, 40, 80), (11_000, 120, 43, 80)]
    tracks = [Track(program, np.array(rows, NOTE)) for program, rows in ((128, drums), (33, bass), (0, piano))]
    signatures = Signature(0, 5, 4), Signature(3 * five_four, 12, 8)
    return encode(Score(480, tuple(tracks), (Tempo(0, 500_000),), signatures))


def hidden_song(seed: int) -> tuple[TokenFields, TokenFields]:
    """A composed song as the encoder writes it, and with bars of some tracks, or of all, hidden and said at the end."""
    song, chords = grid_song(encode(compose(seed)))
    random = np.random.default_rng(seed)
    first = int(random.integers(len(song.bars)))
    stop = int(random.integers(first, min(first + 6, len(song.bars)))) + 1
    of_track = [(track.notes["bar"] >= first) & (track.notes["bar"] < stop) for track in song.tracks]
    tracks = tuple(n for n, is_in in enumerate(of_track) if is_in.any() and (seed % 2 or random.random() < 0.5))
    return encode_song(song, chords), encode_song(song, chords, Hidden(first, stop, tracks) if tracks else None)


def short_hidden_song() -> TokenFields:
    """Four bars of three tracks in 158 tokens, of which the two in the middle are hidden in all."""
    song, chords = grid_song(crop(encode(compose(4)), 0, 4))
    return encode_song(song, chords, Hidden(1, 3, (0, 1, 2)))


def hidden_in(tokens: TokenFields) -> Hidden | None:
    """The hidden bars that well-formed tokens have."""
    masks = np.flatnonzero(tokens.ids == vocab.MASK)
    if not len(masks):
        return None
    tracks = np.flatnonzero(vocab.CLASS[tokens.ids] == Class.TRACK)
    hidden = np.unique(np.searchsorted(tracks, masks, side="right") - 1)
    return Hidden(int(tokens.bar[masks].min()), int(tokens.bar[masks].max()) + 1, tuple(hidden.tolist()))


def batch_of(rows: list[list[TokenFields]], max_seq_len: int) -> Batch:
    """[B, max_seq_len] of rows of songs."""
    return stack_rows([pack_row(songs, max_seq_len) for songs in rows])


def window_of(path: Path, max_tokens: int) -> TokenFields:
    """The longest window of bars of a MIDI file, of all its tracks, that so many tokens hold."""
    song = encode(midi.read(path))
    windows = (crop(song, 0, bars) for bars in (32, 16, 8, 4, 2, 1))
    return next(window for window in windows if len(window) <= max_tokens)
