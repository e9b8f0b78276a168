"""Following the plan of a song, step by step and many songs at once, in numpy or in jax:
what may come next. The sampler's loop calls `choices` before each token and `advance` after it.

Whatever is asked, a song that runs out of room is brought to an end in time; so is a track that has used its share of
it, and the script goes on. The grammar says what makes a song, this what the plan wants of it.
"""

from typing import Any, NamedTuple

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import N_PARTS
from tokenizer.grid.song import HID_RANK
from tokenizer.tokens import grammar, held
from tokenizer.tokens.grammar import CHORD, CLASS, ENDS, PITCH, POSITION, SIGNATURE, TRACK, VALUE
from tokenizer.tokens.plan import NOTE_AND_END, SLACK_SPANS, SLACK_TOKENS, Plan
from tokenizer.tokens.room import MOST_TRACKS
from tokenizer.tokens.scripts import FREE, NOTHING

IS_LONG = (CLASS == SIGNATURE) & (N_PARTS[np.where(CLASS == SIGNATURE, VALUE, 0)] > 1)  # of measures in two bars
LAST_TRACK = vocab.track_token(max(HID_RANK, key=HID_RANK.__getitem__))  # may stand wherever any track may


class Choice(NamedTuple):
    """What may come next, in each of B songs."""

    forced: Any  # int32[B] the token of the script, or the meter of a bar; FREE where the model writes
    allowed: Any  # bool[B, 724] where it writes
    closing: Any  # bool[B] only what leads to an end is allowed, for want of room
    withheld: Any  # bool[B] another track or bar would be allowed, if there were room


def choices(plan: Plan, place: Any, state: grammar.State, length: Any, spans: Any, xp: Any = np) -> Choice:
    """place: int32[B], next in the script. length, spans: int32[B], tokens and bar spans so far."""
    ending = plan.script[place + 1]  # what the script says once the track has ended
    legal = grammar.allowed(state, xp, plan.any_order)
    if plan.held is not None:
        legal = legal & held.allowed(plan, state, xp)
    left = _left(plan, place, state, length, spans, xp)
    ends = _ends(plan, ending, state, legal, left, xp)
    goes_on = _goes_on(plan, state, legal, spans, left, ends, xp)
    shortest = _shortest(ends, goes_on, ending, state, left, xp)
    allowed = xp.where(_column(left.closing), shortest, goes_on | ends)

    first, chosen_freely = state.tracks == 1, ending == NOTHING
    no_track = chosen_freely & (state.tracks > 0) & ~left.for_a_track & (legal & _of(xp, TRACK)).any(axis=1)
    no_bar = first & (state.bars >= plan.max_bars) & (_next_measure(state, xp) < plan.max_measures)
    meter = _meter(plan, state, xp)
    is_due = (meter >= 0) & (meter != state.signature) & (state.last == CHORD)
    forced = xp.where(is_due, xp.asarray(vocab.TOKEN[SIGNATURE])[meter], plan.script[place])
    return Choice(forced, allowed, left.closing, no_track | no_bar)


def cuts_short(choice: Choice, token: Any, xp: Any = np) -> Any:
    """bool[B]: whether the token int32[B], written under that choice, goes towards an end for want of room, where a
    model might have gone on.
    """
    is_end = _of(xp, *ENDS)[token]
    return (choice.forced == FREE) & (choice.closing | (choice.withheld & is_end))


def advance(plan: Plan, place: Any, token: Any, xp: Any = np) -> Any:
    """The place after a token: a free place is left by an end of a track, where the script says what comes then."""
    free = plan.script[place] == FREE
    ended = _of(xp, *ENDS)[token]
    leaves = free & ended & (plan.script[place + 1] != NOTHING)
    return place + xp.where(free, xp.where(leaves, 2, 0), 1)


class Left(NamedTuple):
    """What room is left, in each of B songs."""

    bars_to_go: Any  # int32[B] bars that the current track must still begin
    closing: Any  # bool[B] it is time for the shortest ending
    for_a_track: Any  # bool[B] there is room for another track that nobody asked for
    for_long: Any  # bool[B] there is room for measures of two bars from here on
    whole: Any  # bool[] the song ends with a whole measure


