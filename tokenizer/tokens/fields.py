"""Token fields: what the attention rule and the embeddings need to know of each token, beside its id.

One state machine says it (FieldState, token by token and for many songs at once, as the sampler runs it); `compute` is
its vectorised form.

    token       BOS BPM TS | #P0 SEP | Cmaj T0 P60 L4 V20 T8 P64 | Gmaj T0 P67 | EOS
    bar          -1  -1 -1 |  -1  -1 |    0  0   0  0   0  0   0 |    1  1   1 |  -1
    instrument  129 129 129|   0   0 |    0  0   0  0   0  0   0 |    0  0   0 | 129
    kind         -1  -1 -1 |  -1  -1 |   -1  0   1  2   3  0   1 |   -1  0   1 |  -1
    onset        -1  -1 -1 |  -1  -1 |   -1  1   1  1   1  2   2 |   -1  3   3 |  -1
    span         -1  -1 -1 |  -1  -1 |    0  0   0  0   0  0   0 |    1  1   1 |  -1

Where bars are hidden (see fill.py), MASK lies in its bar, and behind UNK bars count on from the first hidden one. So do
positions, by which the model turns (rotary positions): to what is written of hidden bars the bars before them are as
near as they are in the song, and those behind come after it. A MASK takes the place of a usual bar's tokens.

    token       #P0 SEP | Cmaj T0 P60 | Gmaj MASK | Cmaj T0 P62 | UNK #P0 SEP | Gmaj T0 P59 | EOS
    bar          -1  -1 |    0  0   0 |    1    1 |    2  2   2 |  -1  -1  -1 |    1  1   1 |  -1
    position      3   4 |    5  6   7 |    8    9 |   73 74  75 |   5   6   7 |    8  9  10 |  11

The place of a token is the fine step of its bar that the last position token has said, 0 before one has:

    token       #P0 SEP | Cmaj T0 P60 L4 T8 P64 | Gmaj T2 P67 | #P40 SEP | Cmaj T8 P72 | EOS
    place        -1  -1 |    0  0   0  0 48  48 |    0 12  12 |   -1  -1 |    0 48  48 |  -1

The harmony of a token is what its track has said of chords: that of its bar, and those of BACK bars before it, which
stand four and eight bars before the next one, whose chord comes next. One number, see chords_of.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tokenizer.vocabulary import CLASS, N_CHORDS, VALUE, Class

# bar, place, onset or span of a token outside any; kind of a token that is no position, pitch, duration or velocity
OUTSIDE = -1
NO_INSTRUMENT = 129  # instrument of a token outside any track
KIND_POSITION, KIND_PITCH, KIND_DURATION, KIND_VELOCITY = range(4)

# By token: the kind; whether it stands outside bars and restarts their count
_NUMBERED = (Class.POSITION, Class.PITCH, Class.DURATION, Class.VELOCITY)
KIND = np.array([_NUMBERED.index(class_) if class_ in _NUMBERED else OUTSIDE for class_ in CLASS.tolist()], np.int32)
IS_STRUCTURE = ((CLASS < Class.CHORD) & (CLASS != Class.MASK)) | (CLASS == Class.TRACK)

MOST_HIDDEN = 32  # tracks with hidden bars
MASK_POSITIONS = 64  # that a MASK takes: nearly all bars of a track have fewer tokens
BAR_STEPS = 96  # fine steps of a bar, at most
BACK = (0, 3, 7)
CHORD_CODES = N_CHORDS + 1  # 0: none was said
BEFORE_CHORD = 3  # UNK, track and SEP stand before the first hidden bar


@dataclass(frozen=True, eq=False)
class TokenFields:
    """Tokens of one song and their fields, each int32[T].

    ids: token ids. bar: number of the bar in its track, -1 outside bars.
    instrument: program 0-127, 128 drums, 129 outside tracks. kind: 0 position, 1 pitch, 2 duration, 3 velocity, -1
    other.
    onset: counts position tokens from 1; the notes after one share it; -1 else.
    span: counts bars of all tracks from 0; a span is a chord token and what follows up to the next chord, track or
    special token but MASK; -1 outside.
    """

    ids: np.ndarray
    bar: np.ndarray
    instrument: np.ndarray
    kind: np.ndarray
    onset: np.ndarray
    span: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenFields) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__
        )


class FieldState(NamedTuple):
    """State after a token, which is also that token's fields; START stands before the first. Total: any id may follow
    any other.

    Each field is a number, or an array int32[B] of many songs at once, in numpy or jax, but where said; begin(B) stands
    before the first token of so many.
    """

    bar: Any = OUTSIDE
    instrument: Any = NO_INSTRUMENT
    kind: Any = OUTSIDE
    onset: Any = OUTSIDE
    span: Any = OUTSIDE
    bars: Any = 0  # number of this track's next bar
    onsets: Any = 0  # position tokens so far
    spans: Any = 0  # chord tokens so far
    hidden: Any = OUTSIDE  # bar of the first MASK
    origin: Any = 0  # number of a track's first bar
    position: Any = OUTSIDE  # of the token
    next_position: Any = 0
    chord_position: Any = 0  # of the last chord
    hides: Any = 0  # 1: the current track has hidden bars
    hiding: Any = 0  # tracks that have
    said: Any = 0  # UNK tokens behind the first MASK
    place: Any = OUTSIDE  # in its bar, 0 to BAR_STEPS - 1; -1 outside bars
    starts: Any = (0,) * MOST_HIDDEN  # int32[MOST_HIDDEN] (or [B, MOST_HIDDEN]) position of each one's first hidden bar
    chords: Any = (0,) * (BACK[-1] + 1)  # int32[8] (or [B, 8]) codes of this track's last ones, the last one first

    @property
    def harmony(self) -> Any:
        return sum(self.chords[..., back] * CHORD_CODES**number for number, back in enumerate(BACK))

    def push(self, token: Any, xp: Any = np) -> "FieldState":
        """The state after one more token. xp: numpy or jax.numpy, whichever the fields are of."""
        class_ = xp.asarray(CLASS)[token]
        is_structure, is_track = xp.asarray(IS_STRUCTURE)[token], class_ == Class.TRACK
        is_chord = class_ == Class.CHORD  # opens a bar and its span
        is_position = class_ == Class.POSITION
        is_conductor = (class_ == Class.TEMPO) | (class_ == Class.SIGNATURE)
        value = xp.asarray(VALUE)[token]
        other = xp.where(class_ == Class.SEP, self.instrument, NO_INSTRUMENT)
        opened, is_mask = xp.where(is_chord, 1, 0), class_ == Class.MASK
        origin = xp.where(class_ == Class.UNK, xp.maximum(self.hidden, 0), self.origin)
        onsets = self.onsets + xp.where(is_position, 1, 0)
        is_unk, number = class_ == Class.UNK, xp.arange(MOST_HIDDEN)
        at = lambda count: number == xp.asarray(count)[..., None]
        returns = is_unk & (self.said < xp.minimum(self.hiding, MOST_HIDDEN))
        start = xp.where(at(self.said), xp.asarray(self.starts), 0).sum(axis=-1)
        position = xp.where(returns, xp.maximum(start - BEFORE_CHORD, 0), self.next_position)
        chord_position = xp.where(is_chord, position, self.chord_position)
        is_first = is_mask & (self.bar >= 0) & (self.hides == 0)
        is_new = at(self.hiding) & xp.asarray(is_first)[..., None]
        return FieldState(
            bar=xp.where(is_structure, OUTSIDE, xp.where(is_chord, self.bars, self.bar)),
            instrument=xp.where(is_track, value, xp.where(is_structure, other, self.instrument)),
            kind=xp.asarray(KIND)[token],
            onset=xp.where(
                is_structure | is_chord | is_conductor | is_mask, OUTSIDE, xp.where(is_position, onsets, self.onset)
            ),
            span=xp.where(is_structure, OUTSIDE, xp.where(is_chord, self.spans, self.span)),
            bars=xp.where(is_structure, origin, self.bars + opened),
            onsets=onsets,
            spans=self.spans + opened,
            hidden=xp.where(is_mask & (self.hidden < 0), self.bar, self.hidden),
            origin=origin,
            position=position,
            next_position=position + xp.where(is_mask, MASK_POSITIONS, 1),
            chord_position=chord_position,
            hides=xp.where(is_track, 0, xp.where(is_first, 1, self.hides)),
            hiding=self.hiding + xp.where(is_first, 1, 0),
            said=self.said + xp.where(is_unk & (self.hiding > 0), 1, 0),
            place=xp.where(
                is_structure,
                OUTSIDE,
                xp.where(is_chord, 0, xp.where(is_position & (self.bar >= 0), value, self.place)),
            ),
            starts=xp.where(is_new, xp.asarray(chord_position)[..., None], xp.asarray(self.starts)),
            chords=self._chords(is_structure, is_chord, value, xp),
        )

    def _chords(self, is_structure: Any, is_chord: Any, value: Any, xp: Any) -> Any:
        before, column = xp.asarray(self.chords), lambda x: xp.asarray(x)[..., None]
        shifted = xp.concatenate([xp.broadcast_to(column(value + 1), (*before.shape[:-1], 1)), before[..., :-1]], -1)
        return xp.where(column(is_structure), 0, xp.where(column(is_chord), shifted, before))

    def where(self, alive: Any, before: "FieldState", xp: Any = np) -> "FieldState":
        """Of songs that are alive bool[B] this state, of others the one before."""
        keep = lambda new, old: xp.where(alive.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        return FieldState(*map(keep, self, before))


START = FieldState()


def begin(rows: int, xp: Any = np) -> FieldState:
    """START of so many songs."""
    values = (np.asarray(value, np.int32) for value in START)
    return FieldState(*(xp.asarray(np.broadcast_to(value, (rows, *value.shape))) for value in values))


def time(bar: Any, place: Any) -> Any:
    """Fine steps from a song's start to where the music stands in a bar, each bar counted as if it had all of
    BAR_STEPS: what sounds together has one time, however far apart it is written. Outside bars 0. Arrays of numpy,
    jax.numpy or PyTorch.
    """
    return BAR_STEPS * (bar * (bar >= 0)) + place * (place >= 0)


def positions(ids: np.ndarray) -> np.ndarray:
    """int32[T]: rotary positions of a whole sequence, integer[T], as push says them: the index of each token where no
    bars are hidden.
    """
    class_ = CLASS[np.asarray(ids)]
    steps = np.where(class_ == Class.MASK, MASK_POSITIONS, 1)
    found = np.cumsum(steps) - steps
    if (class_ == Class.MASK).any() and (class_ == Class.UNK).any():
        inside = compute(ids).bar >= 0
        masks = np.flatnonzero((class_ == Class.MASK) & inside)
        tracks = np.cumsum(class_ == Class.TRACK)[masks]
        firsts = masks[np.unique(tracks, return_index=True)[1]]
        chord = np.maximum.accumulate(np.where(class_ == Class.CHORD, np.arange(len(class_)), 0))
        unknown = np.flatnonzero(class_ == Class.UNK)
        for number, index in enumerate(unknown[unknown > firsts.min(initial=len(class_))][:MOST_HIDDEN]):
            if number < (firsts < index).sum():
                start = found[chord[firsts[number]]]
                found[index:] += max(start - BEFORE_CHORD, 0) - found[index]
    return found.astype(np.int32)


def places(tokens: TokenFields) -> np.ndarray:
    """int32[T]: the place of each token of a whole sequence, as push says it."""
    class_, inside = CLASS[tokens.ids], tokens.bar >= 0
    says = np.flatnonzero(IS_STRUCTURE[tokens.ids] | (class_ == Class.CHORD) | ((class_ == Class.POSITION) & inside))
    place = np.where(class_[says] == Class.POSITION, VALUE[tokens.ids[says]], 0)
    last = np.searchsorted(says, np.arange(len(tokens)), side="right") - 1
    return np.where(inside, np.concatenate([place, [0]])[last], OUTSIDE).astype(np.int32)


def harmonies(ids: np.ndarray) -> np.ndarray:
    """int32[T]: the harmony of each token of a whole sequence, integer[T], as push says it."""
    class_, index = CLASS[np.asarray(ids)], np.arange(len(ids))
    is_chord = class_ == Class.CHORD
    codes, said = VALUE[ids[is_chord]] + 1, np.cumsum(is_chord)  # said: chords up to each token
    structure = np.maximum.accumulate(np.where(IS_STRUCTURE[ids], index, -1)) if len(ids) else index
    before_track = np.where(structure >= 0, said[structure], 0)
    found = np.zeros(len(ids), np.int64)
    for number, back in enumerate(BACK):
        place = said - 1 - back
        there = np.where(place >= before_track, np.append(codes, 0)[np.maximum(place, 0)], 0)
        found += there * CHORD_CODES**number
    return found.astype(np.int32)


def chords_of(harmony: Any) -> list[Any]:
    """Of each of BACK the code of its chord: 0 where none was said, else 1 + what the chord token says. Of integers of
    any kind.
    """
    return [harmony // CHORD_CODES**number % CHORD_CODES for number in range(len(BACK))]


def compute(ids: np.ndarray) -> TokenFields:
    """Fields of a whole sequence at once: equal to pushing its ids one by one through START.

    ids: integer[T], any tokens. A tempo, signature or MASK token ends the reach of an onset, as in push.
    """
    ids = np.asarray(ids, dtype=np.int32)
    index = np.arange(len(ids), dtype=np.int32)
    class_, is_structure = CLASS[ids], IS_STRUCTURE[ids]
    is_chord, is_position = class_ == Class.CHORD, class_ == Class.POSITION
    ends_onset = is_structure | is_chord | np.isin(class_, (Class.TEMPO, Class.SIGNATURE, Class.MASK))

    def last(where: np.ndarray) -> np.ndarray:  # index of the last true at or before each token, -1 before the first
        return np.maximum.accumulate(np.where(where, index, -1)) if len(ids) else index

    structure, chord = last(is_structure), last(is_chord)
    inside = chord > structure
    chords = np.cumsum(is_chord, dtype=np.int32)
    chords_before_track = np.where(structure >= 0, chords[structure], 0)  # structure tokens are no chords
    bar = np.where(inside, chords - 1 - chords_before_track, OUTSIDE)
    if (hidden := np.flatnonzero((class_ == Class.MASK) & inside)).size:
        unknown = np.flatnonzero(class_ == Class.UNK)
        filled = unknown[unknown > hidden[0]]
        bar[index >= filled.min(initial=len(ids))] += bar[hidden[0]]
        bar[~inside] = OUTSIDE
    span = np.where(inside, chords - 1, OUTSIDE)

    setter = last(is_structure & (class_ != Class.SEP))  # what last said which instrument plays
    instrument = np.where((setter >= 0) & (class_[setter] == Class.TRACK), VALUE[ids[setter]], NO_INSTRUMENT)

    in_reach = last(is_position) > last(ends_onset)
    onset = np.where(in_reach, np.cumsum(is_position), OUTSIDE)
    return TokenFields(ids, *(np.asarray(x, np.int32) for x in (bar, instrument, KIND[ids], onset, span)))
