"""What must hold in the notes that a model writes, whatever its weights: the key, pitches, strikes a bar, notes at once
and chords that a user asks for, as clauses beside those of the grammar, many songs at once, in numpy or in jax.

Nothing is offered after which what is asked could not be kept any more (tokenizer/tokens/wishes.py says how that is
known): a position where too few pitches may be struck; a pitch above which too few are left; a length that takes the
room of strikes still due; the end of a bar or a track that lacks some. Given bars are as they are: what is counted, is
counted of new ones, but a given note that rings into them sounds there.
"""

from typing import Any, NamedTuple

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.meter import N_PARTS
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import HID_RANK
from tokenizer.music.score import DRUMS, Score
from tokenizer.tokens import grammar
from tokenizer.tokens.grammar import CHORD, CLASS, DURATION, ENDS, LENGTH, PITCH, POSITION, TRACK, VALUE, VELOCITY
from tokenizer.tokens.plan import Plan
from tokenizer.tokens.scripts import NOTHING
from tokenizer.tokens.wishes import CHORD_TONES, LEADING, PITCH_CLASS, ROOT, Held

PROGRAM = np.array(sorted(HID_RANK, key=HID_RANK.__getitem__), np.int32)  # by HID rank
PLACES = np.flatnonzero(vocab.TOKEN[POSITION] >= 0).astype(np.int32)  # P = 48 positions of a bar, in fine steps
IS_SIXTEENTH = PLACES % vocab.SIXTEENTH == 0
PLACE = np.searchsorted(PLACES, np.where(CLASS == POSITION, VALUE, 0))  # int[724] of a position token
AT = np.searchsorted(PLACES, np.arange(PLACES[-1] + 1), side="right") - 1  # the place of a fine step
PITCHES = np.arange(vocab.N_PITCHES)
PITCH_OF = np.where(CLASS == PITCH, VALUE, 0)
BEAT = np.array(  # fine steps of a beat, by signature
    [
        36 if denominator == 8 and numerator in (6, 9, 12) else vocab.QUARTER
        for numerator, denominator in vocab.SIGNATURES
    ]
)
FAR = 1 << 30  # a time that no note reaches


def allowed(plan: Plan, state: grammar.State, xp: Any = np) -> Any:
    """bool[B, 724]: what may come next, as far as plan.held goes."""
    rules = list(clauses(plan, state, xp).values())
    result = rules[0]
    for rule in rules[1:]:
        result = result & rule
    return result