def _left(plan: Plan, place: Any, state: grammar.State, length: Any, spans: Any, xp: Any) -> Left:
    before_first, first = state.tracks == 0, state.tracks == 1
    after = place + 1
    scripted, returns = plan.script[after] != NOTHING, state.said > 0  # to the hidden bars
    owed = held.owed(plan, after, state, xp)

    # Tracks of a script go on to the song's last bar; else one must that has a note there
    last_bar_is_empty = xp.where(first, ~state.in_bar, ~state.filled) & ~before_first
    goes_to_last_bar = scripted | last_bar_is_empty | owed.to_last_bar
    of_first_track, if_long = _measures_to_go(plan, state, owed.whole, xp)
    of_later_track = xp.where(goes_to_last_bar, state.bars - 1 - state.bar, 0)
    of_hidden_bars = state.after_hidden - 1 - state.bar
    bars_to_go = xp.where(before_first | first, of_first_track, xp.where(returns, of_hidden_bars, of_later_track))
    song_bars = state.bars + xp.where(before_first | first, of_first_track, 0)
    tracks_to_come = plan.rest_tracks[after]
    of_each = xp.where(returns, state.after_hidden - state.first_hidden, song_bars - plan.behind)
    all_bars_to_go = bars_to_go + tracks_to_come * of_each

    # Where meters alternate, each bar of the first track may say one, the current too
    meters_to_go = xp.where(first & (plan.signatures[-1] >= 0), bars_to_go + 1, 0)

    # Strikes that are due, in the bars to go, the current one and those of tracks to come
    strikes_to_go = (bars_to_go + 1) * owed.per_bar + owed.per_note
    strikes_to_come = of_each * owed.per_bar_later + tracks_to_come * owed.per_note

    # What is left when the shortest ending is written: of the song, and of this track's share
    of_song = plan.max_tokens - length - plan.rest_tokens[after] - all_bars_to_go - strikes_to_come
    of_share = plan.due[place] - length - bars_to_go
    tokens = xp.minimum(of_song, of_share) - strikes_to_go - meters_to_go - NOTE_AND_END
    left_spans = plan.max_spans - spans - plan.rest_spans[after] - all_bars_to_go

    # Of a bar more, or of a measure, and of the same in each track to come
    bars_more = 1 + owed.whole
    tokens_of_bar = owed.per_bar + owed.per_bar_later
    tokens_kept = SLACK_TOKENS + bars_more * (tracks_to_come + tokens_of_bar)
    spans_kept = SLACK_SPANS + bars_more * tracks_to_come
    closing = (tokens <= tokens_kept) | (left_spans <= spans_kept)

    # Bars of a track that must reach the last one
    further = xp.where(last_bar_is_empty | (owed.of_any_track > 0), state.bars, 0)
    strikes = (state.bars + 1) * owed.of_any_track + owed.per_note
    enough_tokens = tokens > further + strikes + NOTE_AND_END + SLACK_TOKENS
    enough_spans = left_spans > further + SLACK_SPANS

    # Longer measures take more bars of this track and of those to come
    more = if_long - of_first_track
    has_bars = state.bars + if_long <= plan.max_bars
    has_room = (tokens - more * (1 + tracks_to_come + tokens_of_bar) > tokens_kept) & (
        left_spans - more * (1 + tracks_to_come) > spans_kept
    )
    for_long = (more == 0) | (has_bars & has_room)
    return Left(bars_to_go, closing, enough_tokens & enough_spans & ~closing, for_long, owed.whole)


def _measures_to_go(plan: Plan, state: grammar.State, whole: Any, xp: Any) -> tuple[Any, Any]:
    """int32[B] each: bars that the first track must still begin until its last due measure has begun, or with all of
    it where the song is to end whole, in the meter in force or in those that alternate; and if the measures from the
    current one on had two.
    """
    measures = plan.min_measures - 1 - state.measure
    is_said = (state.tracks > 0) | (state.last == grammar.HEADER)
    parts = xp.where(is_said, xp.asarray(N_PARTS)[state.signature], plan.parts)

    def bars(parts: Any) -> Any:
        of_this_measure = xp.where(state.measure >= 0, parts - 1 - state.part, 0)
        begun = xp.where(measures > 0, of_this_measure + parts * (measures - 1) + 1, 0)
        return xp.where(whole, of_this_measure + parts * xp.maximum(measures, 0), begun)

    in_force = xp.where(plan.min_bars > 0, xp.maximum(plan.min_bars - state.bars, 0), bars(parts))
    return in_force, xp.maximum(in_force, bars(2))


def _next_measure(state: grammar.State, xp: Any) -> Any:
    """int32[B]: number of the measure of the track's next bar, from 0."""
    goes_on = (state.bar >= 0) & (state.part + 1 < xp.asarray(N_PARTS)[state.signature])
    return state.measure + ~goes_on


