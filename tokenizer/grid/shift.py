"""Whether a file's tempo is its music's, and how far all of it lies beside the grid. Called by align.

Where onsets lie in a beat of the file is looked at as angles on a circle, a turn for the k-th part of a beat:

    a score           all at one angle                   it lies on its grid and stays as it is
    a click           around one angle, another than 0   steady: so much later, or earlier, it is on the grid
    a free player     at all angles                      the file's beats are not the music's

A player who is at times as fast as the file is near one angle for a while, and near another one later. So parts of the
song are compared with one another, rather than onsets with those beside them (Mardia and Jupp, Directional Statistics,
2000, on the resultant length).
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np

from tokenizer.grid.divisions import ALL, nearest
from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music.score import DRUMS, Score, Tempo
from tokenizer.vocabulary import QUARTER

_ON_GRID = 0.35  # of distinct onsets, beyond chance: nearly all scores have more, players -0.1 to 0.07
_FINE_TICKS = 240  # a beat, from which on programs that write scores round by a tick
_PARTS_OF_BEAT = (2, 3, 4, 6, 8, 12)
_WINDOWS = 8  # of equal time
_STEADY = 0.05  # squared resultant length of one window against the others
_FEW_ONSETS = 24  # of which chance says anything
_GRIDS = (4, 3)  # places in a beat by which a shift is found: sixteenths, or eighth triplets
_HELD = 0.35  # of what is held from another part: 0.41 and more of all scores
_LEAST_SHIFT = Fraction(1, 48)  # of a beat: half a fine step, which changes no place
_LESSENED = 0.95  # of the distance from the grid, at most, that a shift leaves which is worth it
_SIMPLER = 0.5  # likewise, of the distance from sixteenths or triplets alone: a loose hand is never far from all places


@dataclass(frozen=True)
class Steady:
    """Of a score whose tempo is its music's. shift_ticks: what onsets must be later (earlier, below 0) to lie on the
    grid, from above -1/8 to 1/8 of a beat; 0 where that is not worth it. concentration: 0 to 1, how much of its onsets
    keeps to the file's beats, a squared resultant length; 1 means all.
    """

    shift_ticks: int
    concentration: float


def lies_on_grid(score: Score) -> bool:
    """Whether its onsets stand on the grid as only those that were put there do, so that it stays bit for bit. One
    without a note does.
    """
    ticks_per_beat, inside = score.ticks_per_beat, _in_beat(score, _onsets(score))
    tolerance = 1 if ticks_per_beat >= _FINE_TICKS else 0
    width = 2 * tolerance + 1  # ticks that are near one place
    is_near = 2 * _beside(inside, ticks_per_beat) <= QUARTER * width  # a place between two ticks is on either
    chance = min(1.0, (len(ALL) - 1) * width / ticks_per_beat)
    if not len(inside) or chance == 1:
        return bool(is_near.all())
    share = (is_near.mean() - chance) / (1 - chance)
    by_chance = np.sqrt(chance / (1 - chance) / len(inside))
    return bool(share >= max(_ON_GRID, 3 * by_chance))


def steady(score: Score) -> Steady | None:
    """Whether the file's tempo is the music's, and the shift; None of a free performance. Of few onsets nobody knows
    that they are free.
    """
    onsets = _onsets(score)
    if len(onsets) < _FEW_ONSETS:
        return Steady(0, 1.0)
    inside = _in_beat(score, onsets)
    turn = np.exp(2j * np.pi * inside / score.ticks_per_beat)
    since_first = onsets - onsets[0]
    window = since_first // (since_first[-1] // _WINDOWS + 1)  # 0 to _WINDOWS - 1
    concentration = max(_agreement(turn**part, window) for part in _PARTS_OF_BEAT)
    if concentration < _STEADY:
        return None
    return Steady(_shift(inside, turn, score.ticks_per_beat), min(concentration, 1.0))


def held_from(score: Score, late: int, parts: int) -> np.ndarray:
    """float64[parts]: beats for which notes are held that begin in each part of a beat, counted from `late` ticks on; a
    beat of each at most, and not of drums'. People begin what they hold with the beat.
    """
    out = np.zeros(parts)
    for track in score.tracks:
        if track.program != DRUMS and len(track.notes):
            inside = (_in_beat(score, track.notes["onset_ticks"]) - late) % score.ticks_per_beat
            part = (2 * inside * parts + score.ticks_per_beat) // (2 * score.ticks_per_beat) % parts
            held = np.minimum(track.notes["duration_ticks"] / score.ticks_per_beat, 1.0)
            out += np.bincount(part, held, parts)
    return out


def beats_are_meant(score: Score, late: int, parts: int) -> bool:
    """Whether the file's beats, so many ticks later, may be its music's: that far more is held from another of so many
    parts of a beat says no.
    """
    if len(_onsets(score)) < _FEW_ONSETS:
        return True
    held = held_from(score, late, parts)
    return bool(held[0] >= _HELD * held.max())


def shifted(score: Score, ticks: int) -> tuple[Score, TimeMap]:
    """The score, of a note at least, with all notes and changes of tempo so many ticks later under the same bar lines;
    where a note would so begin before 0, with as few whole measures of silence in front as make room.
    """
    silence = _whole_measures(score, max(0, -(first_tick(score) + ticks)))
    time = TimeMap.shifted(ticks + silence)
    first, *changes = score.signatures
    signatures = (first, *(replace(change, tick=change.tick + silence) for change in changes))
    moved = {max(0, tempo.tick + ticks + silence): tempo.microseconds_per_beat for tempo in score.tempos[1:]}
    in_force = {0: score.tempos[0].microseconds_per_beat} | moved  # of several before tick 0 the last
    tempos = tuple(Tempo(tick, length) for tick, length in in_force.items())
    return retimed(score, time, score.ticks_per_beat, tempos, signatures), time


def first_tick(score: Score) -> int:
    """At which the first note begins, of one at least."""
    return min(int(track.notes["onset_ticks"].min()) for track in score.tracks if len(track.notes))


def beside_ms(score: Score) -> float:
    """Milliseconds by which onsets lie beside the nearest places of the grid, in the mean, by the score's tempi."""
    onsets = np.concatenate([track.notes["onset_ticks"] for track in score.tracks])
    beside = _beside(_in_beat(score, onsets), score.ticks_per_beat) / (QUARTER * score.ticks_per_beat)
    ticks = np.array([tempo.tick for tempo in score.tempos], np.int64)
    length = np.array([tempo.microseconds_per_beat for tempo in score.tempos])
    return float((beside * length[np.searchsorted(ticks, onsets, side="right") - 1]).mean() / 1e3)