def clauses(plan: Plan, state: grammar.State, xp: Any = np) -> dict[str, Any]:
    """What each rule allows next, bool[B, 724], under the sentence that says it."""
    held, value = plan.held, xp.asarray(VALUE)
    track = _track(plan, state, xp)
    room = _room(held, state, track, xp)
    offered = _offered(state, track, room, xp)
    longest = _longest(held, state, track, room, xp)
    chord = _chord(held, state, track, offered, xp)
    given = xp.where(state.said > 0, state.first_hidden, plan.behind)  # bars before
    is_new = (state.tracks > 0) & (state.bar >= given)

    def only(condition: Any, *kinds: int) -> Any:  # tokens of these kinds only under a condition [B, 724] or [B]
        return ~xp.asarray(grammar.of(*kinds)) | (_column(condition) if condition.ndim == 1 else condition)

    now = state.start + state.step
    said = (state.last == PITCH) & (state.duration >= 0)
    is_wrong = said & ((now + state.duration > longest) | (now + state.duration < chord.until))
    goes_along = chord.is_written & (state.here > 1)  # with the chord's first note
    due = track.fewest_strikes - state.struck
    fits_rest_of_measure = -(-xp.maximum(due, 0) // track.worth) <= room.next_part
    enough_struck = ~is_new | (due <= 0)
    is_last_part = state.part + 1 >= xp.asarray(N_PARTS)[state.signature]
    in_last_bar = xp.where(state.tracks == 1, is_last_part | ~held.whole, state.bar == state.bars - 1)
    goes_on = is_new & (state.said == 0) & ((track.fewest_strikes > 0) | (state.tracks == 1))
    enough_sound = (state.last == POSITION) | (state.pitch < 0) | (room.here_sounding >= track.fewest_notes)
    return {
        "a chord label has the tones of the key": only(
            _column(state.tracks != 1) | held.chords[xp.where(value < vocab.N_CHORDS, value, 0)], CHORD
        ),
        "of such a track nothing that is asked could hold": only(
            held.tracks[np.where(CLASS == TRACK, VALUE, 0)][None], TRACK
        ),
        "strikes are due, and pitches may sound, at a position": only(
            (offered.places & chord.places)[:, PLACE], POSITION
        ),
        "a pitch is one of those that may be struck": only((offered.pitches & chord.pitches)[:, PITCH_OF], PITCH),
        "a note ends before it takes what others need": only(_column(now) + value <= _column(longest), DURATION),
        "a length in force that is too long is said anew": ~_column(is_wrong) | xp.asarray(grammar.of(DURATION)),
        "a chord lasts for its bar, or two beats": only(_column(now) + value >= _column(chord.until), DURATION),
        "the notes of a chord are as long": only(~goes_along | is_wrong, DURATION),
        "the notes of a chord are as loud": only(~goes_along, VELOCITY),
        "a bar begins with the whole chord": only(~chord.is_written | ~chord.lacks, POSITION, CHORD, *ENDS),
        "enough notes sound where one is struck": only(~is_new | enough_sound, POSITION, CHORD, *ENDS),
        "a bar has its fewest strikes": only(
            ~is_new | xp.where(room.next_part > 0, fits_rest_of_measure, due <= 0), CHORD
        ),
        "a track ends with its fewest strikes": only(enough_struck, *ENDS),
        "a track whose bars have fewest strikes goes to the last bar": only(~goes_on | in_last_bar, *ENDS),
    }


class Track(NamedTuple):
    """What is asked of the current track in its current bar, in each of B songs."""

    pitches: Any  # bool[B, 128] that may be struck at all
    tones: Any  # bool[B, 128] of the bar's chord; all where none is asked for
    roots: Any  # bool[B, 128] of which the first note is to be; all where that is not asked for
    fewest_strikes: Any  # int32[B]
    most_strikes: Any  # int32[B]
    fewest_notes: Any  # int32[B]
    most_notes: Any  # int32[B]
    worth: Any  # int32[B]
    may_ring: Any  # int32[B]
    is_wished: Any  # bool[B]
    ahead: Any  # int32[B, 128] fine steps after the measure through which a pitch may ring
    length: Any  # int32[B] of the bar, fine steps
    next_length: Any  # int32[B] of the measure's next bar; 0 where the song has none
    opens_with_chord: Any  # bool[B] its first notes in a bar are the whole chord


def _track(plan: Plan, state: grammar.State, xp: Any) -> Track:
    held: Held = plan.held
    row, program = _who(state, xp)
    measure = xp.clip(state.measure, 0, plan.chords.shape[0] - 1)
    is_pitched = program != DRUMS
    label = xp.where(is_pitched & held.tones_on_beats, xp.maximum(plan.chords[measure], 0), 0)
    tones = xp.asarray(CHORD_TONES)[label][:, PITCH_CLASS]
    root = xp.asarray(ROOT)[label]
    opens_with_chord = held.has_voices[program] & ((row == LEADING) | held.tones_always) & (label > 0)
    says_root = (state.pitched == 1) | opens_with_chord
    says_root = says_root & is_pitched & (label > 0) & ~state.in_bar
    # The root stays the bar's lowest note, where no number of notes is asked for that may need lower ones
    is_free = (held.fewest_strikes[0, program] == 0) & (held.fewest_notes[program] == 1)
    has_bottom = held.tones_always & is_free & is_pitched & (label > 0)
    is_above = ~_column(has_bottom) | (PITCHES >= _column(state.bottom))
    roots = ~_column(says_root) | (xp.asarray(PITCH_CLASS) == _column(root))
    ahead = held.tones_ahead[measure][:, PITCH_CLASS] * held.shortest_measure
    ahead = xp.where(_column(is_pitched & held.tones_on_beats), ahead, FAR // 2)
    length = xp.asarray(LENGTH)
    has_next = (state.part + 1 < xp.asarray(N_PARTS)[state.signature]) & (
        (state.tracks == 1) | (state.bar + 1 < state.bars)
    )
    next_length = xp.where(has_next, length[state.signature, 1], 0)
    most_strikes = held.most_strikes[program]
    return Track(
        held.pitches[program] & is_above,
        tones,
        roots,
        held.fewest_strikes[row, program],
        # A measure's second bar may be the song's last, which has a note
        most_strikes - xp.where(has_next, held.fewest_notes[program], 0),
        held.fewest_notes[program],
        held.most_notes[program],
        held.worth[program],
        held.may_ring[row, program],
        held.is_wished[program],
        ahead,
        length[state.signature, state.part],
        next_length,
        opens_with_chord,
    )


def _who(state: grammar.State, xp: Any) -> tuple[Any, Any]:
    """int32[B] each: of the current track the row, OTHER or LEADING, and the program."""
    program = xp.asarray(PROGRAM)[state.rank]
    is_bass = xp.isin(program, xp.asarray(grammar.BASSES))
    leads = (state.pitched == 1) | ((state.chordal == 1) & ~is_bass)
    return (leads & (program != DRUMS)).astype(np.int32), program


class Room(NamedTuple):
    """For strikes in the current bar. P places."""

    sounding: Any  # bool[B, P, 128]
    strikable: Any  # bool[B, P, 128] may be struck there, and do not sound
    worth: Any  # bool[B, P] sixteenths that count as worth their strikes
    after: Any  # int32[B, P] positions of the measure that count, after a note of the shortest length at each place
    inside: Any  # bool[B, P] a note of the shortest length ends within the bar
    next_part: Any  # int32[B] positions of the measure's next bar
    here: Any  # int32[B] the place of the last position
    here_sounding: Any  # int32[B] notes that sound there


def _room(held: Held, state: grammar.State, track: Track, xp: Any) -> Room:
    places = xp.asarray(PLACES)
    time = _column(state.start) + places
    sounding = state.ends[:, None, :] > time[:, :, None]
    pool = track.pitches[:, None, :] & (track.tones[:, None, :] | ~_keeps_to_chord(held, state, xp)[:, :, None])
    until = xp.where(_column(state.said > 0), grammar.strikes_behind(state, xp), grammar.NEVER)
    strikable = pool & ~sounding & (until[:, None, :] - time[:, :, None] >= held.shortest)
    inside = places + held.shortest <= _column(track.length)
    worth = inside & IS_SIXTEENTH & _is_worth(track, sounding.sum(axis=2), strikable.sum(axis=2))
    comes_after = places[:, None] >= places[None, :] + held.shortest
    next_part = track.next_length // vocab.SIXTEENTH
    after = worth.astype(np.int32) @ comes_after.astype(np.int32) + _column(next_part)
    here = xp.asarray(AT)[xp.maximum(state.step, 0)]
    here_sounding = (state.ends > _column(state.start + state.step)).sum(axis=1)
    return Room(sounding, strikable, worth, after, inside, next_part, here, here_sounding)


def _is_worth(track: Track, sounding: Any, strikable: Any) -> Any:
    """bool[B, P]: whether as many can be struck as a position counts for. sounding, strikable: int32[B, P] pitches."""
    return (strikable >= _column(track.worth)) & (sounding + _column(track.worth) <= _column(track.most_notes))


class Offered(NamedTuple):
    """What may be struck."""

    places: Any  # bool[B, P]
    higher: Any  # bool[B, 128] pitches at the current place above the last one
    pitches: Any  # bool[B, 128] those of them after which what is needed there is left


def _offered(state: grammar.State, track: Track, room: Room, xp: Any) -> Offered:
    column = _column

    def can_be(struck: Any, positions: Any, worth: Any, fewest: Any, due: Any, most: Any) -> Any:
        """Whether after so many strikes those that are due fit so many positions, and not too many need be struck."""
        needed = -(-xp.maximum(due - struck, 0) // worth)
        return (needed <= positions) & (struck + needed * fewest <= most) & (struck <= most)

    # At each place: strikes that are needed there, and pitches among which they may be made
    sounding = room.sounding.sum(axis=2)
    due = column(track.fewest_strikes - state.struck) - column(track.worth) * room.after
    needed = xp.maximum(xp.maximum(column(track.fewest_notes) - sounding, due), 1)
    first = room.strikable & track.roots[:, None, :]
    from_first_on = room.strikable & (PITCHES >= first.argmax(axis=2)[:, :, None])
    choice = xp.where(first.any(axis=2), from_first_on.sum(axis=2), 0)
    numbers = (track.worth, track.fewest_notes, track.fewest_strikes, track.most_strikes)
    places = (
        (room.inside | column(~track.is_wished))
        & (choice >= needed)
        & (sounding + needed <= column(track.most_notes))
        & can_be(column(state.struck) + needed, room.after, *map(column, numbers))
    )

    # At the current one: after a pitch, what is needed above it
    rows = xp.arange(len(room.here))
    higher = room.strikable[rows, room.here] & (PITCHES > column(state.pitch))
    above = xp.cumsum(higher[:, ::-1], axis=1)[:, ::-1] - higher
    after = room.after[rows, room.here]
    due = track.fewest_strikes - state.struck - track.worth * after
    more = xp.maximum(xp.maximum(track.fewest_notes - room.here_sounding, due) - 1, 0)
    may_strike = (room.here_sounding + 1 + more <= track.most_notes) & can_be(state.struck + 1 + more, after, *numbers)
    return Offered(places, higher, higher & track.roots & (above >= column(more)) & column(may_strike))


class Chord(NamedTuple):
    """Of a track whose bars begin with the whole chord."""

    is_written: Any  # bool[B] the bar's first notes are being written
    lacks: Any  # bool[B] a tone that does not sound yet
    places: Any  # bool[B, P] where it may begin
    pitches: Any  # bool[B, 128] that leave room above for the tones that it lacks
    until: Any  # int32[B] the time to which the last note lasts at least, if it is a tone


def _chord(held: Held, state: grammar.State, track: Track, offered: Offered, xp: Any) -> Chord:
    is_written = track.opens_with_chord & (state.onsets == 1)
    of_class = xp.asarray(PITCH_CLASS)[:, None] == xp.arange(len(vocab.ROOTS))
    sounding = state.ends > _column(state.start + state.step)
    is_sounding = (sounding[:, :, None] & of_class).any(axis=1)
    tones = (track.tones[:, :, None] & of_class).any(axis=1)
    lacking = tones & ~is_sounding  # bool[B, 12]
    highest = xp.where(offered.higher[:, :, None] & of_class, xp.asarray(PITCHES)[:, None], -1).max(axis=1)

    # Below the highest pitch of each other tone that is lacking
    limits = xp.where(lacking, highest, FAR)
    is_other = xp.arange(len(vocab.ROOTS))[:, None] != xp.arange(len(vocab.ROOTS))
    limit = xp.where(is_other, limits[:, None, :], FAR).min(axis=2)[:, PITCH_CLASS]
    says_root = _column(state.here == 0) & ~track.roots.all(axis=1, keepdims=True)
    adds = lacking[:, PITCH_CLASS] | says_root
    pitches = ~_column(is_written & lacking.any(axis=1)) | (adds & (PITCHES < limit))
    at_start = track.opens_with_chord & held.tones_always & (state.onsets == 0)
    least = xp.where(held.tones_always, track.length, xp.minimum(2 * xp.asarray(BEAT)[state.signature], track.length))
    lasts = held.lengths[xp.clip(least - state.step, 0, len(held.lengths) - 1)]
    is_tone = track.tones[xp.arange(len(state.pitch)), xp.maximum(state.pitch, 0)]
    until = xp.where(is_written & is_tone, state.start + state.step + lasts, 0)
    return Chord(is_written, lacking.any(axis=1), ~_column(at_start) | (PLACES == 0), pitches, until)


def _longest(held: Held, state: grammar.State, track: Track, room: Room, xp: Any) -> Any:
    """int32[B]: the time until which the note of the last pitch may sound."""
    pitch = xp.maximum(state.pitch, 0)
    rows, places = xp.arange(len(pitch)), xp.asarray(PLACES)
    now, bar_end = state.start + state.step, state.start + track.length
    other = state.ends * (PITCHES != _column(pitch))
    rings_over = (other > _column(bar_end)).sum(axis=1)
    within_bar = xp.where(rings_over >= track.may_ring, bar_end, FAR)
    within_chords = bar_end + track.next_length + track.ahead[rows, pitch]
    beat = xp.asarray(BEAT)[state.signature]
    next_beat = state.start + (state.step // beat + 1) * beat
    within_beat = xp.where(track.tones[rows, pitch], FAR, next_beat)  # another tone passes before it

    # Positions to come that count while it is silent, and no more where it rings
    sounds = room.sounding[rows, :, pitch]
    sounding = room.sounding.sum(axis=2) - sounds
    is_tone = _may_be_struck(held, state, track, pitch, xp)
    strikable = room.strikable.sum(axis=2) + (sounds & is_tone)
    later = room.inside & IS_SIXTEENTH & (places >= _column(state.step + held.shortest))
    counts = later & _is_worth(track, sounding, strikable)
    lost = counts & ~_is_worth(track, sounding + 1, strikable - is_tone)
    positions = counts.sum(axis=1) + room.next_part
    sounding_now = (other > _column(now)).sum(axis=1) + 1
    due = track.fewest_strikes - state.struck
    here = xp.maximum(xp.maximum(track.fewest_notes - sounding_now, due - track.worth * positions), 0)
    spare = positions - -(-xp.maximum(due - here, 0) // track.worth)
    is_one_too_many = lost & (xp.cumsum(lost, axis=1) > _column(spare))
    takes_room = xp.where(is_one_too_many, _column(state.start) + places, FAR).min(axis=1)
    return xp.minimum(xp.minimum(within_bar, within_beat), xp.minimum(within_chords, takes_room))


def _may_be_struck(held: Held, state: grammar.State, track: Track, pitch: Any, xp: Any) -> Any:
    """bool[B, P]: whether the pitch int32[B] may be struck at each place, where it does not sound."""
    rows = xp.arange(len(pitch))
    is_tone = _column(track.tones[rows, pitch]) | ~_keeps_to_chord(held, state, xp)
    return _column(track.pitches[rows, pitch]) & is_tone


def _keeps_to_chord(held: Held, state: grammar.State, xp: Any) -> Any:
    """bool[B, P]: where a note is a tone of the chord, if one is asked for: on beats, and so near before the next one
    that no other note would end by then.
    """
    beat = _column(xp.asarray(BEAT)[state.signature])
    behind = xp.asarray(PLACES) % beat
    return held.tones_always | (behind == 0) | (beat - behind < held.shortest)


def _column(values: Any) -> Any:
    return values[:, None]


# ---------------------------------------------------------------- the room that it takes


class Owed(NamedTuple):
    """What the fewest strikes take, in each of B songs."""

    per_bar: Any  # int32[B] tokens of a bar of the current track, at most
    per_bar_later: Any  # int32[B] of those to come, together
    per_note: Any  # int32[] more than one note takes that must be there
    of_any_track: Any  # int32[] tokens of a bar of a track that the model may choose, at most
    to_last_bar: Any  # bool[B] the current track goes there
    whole: Any  # bool[] the song ends with a whole measure


def owed(plan: Plan, after: Any, state: grammar.State, xp: Any = np) -> Owed:
    """after: int32[B] the place after the current one in the script."""
    held = plan.held
    if held is None:
        return Owed(0, 0, 0, 0, state.tracks < 0, np.bool_(False))
    row, program = _who(state, xp)
    is_in_track, most = state.tracks > 0, held.tokens_per_bar.max()
    of_any = xp.where(plan.script[after] == NOTHING, most, 0)  # before the first track
    return Owed(
        xp.where(is_in_track, held.tokens_per_bar[row, program], of_any),
        held.rest_tokens_per_bar[after],
        held.tokens_per_note,
        most,
        is_in_track & (held.fewest_strikes[row, program] > 0),
        held.whole,
    )


# ---------------------------------------------------------------- what is heard


def heard(asked: np.ndarray, score: Score) -> tuple[int, int]:
    """Of the measures of a score in which a chord is asked for, those in whose notes the chord finder hears it; and all
    of them. asked: int32[measures], as bar_chords numbers chords, repeated; 0 and -1 ask for none.
    """
    song = quantize(score)
    starts = song.bars.start_ticks
    wanted = np.resize(asked, song.bars.n_measures)
    found = bar_chords(song.to_score(), np.append(starts[:-1][song.bars.part == 0], starts[-1]))
    return int(((found == wanted) & (wanted > 0)).sum()), int((wanted > 0).sum())
