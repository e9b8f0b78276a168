"""The grammar of HID songs as an automaton over token ids, many songs at once, in numpy or in jax:
what may come next, and why not. Followed by the sampler (draw, plan) at each token.

    BOS BPM_x TS_y { track SEP { chord [TS_z] [BPM_w] { T_p { P [L] [V] } } } } EOS

and with hidden bars (see encode.py)

    BOS BPM_x TS_y { track SEP { chord [TS_z] [BPM_w] ({ T_p { P [L] [V] } } | MASK) } }
                   { UNK track SEP { chord { T_p { P [L] [V] } } } } EOS

A sequence that it accepts is exactly what the encoder writes of some song: decoding and encoding it again gives the
same ids (with the chords that it says). FOLLOWS is the skeleton, the transition table of the kinds of tokens; each
clause of `clauses` is one rule about values, named by the sentence a person is told when it is broken. `push` is total,
so that ungrammatical songs can be followed too.

Time counts fine steps (1/24 of a quarter note) from the song's start. The first track's bars are remembered, for the
other tracks repeat them. A bar here is a part of a measure where that is long (see grid/meter.py).
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from configs import InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import N_PARTS, PART_SIXTEENTHS
from tokenizer.grid.song import HID_RANK
from tokenizer.music.score import DRUMS
from tokenizer.tokens.fields import MOST_HIDDEN
from tokenizer.vocabulary import CLASS, VALUE, Class

BOS, EOS, SEP, CHORD, POSITION, PITCH = Class.BOS, Class.EOS, Class.SEP, Class.CHORD, Class.POSITION, Class.PITCH
MASK, UNK = Class.MASK, Class.UNK
TRACK, TEMPO, SIGNATURE = Class.TRACK, Class.TEMPO, Class.SIGNATURE
DURATION, VELOCITY = Class.DURATION, Class.VELOCITY
# States beside the class of the last token: before the song, in its head and after it
START, HEADER_TEMPO, HEADER = vocab.N_CLASSES, vocab.N_CLASSES + 1, vocab.N_CLASSES + 2
BASSES = np.arange(32, 40)  # programs
NONE = -1  # no position, pitch, duration or velocity yet
NEVER = np.iinfo(np.int32).max  # a time

RANK = np.zeros(vocab.SIZE, np.int32)  # of a track token, in HID order
RANK[CLASS == TRACK] = [HID_RANK[program] for program in VALUE[CLASS == TRACK].tolist()]
SHORTEST = int(vocab.DURATIONS[0])  # fine steps of the shortest note
LENGTH = PART_SIXTEENTHS * vocab.SIXTEENTH  # fine steps of a bar, by signature and part of the measure

# Which classes of tokens may follow which, by the state after the last token.
ENDS = (TRACK, UNK, EOS)  # of a track
_BAR_ENDS = (CHORD, *ENDS)
_TABLE = {
    START: (BOS,),
    BOS: (TEMPO,),
    HEADER_TEMPO: (SIGNATURE,),
    HEADER: (TRACK, EOS),
    TRACK: (SEP,),
    SEP: (CHORD,),
    CHORD: (SIGNATURE, TEMPO, POSITION, MASK, *_BAR_ENDS),
    SIGNATURE: (TEMPO, POSITION, MASK, *_BAR_ENDS),
    TEMPO: (POSITION, MASK, *_BAR_ENDS),
    MASK: _BAR_ENDS,
    UNK: (TRACK,),
    POSITION: (PITCH,),
    PITCH: (DURATION, VELOCITY, PITCH, POSITION, *_BAR_ENDS),
    DURATION: (VELOCITY, PITCH, POSITION, *_BAR_ENDS),
    VELOCITY: (PITCH, POSITION, *_BAR_ENDS),
}
FOLLOWS = np.zeros((HEADER + 1, vocab.N_CLASSES), bool)
for _state, _next in _TABLE.items():
    FOLLOWS[_state, list(_next)] = True


@cache
def of(*kinds: int) -> np.ndarray:
    """bool[724]: tokens of these classes."""
    return np.isin(CLASS, kinds)


class UngrammaticalTokens(InputError):
    """Tokens that no song is written as; the message names the place and the rule."""


class State(NamedTuple):
    """After a token, in each of B songs: int32[B], but where said. W bars of the first track are remembered."""

    last: Any  # class of the last token, or START, HEADER_TEMPO, HEADER
    tracks: Any  # track tokens so far
    program: Any  # of the current track
    pitched: Any  # those of them that are not drums; in hidden bars, up to the track that has them
    chordal: Any  # and no basses; likewise
    rank: Any  # HID rank of the current track
    bar: Any  # of the current track, from 0; -1 before its first
    bars: Any  # of the first track so far, which are the song's once another begins
    in_bar: Any  # bool[B], the current bar has a note
    in_track: Any  # bool[B], the current track has a note
    struck: Any  # notes of the current measure of the track
    onsets: Any  # positions so far of the current bar
    here: Any  # notes so far at its last one
    bottom: Any  # pitch of its first note, -1 none
    filled: Any  # bool[B], the first track's last bar has a note, in any track
    measure: Any  # of the current track, from 0; -1 before its first bar
    part: Any  # of its measure, that the current bar is
    step: Any  # last position in the bar, -1 none
    pitch: Any  # last pitch at the position, -1 none
    duration: Any  # in force in the track, -1 none
    velocity: Any  # in force in the track, -1 none
    signature: Any  # of the current bar
    tempo: Any  # in force in the first track
    start: Any  # time at which the current bar begins
    ends: Any  # int32[B, 128] time until which each pitch sounds in the track
    chords: Any  # int32[B, W] of the first track's bars
    signatures: Any  # int32[B, W] of the first track's bars
    first_hidden: Any  # hidden bar, -1 none
    after_hidden: Any  # one past the last one
    hidden_start: Any  # time at which the first one begins
    hidden_part: Any  # of its measure, that it is
    hidden_measure: Any  # which it is part of
    hides: Any  # bool[B], the current track has hidden bars
    hidden: Any  # tracks that have
    said: Any  # of these, those whose hidden bars are said or being said
    programs: Any  # int32[B, H] of the tracks with hidden bars
    pitched_at: Any  # int32[B, H] `pitched` in each of them
    chordal_at: Any  # int32[B, H] `chordal` likewise
    rings: Any  # int32[B, H, 128] time until which each pitch sounds in them when the hidden bars begin
    strikes: Any  # int32[B, H, 128] time at which each pitch is struck next behind the hidden bars


def begin(rows: int, bars: int, xp: Any = np) -> State:
    """Before the first token of each song. bars: W, of the longest song to come."""
    full = lambda value: xp.full(rows, value, np.int32)
    zeros = lambda width: xp.zeros((rows, width), np.int32)
    no = xp.zeros(rows, bool)
    values = dict(last=START, tracks=0, program=0, pitched=0, chordal=0, rank=0, bar=NONE, bars=0, measure=NONE, part=0)
    values |= dict(struck=0, onsets=0, here=0, bottom=NONE, signature=0, tempo=0, start=0)
    values |= dict(step=NONE, pitch=NONE, duration=NONE, velocity=NONE)
    values |= dict(first_hidden=NONE, after_hidden=0, hidden_start=0, hidden_part=0, hidden_measure=0, hidden=0, said=0)
    of_hidden = xp.zeros((rows, MOST_HIDDEN, vocab.N_PITCHES), np.int32)
    arrays = dict(ends=zeros(vocab.N_PITCHES), chords=zeros(bars), signatures=zeros(bars))
    arrays |= dict(in_bar=no, in_track=no, filled=no, hides=no)
    arrays |= dict(programs=zeros(MOST_HIDDEN), pitched_at=zeros(MOST_HIDDEN), chordal_at=zeros(MOST_HIDDEN))
    arrays |= dict(rings=of_hidden, strikes=of_hidden + NEVER)
    return State(**{name: full(value) for name, value in values.items()}, **arrays)


def push(state: State, token: Any, xp: Any = np) -> State:
    """The state after one more token int32[B]."""
    kind, value = xp.asarray(CLASS)[token], xp.asarray(VALUE)[token]
    is_track, is_chord, is_tempo, is_signature = (kind == k for k in (TRACK, CHORD, TEMPO, SIGNATURE))
    is_position, is_pitch, is_duration, is_velocity = (kind == k for k in (POSITION, PITCH, DURATION, VELOCITY))
    is_mask = (kind == MASK) & (state.bar >= 0)
    in_header, in_first, in_later = state.tracks == 0, state.tracks == 1, state.tracks > 1
    leaves_bar = is_track | is_chord
    said = state.said + (kind == UNK)
    returns, opens_track = said > 0, state.last == SEP  # to the hidden bars; with its first bar

    # Bars: a chord opens the next one of its track; the bars of the first track are the song's
    before_first = xp.where(returns, state.first_hidden - 1, NONE)
    bar = xp.where(is_track, before_first, state.bar + is_chord)
    opens_song_bar = in_first & is_chord
    in_last_song_bar = state.bar == state.bars - 1

    # Meter: the header and the first track say it; a later track's bar has that of the first track's
    of_first_track = _at(state.signatures, bar, xp)
    signature = xp.where(is_chord & in_later, of_first_track, state.signature)
    signature = xp.where(is_signature & ~in_later, value, signature)
    says_meter_of_bar = in_first & (is_chord | is_signature)

    # Measures: a bar goes on with the measure of the one before it, where that has a part left
    goes_on = (signature == state.signature) & (state.part + 1 < xp.asarray(N_PARTS)[signature])
    goes_on &= (state.bar >= 0) & ~opens_track
    begins = is_chord & returns & opens_track
    part = xp.where(is_chord, xp.where(goes_on, state.part + 1, 0), xp.where(is_signature | is_track, 0, state.part))
    part = xp.where(begins, state.hidden_part, part)
    measure = xp.where(is_track, NONE, state.measure + (is_chord & ~goes_on))
    measure = xp.where(begins, state.hidden_measure, measure)

    # Time: a bar begins where the one before it ends, a note sounds from its position on
    length_before = xp.where((state.bar >= 0) & ~opens_track, xp.asarray(LENGTH)[state.signature, state.part], 0)
    start = xp.where(is_track, xp.where(returns, state.hidden_start, 0), state.start + is_chord * length_before)
    now = state.start + state.step
    ring_in = xp.where(returns[:, None], _of_hidden(state.rings, said, xp), 0)
    ends = xp.where(is_track[:, None], ring_in, state.ends)
    ends = _put(ends, is_pitch, value, now + xp.maximum(state.duration, 0), xp)
    ends = _put(ends, is_duration, state.pitch, now + value, xp)  # said after its pitch

    is_pitched = is_track & (value != DRUMS)
    pitched = state.pitched + is_pitched
    chordal = state.chordal + (is_pitched & ~xp.isin(value, xp.asarray(BASSES)))

    # Hidden bars: what sounds in their tracks when they begin, and what is struck behind them
    hides_first, hides_more = is_mask & ~state.hides, is_mask & (state.hidden - state.hides == 0)
    is_first_of_all = hides_first & (state.hidden == 0)
    hidden = state.hidden + hides_first
    at = lambda number: (xp.arange(MOST_HIDDEN) == number[:, None])[:, :, None]
    is_struck = (is_pitch & state.hides & (said == 0))[:, None] & (xp.arange(vocab.N_PITCHES) == value[:, None])
    is_next = is_struck[:, None] & at(hidden - 1) & (state.strikes == NEVER)

    def last_said(is_said: Any, before: Any, forgotten: Any) -> Any:
        return xp.where(forgotten, NONE, xp.where(is_said, value, before))

    return State(
        last=xp.where(in_header & is_tempo, HEADER_TEMPO, xp.where(in_header & is_signature, HEADER, kind)),
        tracks=state.tracks + is_track,
        pitched=xp.where(is_track & returns, _at(state.pitched_at, said - 1, xp), pitched),
        chordal=xp.where(is_track & returns, _at(state.chordal_at, said - 1, xp), chordal),
        rank=xp.where(is_track, xp.asarray(RANK)[token], state.rank),
        bar=bar,
        bars=xp.where(opens_song_bar, bar + 1, state.bars),
        in_bar=~leaves_bar & (state.in_bar | is_pitch | is_mask),
        in_track=~is_track & (state.in_track | is_pitch | is_mask),
        struck=xp.where(is_track | (is_chord & ~goes_on), 0, state.struck + is_pitch),
        onsets=xp.where(leaves_bar, 0, state.onsets + is_position),
        here=xp.where(leaves_bar | is_position, 0, state.here + is_pitch),
        bottom=last_said(is_pitch & (state.bottom < 0), state.bottom, forgotten=leaves_bar),
        filled=~opens_song_bar & (state.filled | (is_pitch & in_last_song_bar)),
        measure=measure,
        part=part,
        step=last_said(is_position, state.step, forgotten=leaves_bar),
        pitch=last_said(is_pitch, state.pitch, forgotten=leaves_bar | is_position),
        duration=last_said(is_duration, state.duration, forgotten=is_track | is_mask),
        velocity=last_said(is_velocity, state.velocity, forgotten=is_track | is_mask),
        signature=signature,
        tempo=xp.where(is_tempo & ~in_later, value, state.tempo),
        start=start,
        ends=ends,
        chords=_put(state.chords, opens_song_bar, bar, value, xp),
        signatures=_put(state.signatures, says_meter_of_bar, bar, signature, xp),
        first_hidden=xp.where(is_first_of_all, state.bar, state.first_hidden),
        after_hidden=xp.where(hides_more, state.bar + 1, state.after_hidden),
        hidden_start=xp.where(is_first_of_all, state.start, state.hidden_start),
        hidden_part=xp.where(is_first_of_all, state.part, state.hidden_part),
        hidden_measure=xp.where(is_first_of_all, state.measure, state.hidden_measure),
        hides=~is_track & (state.hides | is_mask),
        hidden=hidden,
        said=said,
        programs=_put(state.programs, hides_first, hidden - 1, state.program, xp),
        pitched_at=_put(state.pitched_at, hides_first, hidden - 1, state.pitched, xp),
        chordal_at=_put(state.chordal_at, hides_first, hidden - 1, state.chordal, xp),
        program=xp.where(is_track, value, state.program),
        rings=xp.where(hides_first[:, None, None] & at(hidden - 1), state.ends[:, None], state.rings),
        strikes=xp.where(is_next, now[:, None, None], state.strikes),
    )


def clauses(state: State, xp: Any = np, any_order: Any = False) -> dict[str, Any]:
    """What each rule allows next, bool[B, 724], under the sentence that says it. any_order: bool[], whether tracks may
    come in any.
    """
    column = lambda x: x[:, None]
    value, rank = xp.asarray(VALUE), xp.asarray(RANK)

    def only(condition: Any, *kinds: int) -> Any:  # tokens of these kinds only under a condition [B, 724] or [B]
        return ~xp.asarray(of(*kinds)) | (column(condition) if condition.ndim == 1 else condition)

    def must(condition: Any, kind: int) -> Any:  # under a condition [B] only tokens of this kind
        return ~column(condition) | xp.asarray(of(kind))

    first, inside, returns = state.tracks == 1, state.tracks > 0, state.said > 0
    steps = xp.asarray(LENGTH)[state.signature, state.part]
    now = state.start + state.step
    pitch = np.where(CLASS == PITCH, VALUE, 0)
    sounding = state.ends[:, pitch] > column(now)
    chord = _at(state.chords, state.bar + 1, xp)

    # Hidden bars are one range: the first track that has any goes on with it, each later one has all of it
    first_that_hides = state.hidden - state.hides == 0
    goes_on = xp.where(state.hides, state.bar == state.after_hidden, state.first_hidden < 0)
    in_range = (state.bar >= state.first_hidden) & (state.bar < state.after_hidden) & (state.first_hidden >= 0)
    may_hide = xp.where(first_that_hides, goes_on, in_range & (state.hides | (state.bar == state.first_hidden)))
    must_hide = ~first_that_hides & state.hides & in_range & (state.last == CHORD)
    is_over = ~state.hides | (state.bar + 1 >= state.after_hidden)  # of the current track

    # Said at the end they fit in between what their tracks have before and behind them
    is_said = xp.where(returns, state.bar + 1 == state.after_hidden, is_over)
    missing = state.said < state.hidden
    of_track = _at(state.programs, state.said - 1, xp)
    until = xp.where(column(returns), strikes_behind(state, xp), NEVER)
    until_next = _at(until, state.pitch, xp)
    lasts = now + xp.maximum(state.duration, 0)
    return {
        "this kind of token cannot stand here": xp.asarray(FOLLOWS[:, CLASS])[state.last],
        "the first note of a track says its duration": must((state.last == PITCH) & (state.duration < 0), DURATION),
        "the first note of a track says its velocity": must((state.last == DURATION) & (state.velocity < 0), VELOCITY),
        "positions rise within a bar": only(value > column(state.step), POSITION),
        "the bar's meter has no such position": only(value < column(steps), POSITION),
        "the pitches of a position rise": only(value > column(state.pitch), PITCH),
        "this pitch still sounds in its track": only(~sounding, PITCH),
        "a duration is written only where it changes": only(value != column(state.duration), DURATION),
        "a velocity is written only where it changes": only(value != column(state.velocity), VELOCITY),
        "tempo and meter change in the first track alone, after its first bar": only(
            ~inside | first & (state.bar > 0), TEMPO, SIGNATURE
        ),
        "a meter changes where a measure begins": only(~inside | (state.part == 0), SIGNATURE),
        "a tempo is written only where it changes": only(~column(inside) | (value != column(state.tempo)), TEMPO),
        "a meter is written only where it changes": only(
            ~column(inside) | (value != column(state.signature)), SIGNATURE
        ),
        "tracks come in HID order": only(
            any_order | ~column(inside) | (rank >= column(state.rank)) | column(state.last == UNK), TRACK
        ),
        "no track is longer than the first": only(first | (state.bar + 1 < state.bars), CHORD),
        "a bar has one chord, that of the first track": only(column(first) | (value == column(chord)), CHORD),
        "a track has a note": only(~inside | (state.last == UNK) | state.in_track, *ENDS),
        "a track ends with the bar of its last note": only(
            ~inside | (state.last == UNK) | first | returns | state.in_bar, *ENDS
        ),
        "a song ends with the bar of its last note": only(~inside | state.filled, EOS)
        & only(state.filled | returns | (state.after_hidden == state.bars), UNK),
        "hidden bars are one range, the same in each track that has any": only(
            may_hide & ~returns & (state.hidden - state.hides < MOST_HIDDEN), MASK
        )
        & must(must_hide, MASK)
        & only(is_over, TRACK),
        "hidden bars are said at the end, track by track": only(is_said & missing, UNK)
        & only(~missing & is_said, EOS)
        & only(~returns | (state.last == UNK), TRACK)
        & only(~returns | (state.bar + 1 < state.after_hidden), CHORD),
        "hidden bars are said of the next track that has them": only(
            column(state.last != UNK) | (value == column(of_track)), TRACK
        ),
        "a note in a hidden bar ends before the next one of its pitch begins": only(
            until[:, pitch] - column(now) >= SHORTEST, PITCH
        )
        & only(column(now) + value <= column(until_next), DURATION)
        & must((state.last == PITCH) & (lasts > until_next), DURATION),
    }


def allowed(state: State, xp: Any = np, any_order: Any = False) -> Any:
    """bool[B, 724]: what may come next."""
    rules = list(clauses(state, xp, any_order).values())
    result = rules[0]
    for rule in rules[1:]:
        result = result & rule
    return result


def _at(memory: Any, index: Any, xp: Any) -> Any:
    """memory[b, index[b]]; outside of it, where a later rule or the caller forbids it anyway, the nearest."""
    inside = xp.clip(index, 0, memory.shape[1] - 1)
    return xp.take_along_axis(memory, inside[:, None], axis=1)[:, 0]


def strikes_behind(state: State, xp: Any) -> Any:
    """int32[B, 128]: when each pitch is struck next behind the hidden bars that are being said."""
    return _of_hidden(state.strikes, state.said, xp)


def _of_hidden(memory: Any, number: Any, xp: Any) -> Any:
    """int32[B, 128] of memory [B, H, 128]: what it says of the track of this number int32[B], from 1."""
    index = xp.clip(number - 1, 0, MOST_HIDDEN - 1)
    return xp.take_along_axis(memory, index[:, None, None], axis=1)[:, 0]


def _put(memory: Any, where: Any, index: Any, value: Any, xp: Any) -> Any:
    """memory with [b, index[b]] = value[b] in the rows `where`."""
    here = where[:, None] & (xp.arange(memory.shape[1]) == index[:, None])
    return xp.where(here, value[:, None], memory)


# ---------------------------------------------------------------- whole songs


def errors(songs: list[np.ndarray]) -> list[str | None]:
    """Of each song the first place and rule at which it is not grammatical, or None. A song may end anywhere: any
    prefix of one is fine.
    """
    longest = max(map(len, songs))
    rows = np.zeros((len(songs), longest), np.int32)
    for row, song in zip(rows, songs, strict=True):
        row[: len(song)] = song
    lengths = np.array([len(song) for song in songs])
    chords = (CLASS[rows] == CHORD).sum(axis=1)
    state = begin(len(songs), max(1, int(chords.max())))
    found: list[str | None] = [None] * len(songs)
    for index in range(longest):
        token = rows[:, index]
        legal = allowed(state)[np.arange(len(songs)), token]
        for row in np.flatnonzero(~legal & (index < lengths)):
            found[row] = found[row] or _explain(state, int(row), rows[row], index)
        state = push(state, token)
    return found


def _explain(state: State, row: int, ids: np.ndarray, index: int) -> str:
    token = int(ids[index])
    (reason, *_) = (reason for reason, rule in clauses(state).items() if not rule[row, token])
    after = f" after {vocab.NAMES[ids[index - 1]]}" if index else ""
    where = (
        f", bar {int(state.measure[row]) + 1} of track {int(state.tracks[row])}"
        if state.tracks[row] and state.bar[row] >= 0
        else ""
    )
    return f"token {index}, {vocab.NAMES[token]}{after}{where}: {reason}"


def check(ids: np.ndarray) -> None:
    """Raises UngrammaticalTokens where the tokens are no beginning of a song."""
    (error,) = errors([np.asarray(ids)])
    if error:
        raise UngrammaticalTokens(error)
