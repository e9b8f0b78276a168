"""What must hold in the notes, as arrays, of what the user asks for: key, pitches, strikes a bar, notes at once, and
that the asked chords are heard. Made once for a plan; tokenizer/tokens/held.py keeps to it at each token.

What never could hold is refused here. What can hold is held without a dead end by two promises:

- A position of the sixteenths counts as worth `worth` strikes of the shortest length. A note is offered only where the
  strikes still due in its bar fit the positions that are left after it, each so many at most.
- No more than `may_ring` notes of a track ring into a later bar, so that each position of that bar is worth as much.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from configs import Constraints, InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.chords import TONES
from tokenizer.grid.meter import N_PARTS, PART_SIXTEENTHS, STEP_TICKS
from tokenizer.music import instruments
from tokenizer.music.score import DRUMS
from tokenizer.tokens import key_names, names
from tokenizer.tokens.given import Given, chord_pattern
from tokenizer.tokens.grammar import BASSES, CHORD, CLASS, DURATION, LENGTH, MASK, SIGNATURE, TRACK, UNK, VALUE
from tokenizer.tokens.names import Span

# Rows of what is another for the tracks that say the chords: the lowest, which is the song's first pitched one, and the
# first pitched one that is no bass
OTHER, LEADING = 0, 1
CHORD_NOTES = 6  # strikes that a whole chord takes at most, where its root sounds already
MANY = 1 << 20  # as good as no limit
TOKENS_PER_STRIKE = 4  # position, pitch, duration, velocity
BUSY_POSITIONS = 8  # of a bar: where more strikes are due, several may have to share one
PITCH_CLASS = np.arange(vocab.N_PITCHES) % len(vocab.ROOTS)
IS_PITCHED = np.arange(vocab.N_TRACKS) != DRUMS


def _tones() -> np.ndarray:
    tones = np.ones((vocab.N_CHORDS, len(vocab.ROOTS)), bool)  # to no chord any pitch belongs
    for label in range(1, vocab.N_CHORDS):
        root, quality = divmod(label - 1, len(vocab.QUALITIES))
        tones[label] = False
        tones[label, (root + np.array(TONES[vocab.QUALITIES[quality]])) % len(vocab.ROOTS)] = True
    return tones


CHORD_TONES = _tones()  # bool[217, 12]
ROOT = (np.arange(vocab.N_CHORDS) - 1) // len(vocab.QUALITIES)  # int[217] pitch class; -1 of no chord
# Sixteenths of whole measures, by signature
MEASURE_SIXTEENTHS = np.where(N_PARTS == 2, PART_SIXTEENTHS.sum(axis=1), PART_SIXTEENTHS[:, 0])


class Held(NamedTuple):
    """As arrays of a plan. W measures. [2, 129]: of other tracks and of leading ones, by program."""

    pitches: Any  # bool[129, 128] that may be struck
    fewest_strikes: Any  # int32[2, 129] in a measure
    most_strikes: Any  # int32[129]
    fewest_notes: Any  # int32[129] that sound where one is struck
    most_notes: Any  # int32[129]
    worth: Any  # int32[129] strikes at most for which a position counts
    may_ring: Any  # int32[2, 129] notes that ring into a later bar, at most
    is_wished: Any  # bool[129] something is asked of the program
    has_voices: Any  # bool[129] its tracks can sound whole chords
    tracks: Any  # bool[129] programs that the model may choose
    chords: Any  # bool[217] labels that it may choose
    tones_on_beats: Any  # bool[] the asked chords are heard there
    tones_always: Any  # bool[] and everywhere else
    tones_ahead: Any  # int32[W, 12] measures after each one whose chords all have the pitch class
    shortest_measure: Any  # int32[] fine steps of any measure to come, at least
    shortest: Any  # int32[] fine steps of the shortest note
    lengths: Any  # int32[L + 1] of the longest note that takes so many fine steps at most, 0 none; L of the longest bar
    whole: Any  # bool[] a song ends with a whole measure
    tokens_per_bar: Any  # int32[2, 129] that the fewest strikes take at most
    rest_tokens_per_bar: Any  # int32[S] the same of all free places from each one on
    tokens_per_note: Any  # int32[] that a note which must be there takes more than one alone


@dataclass(frozen=True, eq=False)
class Wishes:
    """What is asked of the notes of any song; arrays as Held names them."""

    wanted: Constraints
    pitches: np.ndarray
    fewest_strikes: np.ndarray
    most_strikes: np.ndarray
    fewest_notes: np.ndarray
    most_notes: np.ndarray
    worth: np.ndarray
    may_ring: np.ndarray
    is_wished: np.ndarray
    has_voices: np.ndarray

    @property
    def asked(self) -> bool:
        return bool(self.is_wished.any())

    @property
    def whole(self) -> bool:
        return bool(self.fewest_strikes.any())

    @property
    def tokens_per_bar(self) -> np.ndarray:
        strikes = self.fewest_strikes
        strikes = np.where(strikes > 0, strikes + self.fewest_notes - 1, 0)
        strikes[LEADING] = np.where(self.has_voices, CHORD_NOTES, strikes[LEADING])
        return TOKENS_PER_STRIKE * strikes

    @property
    def tokens_per_note(self) -> int:
        return TOKENS_PER_STRIKE * (int(np.where(self.has_voices, CHORD_NOTES, self.fewest_notes).max()) - 1)

    def tokens_of(self, script: list[int]) -> list[int]:
        """That a bar of each free place of a script takes at most, for its fewest strikes."""
        return [0 if place is None else int(self.tokens_per_bar[place].max()) for place in written(script)]


@cache
def of(wanted: Constraints) -> Wishes:
    """Raises InputError where a name means nothing."""
    pitches = np.ones((vocab.N_TRACKS, vocab.N_PITCHES), bool)
    for span in names.pitches(wanted.pitches, "--pitches") if wanted.pitches else ():
        among = (np.arange(vocab.N_PITCHES) >= span.low) & (np.arange(vocab.N_PITCHES) <= span.high)
        pitches[_programs(span, IS_PITCHED)] = among
    if wanted.key:
        pitches[IS_PITCHED] &= np.isin(PITCH_CLASS, list(key_names.key(wanted.key, "--key")))

    everyone = np.ones(vocab.N_TRACKS, bool)
    fewest_strikes, most_strikes = _spans(wanted.density, "--density", names.strikes, (0, MANY), everyone)
    fewest_notes, most_notes = _spans(wanted.polyphony, "--polyphony", names.voices, (1, vocab.N_PITCHES), everyone)
    is_wished = (~pitches).any(axis=1) | (fewest_strikes > 0) | (most_strikes < MANY)
    is_wished |= (fewest_notes > 1) | (most_notes < vocab.N_PITCHES) | (IS_PITCHED & chords_hold(wanted))
    has_voices = (fewest_strikes == 0) & (most_strikes == MANY) & (fewest_notes == 1) & (most_notes == vocab.N_PITCHES)
    has_voices &= IS_PITCHED & ~np.isin(np.arange(vocab.N_TRACKS), BASSES) & chords_hold(wanted)
    for label in _asked_labels(wanted):
        has_voices &= _in_each(pitches, CHORD_TONES[label]).all(axis=1)
    of_leading = np.maximum(fewest_strikes, IS_PITCHED & chords_hold(wanted))  # one says which root it is

    choice = _choice(pitches, wanted)
    at_once = np.minimum(most_notes, choice)
    worth = np.maximum(np.minimum(-(-fewest_strikes // BUSY_POSITIONS), at_once), fewest_notes)
    while (more := (_strikes_taken(fewest_strikes, worth, fewest_notes) > most_strikes) & (worth < at_once)).any():
        worth = worth + more
    may_ring = at_once - worth
    beside_root = np.minimum(may_ring, _roots(pitches, wanted, worth, has_voices) - 1)
    of_other = np.where(has_voices & (wanted.chord_notes == "all"), beside_root, may_ring)
    return Wishes(
        wanted,
        pitches,
        np.stack([fewest_strikes, of_leading]).astype(np.int32),
        most_strikes,
        fewest_notes,
        most_notes,
        worth.astype(np.int32),
        np.stack([of_other, beside_root]).astype(np.int32),
        is_wished,
        has_voices,
    )


def chords_hold(wanted: Constraints) -> bool:
    """Whether notes keep to the chords that are asked for."""
    return bool(wanted.chords) and wanted.chord_notes != "free"


def _strikes_taken(fewest: Any, worth: Any, notes: Any) -> Any:
    """By the positions that the fewest strikes of a bar take, if each has as few notes as it may."""
    return -(-fewest // worth) * notes


def _programs(span: Span, of_all: np.ndarray) -> np.ndarray:
    """bool[129]"""
    return np.isin(np.arange(vocab.N_TRACKS), span.programs) if span.programs else of_all


def _spans(text: str, flag: str, find: Any, default: tuple[int, int], of_all: np.ndarray) -> tuple[np.ndarray, ...]:
    """int32[129] each: the fewest and the most."""
    fewest, most = (np.full(vocab.N_TRACKS, value, np.int32) for value in default)
    for span in find(text, flag) if text else ():
        programs = _programs(span, of_all)
        fewest[programs], most[programs] = min(span.low, MANY), min(span.high, default[1])
    return fewest, most


def _asked_labels(wanted: Constraints) -> list[int]:
    """The chords whose tones must be struck, N aside."""
    return sorted({int(label) for label in chord_pattern(wanted, 1 << 10) if label}) if chords_hold(wanted) else []


def _choice(pitches: np.ndarray, wanted: Constraints) -> np.ndarray:
    """int[129]: pitches among which there always is a choice, under whatever chord."""
    fewest = pitches.sum(axis=1)
    for label in _asked_labels(wanted):
        tones = (pitches & CHORD_TONES[label][PITCH_CLASS]).sum(axis=1)
        fewest = np.where(IS_PITCHED, np.minimum(fewest, tones), fewest)
    return fewest


def _roots(pitches: np.ndarray, wanted: Constraints, worth: np.ndarray, has_voices: np.ndarray) -> np.ndarray:
    """int[129]: roots of whatever chord above which there are tones enough to make a position worth its strikes, or for
    the whole chord.
    """
    fewest = np.full(vocab.N_TRACKS, MANY)
    for label in _asked_labels(wanted):
        tones = pitches & CHORD_TONES[label][PITCH_CLASS]
        from_each_on = tones[:, ::-1].cumsum(axis=1)[:, ::-1]
        others = CHORD_TONES[label] & (np.arange(len(vocab.ROOTS)) != ROOT[label])
        below = np.arange(vocab.N_PITCHES) < np.where(others, _highest(pitches), vocab.N_PITCHES).min(axis=1)[:, None]
        is_low_enough = (from_each_on >= worth[:, None]) & (below | ~has_voices[:, None])
        roots = (tones & (PITCH_CLASS == ROOT[label]) & is_low_enough).sum(axis=1)
        fewest = np.where(IS_PITCHED, np.minimum(fewest, roots), fewest)
    return fewest


def _in_each(pitches: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """bool[129, 12]: there are pitches of the tone, or it is none of these."""
    return (_highest(pitches) >= 0) | ~tones


def _highest(pitches: np.ndarray) -> np.ndarray:
    """int[129, 12]: the highest pitch of each pitch class, -1 where there is none."""
    of_class = PITCH_CLASS[:, None] == np.arange(len(vocab.ROOTS))
    return np.where(pitches[:, :, None] & of_class, np.arange(vocab.N_PITCHES)[:, None], -1).max(axis=1)


# ---------------------------------------------------------------- of one plan


Place = tuple[Any, Any] | None


def written(script: list[int]) -> list[Place]:
    """Of each free place of a script the row (OTHER or LEADING) and the program of its track; all of both where the
    model chooses the tracks, None where it writes the header alone.
    """
    if not (CLASS[np.array(script)] == TRACK).any():
        return [(slice(None), slice(None))]
    found: list[Place] = []
    place, pitched, chordal, hides, before = None, 0, 0, False, None
    hidden: list[Place] = []  # of the tracks with hidden bars, which are said behind UNK
    for token in script:
        if token < 0:
            found.append(place)
        elif CLASS[token] == MASK and not hides:
            hidden.append(place)
            hides = True
        elif CLASS[token] == TRACK and before == UNK:
            place = hidden.pop(0)
        elif CLASS[token] == TRACK:
            program = int(VALUE[token])
            is_pitched, is_chordal = program != DRUMS, program != DRUMS and program not in BASSES
            pitched, chordal = pitched + is_pitched, chordal + is_chordal
            leads = (is_pitched and pitched == 1) or (is_chordal and chordal == 1)
            place, hides = (LEADING if leads else OTHER, program), False
        before = token
    return found


def hold(
    script: list[int],
    size: int,
    wanted: Constraints,
    given: Given | None,
    chords: np.ndarray,
    signatures: np.ndarray,
    free: np.ndarray,
) -> tuple[Held | None, np.ndarray]:
    """What must hold along a script, filled up to `size` places, None where nothing is asked; and bool[724] what of
    `free` it leaves. given: what the script holds of a given song that goes on. chords: int32[W] asked for in each
    measure, -1 any. signatures: int32[M] of the measures that are known. Raises InputError where it cannot be.
    """
    wishes = of(wanted)
    if not wishes.asked:
        return None, free
    places = [place for place in written(script) if place is not None]
    chooses = places == [(slice(None), slice(None))]
    if not chooses:
        _refuse_others(wanted, [program for _, program in places])
    _refuse_chords_beyond_the_key(wanted, chords)
    possible = np.array([_why_not(wishes, LEADING, program) is None for program in range(vocab.N_TRACKS)])
    for row, program in places if not chooses else [] if possible.any() else [(LEADING, 0)]:
        if why := _why_not(wishes, row, program):
            raise InputError(f"{_flags(wanted)}: {instruments.name(program)} {why}")

    of_any = [(slice(None), possible)] if chooses else places
    has_room = np.all([_has_room(wishes, *place) for place in of_any], axis=0)
    for signature in signatures.tolist():
        if not has_room[signature]:
            raise InputError(
                f"{_flags(wanted)}: what is asked does not fit a bar of {'{}/{}'.format(*vocab.SIGNATURES[signature])}"
            )
    free = free & ((CLASS != SIGNATURE) | has_room[np.where(CLASS == SIGNATURE, VALUE, 0)])
    if given is not None and _rings_in(wishes, script, given):
        free = free & (CLASS != SIGNATURE)  # the notes of the given song leave room in a bar of its last meter
    if not free[CLASS == SIGNATURE].any() and given is None:
        raise InputError(f"{_flags(wanted)}: what is asked fits no bar of any meter")
    may_come = np.flatnonzero(free & (CLASS == SIGNATURE))
    measures = np.append(VALUE[may_come], signatures)
    shortest_measure = int(MEASURE_SIXTEENTHS[measures].min()) * vocab.SIXTEENTH
    rest = np.zeros(size, np.int32)
    rest[np.flatnonzero(np.array(script) < 0)] = wishes.tokens_of(script)
    held = Held(
        pitches=wishes.pitches,
        fewest_strikes=wishes.fewest_strikes,
        most_strikes=wishes.most_strikes,
        fewest_notes=wishes.fewest_notes,
        most_notes=wishes.most_notes,
        worth=wishes.worth,
        may_ring=wishes.may_ring,
        is_wished=wishes.is_wished,
        has_voices=wishes.has_voices,
        tracks=possible | (not chooses),
        chords=_labels_of_key(wanted),
        tones_on_beats=np.bool_(chords_hold(wanted)),
        tones_always=np.bool_(chords_hold(wanted) and wanted.chord_notes == "all"),
        tones_ahead=_tones_ahead(chords, wanted, vocab.LONGEST // shortest_measure + 1),
        shortest_measure=np.int32(shortest_measure),
        shortest=np.int32(VALUE[free & (CLASS == DURATION)].min()),
        lengths=_longest_notes(VALUE[free & (CLASS == DURATION)]),
        whole=np.bool_(wishes.whole),
        tokens_per_bar=wishes.tokens_per_bar.astype(np.int32),
        rest_tokens_per_bar=np.cumsum(rest[::-1])[::-1].astype(np.int32),
        tokens_per_note=np.int32(wishes.tokens_per_note),
    )
    return held, free


def _longest_notes(lengths: np.ndarray) -> np.ndarray:
    """int32[]: the longest of these lengths, in fine steps, that is not above 0, 1, 2, ... as far as a bar reaches."""
    lengths = np.sort(np.append(lengths, 0))
    return lengths[np.searchsorted(lengths, np.arange(LENGTH.max() + 1), side="right") - 1].astype(np.int32)


def _refuse_others(wanted: Constraints, programs: list[int]) -> None:
    """Raises InputError where something is asked of an instrument that is not written."""
    for flag, text, find in (
        ("--pitches", wanted.pitches, names.pitches),
        ("--density", wanted.density, names.strikes),
        ("--polyphony", wanted.polyphony, names.voices),
    ):
        for span in find(text, flag) if text else ():
            if span.programs and not set(span.programs) & set(programs):
                written = ", ".join(dict.fromkeys(map(instruments.name, programs)))
                raise InputError(f"{flag} {text}: no {span.word} is written, but {written}")


def _why_not(wishes: Wishes, row: int, program: int) -> str | None:
    """Why what is asked cannot be of a track, in words; None where it can."""
    strikes, most = int(wishes.fewest_strikes[row, program]), int(wishes.most_strikes[program])
    notes, worth = int(wishes.fewest_notes[program]), int(wishes.worth[program])
    if wishes.may_ring[row, program] < 0:
        count = f"{notes} pitches that" if notes > 1 else "a pitch that"
        under = " under each of the chords" if chords_hold(wishes.wanted) else ""
        return f"has not {count} may be struck{under}; allow more pitches, or fewer at once"
    if _strikes_taken(strikes, worth, notes) > most or notes > most:
        return f"cannot have {notes} notes at once at least and no more than {most} strikes a bar; ask for less"
    return None


def _flags(wanted: Constraints) -> str:
    """What is asked, as it was written."""
    names_ = ("key", "pitches", "density", "polyphony", *(("chords",) if chords_hold(wanted) else ()))
    return " and ".join(f"--{name} {getattr(wanted, name)}" for name in names_ if getattr(wanted, name))


def _has_room(wishes: Wishes, row: Any, program: Any) -> np.ndarray:
    """bool[28]: meters whose measures have room for what is asked of one program or of several."""
    strikes, worth = wishes.fewest_strikes[row, program], wishes.worth[program]
    positions = int(np.max(-(-strikes // worth)))
    both_parts_sound = np.min(wishes.most_strikes[program] - 2 * wishes.fewest_notes[program]) >= 0
    return (MEASURE_SIXTEENTHS >= positions) & ((N_PARTS == 1) | both_parts_sound)


def _refuse_chords_beyond_the_key(wanted: Constraints, chords: np.ndarray) -> None:
    beyond = np.flatnonzero((chords >= 0) & ~_labels_of_key(wanted)[chords])
    if len(beyond):
        bar, label = int(beyond[0]), int(chords[beyond[0]])
        in_key = key_names.key(wanted.key, "--key")
        strange = [vocab.ROOTS[tone] for tone in np.flatnonzero(CHORD_TONES[label]).tolist() if tone not in in_key]
        name = vocab.NAMES[vocab.TOKEN[CHORD][label]]
        raise InputError(
            f"--chords: bar {bar + 1} is {name}, whose {' and '.join(strange)} --key {wanted.key} has not; change one"
        )


def _labels_of_key(wanted: Constraints) -> np.ndarray:
    """bool[217]: chords all of whose tones the key has, and none."""
    if not wanted.key:
        return np.ones(vocab.N_CHORDS, bool)
    in_key = np.isin(np.arange(len(vocab.ROOTS)), list(key_names.key(wanted.key, "--key")))
    return (~CHORD_TONES | in_key).all(axis=1) | (np.arange(vocab.N_CHORDS) == 0)


def _tones_ahead(chords: np.ndarray, wanted: Constraints, most: int) -> np.ndarray:
    """int32[W, 12]: after the last measure come others, of which nothing is asked. Where all notes are tones, none
    rings into another chord, whose bass it might be.
    """
    tones = CHORD_TONES[np.maximum(chords, 0)]
    if wanted.chord_notes == "all":
        tones = tones & np.append(True, chords[1:] == chords[:-1])[:, None]
    ahead = np.full(tones.shape, most, np.int32)
    for measure in range(len(chords) - 2, -1, -1):
        ahead[measure] = np.where(tones[measure + 1], np.minimum(ahead[measure + 1] + 1, most), 0)
    return ahead


def _rings_in(wishes: Wishes, script: list[int], given: Given) -> bool:
    """Whether more notes of a given song ring into the bars to come than a track's own ones may. Raises InputError
    where they leave no room for what is asked.
    """
    song, found = given.song, False
    last = int(song.bars.signature[-1])
    sixteenths, of_next_part = PART_SIXTEENTHS[last, 0], PART_SIXTEENTHS[last, 1] * (N_PARTS[last] == 2)
    for track, (row, program) in zip(song.tracks, written(script), strict=True):
        notes = track.notes
        ends = song.bars.start_ticks[notes["bar"]] // STEP_TICKS + notes["step"] + notes["duration"]
        rest = np.sort(ends - song.bars.start_ticks[-1] // STEP_TICKS)[::-1]
        may_ring = int(wishes.may_ring[row, program])
        if len(rest) <= may_ring or rest[may_ring] <= 0:
            continue
        found = True
        positions = max(-(-int(wishes.fewest_strikes[row, program]) // int(wishes.worth[program])) - of_next_part, 1)
        if sixteenths - -(-int(rest[may_ring]) // vocab.SIXTEENTH) < positions:
            raise InputError(
                f"{_flags(wishes.wanted)}: notes of the given song ring into bar {given.measures + 1} "
                f"({instruments.name(program)}) and leave no room for what is asked; ask for less, or keep other bars"
            )
    return found