def _ends(plan: Plan, ending: Any, state: grammar.State, legal: Any, left: Left, xp: Any) -> Any:
    """bool[B, 724]: what may end the track: the script's next token, or any track for which there is room."""
    first, scripted, token = state.tracks == 1, ending != NOTHING, xp.arange(vocab.SIZE)
    in_last_bar = state.bar == state.bars - 1
    returns = state.said > 0  # hidden bars are all said, as the grammar has it
    long_enough = xp.where(first, state.measure + 1 >= plan.min_measures, ~scripted | in_last_bar | returns)

    # A given track need not stand in HID order: it may come where any may
    may_end = xp.where(ending == vocab.EOS, legal[:, vocab.EOS], legal[:, LAST_TRACK])
    may_end = xp.where(ending == vocab.UNK, legal[:, vocab.UNK], may_end)
    next_in_script = _column(may_end) & (token == _column(ending))

    has_begun = _column(state.tracks > 0)
    has_room = _column((state.tracks == 0) | left.for_a_track & (state.tracks < MOST_TRACKS))
    any_one = legal & xp.where(token == vocab.EOS, has_begun, has_room)

    ends = xp.where(_column(scripted), next_in_script, any_one)
    return ends & _of(xp, *ENDS) & _column(long_enough)


def _goes_on(plan: Plan, state: grammar.State, legal: Any, spans: Any, left: Left, ends: Any, xp: Any) -> Any:
    """bool[B, 724]: what may come within the track."""
    first, measure = state.tracks == 1, _next_measure(state, xp)
    parts = xp.where(left.whole & (measure > state.measure), xp.asarray(N_PARTS)[state.signature], 1)
    has_bar_left = ~first | ((state.bars + parts <= plan.max_bars) & (measure < plan.max_measures))
    asked = plan.chords[xp.minimum(measure, plan.chords.shape[0] - 1)]
    is_asked = ~_column(first) | (_column(asked) < 0) | (xp.asarray(VALUE) == _column(asked))
    chord = _column(has_bar_left & (spans < plan.max_spans)) & is_asked

    in_given_bar = (state.bar >= 0) & (state.bar < plan.behind)  # the last of them, before its track goes on
    meter_is_asked = _column(_meter(plan, state, xp) >= 0)  # `choices` forces it where it is another
    is_free = plan.free & ~_of(xp, *ENDS) & ~(_of(xp, SIGNATURE) & meter_is_asked)
    other = is_free & (_column(left.for_long) | ~xp.asarray(IS_LONG)) & _column(~in_given_bar)

    goes_on = legal & xp.where(_of(xp, CHORD), chord, other)

    # One pitch stays silent, so that a bar can have a note that it must have; before its first position, at its start
    silent = xp.sum(state.ends <= _column(state.start + xp.maximum(state.step, 0)), axis=1)
    kept = goes_on & ~(_of(xp, POSITION, PITCH) & _column(silent <= 1))
    return xp.where((kept | ends).any(axis=1, keepdims=True), kept, goes_on)


def _meter(plan: Plan, state: grammar.State, xp: Any) -> Any:
    """int32[B]: the meter that the current bar of the first track must have, -1 any."""
    bar = xp.clip(state.bar, 0, plan.signatures.shape[0] - 1)
    return xp.where((state.tracks == 1) & (state.bar >= 0), plan.signatures[bar], -1)


def _shortest(ends: Any, goes_on: Any, ending: Any, state: grammar.State, left: Left, xp: Any) -> Any:
    """bool[B, 724]: the first of these that there is: an end, the next bar that is due, a note, anything."""
    first, scripted = state.tracks == 1, ending != NOTHING
    is_end = (xp.arange(vocab.SIZE) == vocab.EOS) | _column(scripted)  # no further track that nobody asked for
    end = ends & is_end & _column(~first | state.in_bar)
    bar = goes_on & _of(xp, CHORD) & _column(left.bars_to_go > 0)
    note = goes_on & _of(xp, POSITION)
    result = goes_on | ends
    for better in (note, bar, end):
        result = xp.where(better.any(axis=1, keepdims=True), better, result)
    return result


def _column(values: Any) -> Any:
    return values[:, None]


def _of(xp: Any, *kinds: int) -> Any:
    """bool[724]: tokens of these kinds."""
    return xp.asarray(grammar.of(*kinds))
