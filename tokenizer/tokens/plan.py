"""The plan of a song: what is given and what is asked, as one script of tokens and free places.
The sampler makes one of what the user wants and writes along it (tokenizer/tokens/follow.py).

    a new song                BOS FREE
    --instruments drums,bass  BOS FREE #D SEP FREE #P33 SEP FREE EOS
    --continue                BOS BPM TS #D SEP <kept bars> FREE #P33 SEP <kept bars> FREE EOS
    --accompany --add bass    BOS BPM TS #P0 SEP <all bars> #P33 SEP FREE EOS
    --fill bass:9-16          BOS BPM TS #P33 SEP <all bars, these as MASK> ... UNK #P33 SEP FREE EOS

At FREE the model writes. A free place ends where the model ends a track: it decides when, the script which token that
is. The given tracks of an accompaniment stand first, so that the new ones can follow them, to the last bar; the score
puts its tracks back into HID order.

A song has room for so many tokens, bar spans and bars. Of a given song that goes on and is too long for it the model
sees the last bars alone (tokenizer/tokens/whole.py puts the others back); the user's numbers of bars still count from
the beginning of the user's song. Where a given song gets other tracks or bars, a plan is of a part of it
(tokenizer/tokens/parts.py). Free places share what the script leaves of the tokens, each by what its instrument usually
takes.

What people call a bar is a measure here; a bar is a part of one where that is long, and takes a span and one of the
model's bars. A song may end with any part of its last measure.

New measures after given ones whose meters alternate, such as 4/4 3/8 4/4 3/8, alternate on.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from configs import Constraints, InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import N_PARTS
from tokenizer.tokens import grammar, names, room, scripts, wishes
from tokenizer.tokens.given import Given, chord_pattern, window
from tokenizer.tokens.grammar import CHORD, CLASS, SIGNATURE, TRACK, VALUE
from tokenizer.tokens.meters import Meters, to_come
from tokenizer.tokens.scripts import FREE, NOTHING

FREE_TOKENS, FREE_SPANS = 8, 2  # room that the shortest track of a free place takes: a bar with one note
HEADER_TOKENS = 2  # tempo and signature, where they are free too
NOTE_AND_END = 6  # chord, position, pitch, duration, velocity, and the end
SLACK_TOKENS, SLACK_SPANS = 8, 2  # how early an ending begins
# Of the song's tokens and bars, what a given song may take where its usual continuation does not fit beside all of it
GIVEN_SHARE = 0.75
SCRIPT_MULTIPLE = 2048  # scripts are filled up to this, so that few programs are compiled
UNLIMITED = np.iinfo(np.int32).max
# No song holds these after its start.
NEVER = np.isin(np.arange(vocab.SIZE), (vocab.PAD, vocab.BOS, vocab.MASK, vocab.UNK))


class Plan(NamedTuple):
    """S script places, W bars."""

    script: Any  # int32[S] tokens, FREE, and NOTHING after its end
    rest_tokens: Any  # int32[S] that the script still takes at least, from each place on
    rest_spans: Any  # int32[S]
    rest_tracks: Any  # int32[S] free places from each place on
    due: Any  # int32[S] tokens of the song after which a track at this free place takes what is meant for later ones
    chords: Any  # int32[W] number of the chord asked for in each measure, -1 any
    signatures: Any  # int32[W] number of the meter that each new bar must have, -1 any
    free: Any  # bool[724] that may be written at FREE
    min_measures: Any  # int32[] of the first track
    max_measures: Any  # int32[]
    min_bars: Any  # int32[] with which min_measures have begun, where meters alternate; else 0
    max_bars: Any  # int32[] of the first track
    parts: Any  # int32[] bars of a measure, before a meter is said
    behind: Any  # int32[] bars that the tracks have before their free places
    max_tokens: Any  # int32[] of the song
    max_spans: Any  # int32[]
    any_order: Any  # bool[] tracks that nobody asked for need not come in HID order
    held: wishes.Held | None  # what must hold in the notes, None where nothing is asked of them


class Planned(NamedTuple):
    """A plan and what the user should know of it. left_out: the given song's first bars, which the model does not see.
    notices: of what becomes something else than was asked.
    """

    plan: Plan
    left_out: int
    notices: list[str]


class Room(NamedTuple):
    """What songs take or may take."""

    tokens: int
    spans: int  # of bars, all tracks together

    def fits(self, limits: "Room") -> bool:
        return self.tokens <= limits.tokens and self.spans <= limits.spans


def prefix(plan: Plan) -> np.ndarray:
    """int32[]: the given tokens before the first free place."""
    return plan.script[: int(np.argmax(plan.script == FREE))]


def usual_room(given: Given | None, wanted: Constraints) -> Room:
    """What is asked usually takes so much, the given song as a whole included. Raises InputError."""
    meters = to_come(given, wanted)
    if given is None:
        measures = wanted.bars or (room.NEW_BARS if wanted.instruments else 0)
        return _usual(scripts.new(wanted), meters.bars(measures), wanted, meters)
    if given.hidden:
        return _usual(scripts.filled(given), given.hidden.stop - given.hidden.first, wanted, meters)
    if wanted.add:
        return _usual(scripts.accompanied(given, names.programs(wanted.add, "--add")), len(given), wanted, meters)
    return _usual(scripts.continued(given), _bars_to_write(given, wanted, meters), wanted, meters)


def make_plan(
    given: Given | None,
    wanted: Constraints,
    max_tokens: int,
    max_spans: int,
    max_bars: int,
    vocab_size: int,
    any_order: bool = False,
) -> Planned:
    """Of a new song, or of one that goes on, for a model that has room for so much, and so many of the tokens.
    any_order: it has seen tracks in other orders than HID's, so its own songs come in them too; what must hold in the
    notes leans on that order. Raises InputError where what is wanted cannot be.
    """
    limits, notices = Room(max_tokens, max_spans), names.notices(wanted)
    free, meters = _free_tokens(wanted, vocab_size), to_come(given, wanted)
    if given is None:
        most = meters.measures(max_bars)
        if wanted.bars > most:
            raise InputError(f"--bars {wanted.bars}: this model has room for {most}{meters}")
        script, due = scripts.new(wanted), _due_bars(meters, max(wanted.bars, 1), wanted)
        known = meters.signatures if wanted.meter else np.zeros(0, np.int32)
        writes = Writes(0, 0, due, _asked_chords(wanted, 0, max_bars), known)
        plan = _with_limits(script, wanted, None, writes, meters, limits, max_bars, free)
        if not wanted.bars:  # as many as there usually is room for in all tracks, not in the first one alone
            usual = max(limits.tokens // round(sum(_tokens_per_bar(script))), room.FEWEST_BARS)
            plan = plan._replace(max_bars=np.int32(min(usual, max_bars)))
        plan = plan._replace(any_order=np.bool_(any_order and plan.held is None))
        return Planned(plan, 0, notices)
    most_given_bars = _most_given_bars(given, wanted, meters, max_bars)
    fitting = _fitting(given, wanted, meters, limits, most_given_bars)
    left_out = given.measures - fitting.measures
    of_fitting = replace(wanted, bars=wanted.bars - left_out) if wanted.bars else wanted
    due = _due_bars(meters, max(of_fitting.bars - fitting.measures, 1), wanted)
    chords = _asked_chords(wanted, fitting.measures, max_bars)
    writes = Writes(len(fitting), fitting.measures, due, chords, meters.signatures)
    plan = _with_limits(scripts.continued(fitting), of_fitting, fitting, writes, meters, limits, max_bars, free)
    if left_out:
        too_many_bars = given.begins[left_out - 1] < len(given) - most_given_bars
        of_bars = f"this model has room for {meters.measures(max_bars)} bars{meters}"
        limit = of_bars if too_many_bars else f"--max-length {max_tokens}"
        notices.append(_left_out(left_out, given.measures, wanted, limit))
    return Planned(plan, len(given) - len(fitting), notices)


class Writes(NamedTuple):
    """What the free places of a script get. behind, measures: bars and measures that their tracks have before them.
    bars: that each gets at least. chords: as Plan has them. signatures: int32[M] of the measures that are known.
    """

    behind: int
    measures: int
    bars: int
    chords: np.ndarray
    signatures: np.ndarray


def part_plan(
    script: list[int], writes: Writes, given: Given, wanted: Constraints, limits: Room, max_bars: int, size: int
) -> Plan:
    """Of a part of a given song, by its script. size: of the model's vocabulary. Raises InputError where there is no
    room.
    """
    free, meters = _free_tokens(wanted, size), to_come(given, wanted)
    wanted = replace(wanted, bars=0)
    return _with_limits(script, wanted, None, writes, meters, limits, max_bars, free, places=limits.tokens)


def _due_bars(meters: Meters, measures: int, wanted: Constraints) -> int:
    """With which so many measures have begun, or ended where a song must not end with the first bar of one."""
    return meters.bars(measures + 1) - 1 if wishes.of(wanted).whole else meters.bars(measures)


def _asked_chords(wanted: Constraints, first: int, measures: int) -> np.ndarray:
    """int32[measures]: those asked for from a measure on, -1 before it or where none are."""
    chords = np.full(measures, -1, np.int32)
    if wanted.chords:
        chords[first:] = chord_pattern(wanted, measures - first)
    return chords


def _left_out(left_out: int, bars: int, wanted: Constraints, limit: str) -> str:
    """The notice that the model does not see a given song's first bars. Raises InputError where the user wants none of
    that.
    """
    seen = bars - left_out
    if wanted.strict:
        ways = ["raise --max-length"] * limit.startswith("--max-length") + ["lower --keep-bars"]
        raise InputError(
            f"the given song is too long: the model would see only the last {seen} of {bars} bars ({limit}); "
            f"{' or '.join(ways)}"
        )
    return f"the model saw the last {seen} of {bars} bars ({limit}); the file holds all of them"


# ---------------------------------------------------------------- what of a given song there is room for


def _most_given_bars(given: Given, wanted: Constraints, meters: Meters, max_bars: int) -> int:
    """Of a given song, those for which the model has room. Raises InputError where --bars cannot be."""
    if not wanted.bars:
        return int(max_bars * GIVEN_SHARE)
    more = wanted.bars - given.measures
    if more <= 0:
        raise InputError(f"--bars {wanted.bars}: the given song takes {given.measures} and one is to be added")
    if meters.bars(more) >= max_bars:
        raise InputError(
            f"--bars {wanted.bars}: {more} more than the given song has; this model has room for "
            f"{meters.measures(max_bars)}{meters} in all"
        )
    return max_bars - meters.bars(more)


def _bars_to_write(given: Given, wanted: Constraints, meters: Meters) -> int:
    """That each track of a song that goes on usually gets."""
    return meters.bars(max(wanted.bars - given.measures, 1) if wanted.bars else room.NEW_BARS)


def _fitting(given: Given, wanted: Constraints, meters: Meters, limits: Room, most_bars: int) -> Given:
    """The given song, or its last measures that fit."""
    share = Room(int(limits.tokens * GIVEN_SHARE), int(limits.spans * GIVEN_SHARE))
    end = lambda left_out: window(given, left_out, given.measures - left_out) if left_out else given
    asked = meters.bars(max(wanted.bars - given.measures, 1))

    def fits(left_out: int) -> bool:
        if len(given) - int(given.begins[left_out]) > most_bars:
            return False
        script = scripts.continued(end(left_out))
        usual = _usual(script, _bars_to_write(given, wanted, meters), wanted, meters)
        return (_taken(script).fits(share) or usual.fits(limits)) and _least(script, asked, wanted, meters).fits(limits)

    if fits(0):
        return given
    # The fewest first measures to leave out, and the most, after which a note is left
    last = max(int(track.notes["bar"][-1]) for track in given.song.tracks)
    low, high = 0, int(given.song.bars.measure[last])
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    if not fits(high):
        raise InputError("not even the last bar of the given song fits; raise --max-length")
    return end(high)


# ---------------------------------------------------------------- what scripts take


def _taken(script: list[int]) -> Room:
    """What the given tokens take."""
    places = np.array(script)
    return Room(int(np.sum(places >= 0)), int(np.sum(_is_chord(places))))


def _is_chord(places: np.ndarray) -> np.ndarray:
    return (places >= 0) & (CLASS[places] == CHORD)


def _least(script: list[int], bars: int, wanted: Constraints, meters: Meters) -> Room:
    """What a song takes at least whose free places get so many bars each."""
    taken, free, asked = _taken(script), script.count(FREE), wishes.of(wanted)
    held = (bars + 2) * sum(asked.tokens_of(script)) + (free + 1) * asked.tokens_per_note
    said = bars + 1 if meters.alternate else 0  # tokens of the first track, one for each bar
    return Room(
        taken.tokens + free * (bars + 1 + asked.whole + FREE_TOKENS) + said + held + NOTE_AND_END + SLACK_TOKENS,
        taken.spans + free * (bars + 1 + asked.whole + FREE_SPANS) + SLACK_SPANS,
    )


def _usual(script: list[int], bars: int, wanted: Constraints, meters: Meters) -> Room:
    """What a song usually takes whose free places get so many bars each."""
    least = _least(script, bars, wanted, meters)
    return Room(least.tokens + bars * round(sum(_tokens_per_bar(script))), least.spans)


def _tokens_per_bar(script: list[int]) -> list[float]:
    """What each free place usually takes: what its instrument does, or the track itself before it goes on. 0: the
    header.
    """
    found, usual, tokens, bars = [], 0, 0, 0
    if vocab.SEP not in script:
        return [room.SONG_TOKENS_PER_BAR]  # the model chooses the tracks
    for token in script:
        if token == FREE:
            found.append(max(usual, tokens / max(bars, 1)) if usual else 0)
        elif CLASS[token] == TRACK:
            usual, tokens, bars = room.tokens_per_bar(int(VALUE[token])), 0, 0
        elif token != vocab.SEP:
            tokens, bars = tokens + 1, bars + (CLASS[token] == CHORD)
    return found


def _with_limits(
    script: list[int],
    wanted: Constraints,
    given: Given | None,
    writes: Writes,
    meters: Meters,
    limits: Room,
    max_bars: int,
    free: np.ndarray,
    places: int = 0,
) -> Plan:
    """given: what of a song goes on. From the start of what is behind the free places wanted.bars counts. places: of
    the script, which is filled up to as many at least.
    """
    min_measures = max(wanted.bars, writes.measures + 1)
    if writes.behind + writes.bars > max_bars:
        raise InputError(
            f"--bars {min_measures}: this model has room for {max_bars} bars, and they take "
            f"{writes.behind + writes.bars}"
        )
    size = -(-max(len(script) + 2, places) // SCRIPT_MULTIPLE) * SCRIPT_MULTIPLE
    filled_up = np.full(size, NOTHING, np.int32)
    filled_up[: len(script)] = script
    signatures = np.full(max_bars, -1, np.int32)
    if meters.alternate:
        signatures[writes.behind :] = np.resize(meters.signatures, max_bars - writes.behind)
    held, free = wishes.hold(script, size, wanted, given, writes.chords, writes.signatures, free)
    least = _least(script, writes.bars, wanted, meters)
    if not least.fits(limits):
        needed = max(least.tokens, least.spans * limits.tokens // limits.spans)
        raise InputError(f"what is asked takes at least {needed} tokens; raise --max-length")
    return Plan(
        script=filled_up,
        rest_tokens=_from_each_on(np.where(filled_up == FREE, FREE_TOKENS, filled_up >= 0)),
        rest_spans=_from_each_on(np.where(filled_up == FREE, FREE_SPANS, _is_chord(filled_up))),
        rest_tracks=_from_each_on(filled_up == FREE),
        due=_due(filled_up, np.maximum(_tokens_per_bar(script), wishes.of(wanted).tokens_of(script)), limits.tokens),
        chords=writes.chords,
        signatures=signatures,
        free=free,
        min_measures=np.int32(min_measures),
        max_measures=np.int32(wanted.bars or UNLIMITED),
        min_bars=np.int32(writes.behind + writes.bars if meters.alternate else 0),
        max_bars=np.int32(max_bars),
        parts=np.int32(N_PARTS[meters.signatures[0]]),
        behind=np.int32(writes.behind),
        max_tokens=np.int32(limits.tokens),
        max_spans=np.int32(limits.spans),
        any_order=np.bool_(False),
        held=held,
    )


def _from_each_on(values: np.ndarray) -> np.ndarray:
    """int32[S]: the sum of the values from each place on."""
    return np.cumsum(values[::-1])[::-1].astype(np.int32)


def _due(places: np.ndarray, tokens_per_bar: np.ndarray, max_tokens: int) -> np.ndarray:
    """int32[S]: the tokens that a song may have where a free place ends, so that those after it have their shares,
    weighted by tokens_per_bar[free places]. What one leaves, the next may take.
    """
    free, given = places == FREE, places >= 0
    shared = max_tokens - int(given.sum()) - (HEADER_TOKENS if free[1] else 0)
    weights = np.zeros(len(places))
    weights[free] = tokens_per_bar
    shares = np.floor(shared * weights / weights.sum()).astype(np.int32)
    for_later = _from_each_on(shares + given) - (shares + given)
    return np.where(shares > 0, max_tokens - for_later, max_tokens).astype(np.int32)


def _free_tokens(wanted: Constraints, vocab_size: int) -> np.ndarray:
    """bool[724]"""
    free = ~NEVER & vocab.offered(vocab_size)
    if wanted.tempo:
        free &= (CLASS != grammar.TEMPO) | (VALUE == vocab.tempo_bin(wanted.tempo))
    if wanted.meter:
        free &= (CLASS != SIGNATURE) | (VALUE == names.meter(wanted.meter, "--meter"))
    return free