def _onsets(score: Score) -> np.ndarray:
    """int64[n] distinct onset ticks of all tracks, rising."""
    return np.unique(np.concatenate([track.notes["onset_ticks"] for track in score.tracks] or [np.array([], np.int64)]))


def _in_beat(score: Score, onsets: np.ndarray) -> np.ndarray:
    """int64[n]: how far onsets [n] are past a quarter note, counted from where their signature begins, as the grid
    counts; back from the end of a measure at the start that is a short one.
    """
    begins = np.array([signature.tick for signature in score.signatures], np.int64)
    anchors, first = begins.copy(), score.signatures[0]
    if len(begins) > 1 and int(begins[1]) * first.denominator <= 4 * score.ticks_per_beat * first.numerator:
        anchors[0] = begins[1]
    return (onsets - anchors[np.searchsorted(begins, onsets, side="right") - 1]) % score.ticks_per_beat


def _beside(inside: np.ndarray, ticks_per_beat: int) -> np.ndarray:
    """int64[n]: how far ticks [n] of a beat are from the nearest place of the grid, in 1/24 ticks."""
    return np.abs(inside * QUARTER - nearest(ALL, inside, ticks_per_beat) * ticks_per_beat)


def _agreement(turn: np.ndarray, window: np.ndarray) -> float:
    """Squared resultant length of unit vectors complex[n], of pairs in different windows alone: around 0 by chance and
    for angles that wander, 1 where all are alike.
    """
    of_window = np.bincount(window, turn.real, _WINDOWS) + 1j * np.bincount(window, turn.imag, _WINDOWS)
    count = np.bincount(window, minlength=_WINDOWS)
    pairs = count.sum() ** 2 - (count**2).sum()
    agreeing = np.abs(of_window.sum()) ** 2 - (np.abs(of_window) ** 2).sum()
    return float(agreeing / pairs) if pairs else 1.0


def _shift(inside: np.ndarray, turn: np.ndarray, ticks_per_beat: int) -> int:
    """Ticks that bring onsets inside[n] of a beat to the grid; 0 where they make little difference.

    The mean angle says it, but swing, which makes every second onset late, bends that. So it is said by the place that
    most onsets are near: the median of how far they are beside it.
    """
    resultants = [abs((turn**grid).mean()) for grid in _GRIDS]
    places = _GRIDS[int(np.argmax(resultants))]  # sixteenths or triplets, what they keep to more
    late = round(float(np.angle((turn**places).mean())) / (2 * np.pi * places) * ticks_per_beat)
    place, beside = _from_nearest(inside - late, places, ticks_per_beat)
    most = np.bincount(place % places, minlength=places).argmax()
    late += round(float(np.median(beside[place % places == most])) / places)
    shift = _within_sixteenth(-late, ticks_per_beat)
    if abs(shift) < _LEAST_SHIFT * ticks_per_beat:
        return 0
    moved = (inside + shift) % ticks_per_beat
    is_nearer = _beside(moved, ticks_per_beat).sum() <= _LESSENED * _beside(inside, ticks_per_beat).sum()
    before, after = (np.abs(_from_nearest(each, places, ticks_per_beat)[1]).sum() for each in (inside, moved))
    return shift if is_nearer or after <= _SIMPLER * before else 0


def _from_nearest(inside: np.ndarray, places: int, ticks_per_beat: int) -> tuple[np.ndarray, np.ndarray]:
    """int64[n] the nearest of so many even places in a beat to ticks [n] of it, and 1 / places ticks from there."""
    time = inside * places
    place = (2 * time + ticks_per_beat) // (2 * ticks_per_beat)
    return place, time - place * ticks_per_beat


def _within_sixteenth(ticks: int, ticks_per_beat: int) -> int:
    """From above -1/8 to 1/8 of a beat, whole sixteenths away."""
    sixteenths = ceil(Fraction(8 * ticks - ticks_per_beat, 2 * ticks_per_beat))
    return round(ticks - Fraction(sixteenths * ticks_per_beat, 4))


def _whole_measures(score: Score, ticks: int) -> int:
    """The fewest first measures that last so many ticks at least and a whole number of them."""
    first = score.signatures[0]
    measure = Fraction(4 * score.ticks_per_beat * first.numerator, first.denominator)
    whole = measure.numerator  # ticks of as many measures as end on one
    return ceil(Fraction(ticks, whole)) * whole
