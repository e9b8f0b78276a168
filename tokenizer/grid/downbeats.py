"""Which beats begin measures, and of what meter: by what begins with each beat, and Viterbi over the place in the
measure.
"""

import numpy as np

from tokenizer.grid.hearing import Heard

SPANS = (1, 2, 4)  # beats whose harmony is compared with that of as many before
NEAR = 0.2  # of a beat, within which what begins belongs to it
LONGEST_HELD = 4.0  # beats for which a note counts
FEW_HELD = 0.25  # beats that are as good as none
CLUES = 3 + len(SPANS)
METERS = (4, 3, 2)  # beats of a measure
NATS = (0.0, 0.1, 1.0)  # what each measure costs
SLIP = 6.0  # what a measure costs that is cut short or goes on
CHANGE = 16.0  # another meter
_STATES = [(meter, place) for meter in METERS for place in range(meter)]


def clues(notes: Heard, seconds: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """float64[beats, CLUES]: what tells that a measure begins with a beat. notes: one at least; seconds: of the beats,
    two at least; lines: float[beats], log odds of a bar line as pulse.py hears them.
    """
    tune = ~notes.drum
    begin = np.interp(notes.begin[tune], seconds, np.arange(len(seconds)), left=-1.0)
    end = np.interp(notes.end[tune], seconds, np.arange(len(seconds)))
    beat = np.rint(begin).astype(np.int64)
    length = np.clip(end - begin, 0, LONGEST_HELD)
    begins = (np.abs(begin - beat) <= NEAR) & (beat >= 0)
    held = np.log(np.bincount(beat[begins], length[begins], len(seconds)) + FEW_HELD)
    inside = np.floor(np.maximum(begin, 0) + NEAR).astype(np.int64)
    classes = np.zeros((len(seconds) + 1, 12))
    np.add.at(classes, (np.minimum(inside, len(seconds) - 1), notes.pitch[tune] % 12), length)
    harmony = [_newness(classes[:-1], span) for span in SPANS]
    ones = np.ones(len(seconds))
    return np.stack([ones, lines, *(each - each.mean() for each in (held, *harmony))], axis=1)


def _newness(classes: np.ndarray, span: int) -> np.ndarray:
    """float64[beats]: 1 where the pitch classes of the next beats are none of those of as many before, 0 where they are
    the same. classes: float64[beats, 12].
    """
    total = np.concatenate([np.zeros((1, 12)), np.cumsum(classes, axis=0)])
    at = np.arange(len(classes))
    next_ = total[np.minimum(at + span, len(classes))] - total[at]
    last = total[at] - total[np.maximum(at - span, 0)]
    size = np.linalg.norm(next_, axis=1) * np.linalg.norm(last, axis=1)
    return 1 - (next_ * last).sum(axis=1) / np.maximum(size, 1e-9)


def measures(log_odds: np.ndarray) -> np.ndarray:
    """int64[beats]: beats of the measure that begins there, 0 where none does. log_odds: float[beats] of a bar line at
    each beat, one at least.
    """
    path = _path(log_odds)
    begins = np.flatnonzero([place == 0 for _, place in path])
    if not len(begins):
        begins = np.array([0])
    out = np.zeros(len(path), np.int64)
    out[begins] = np.append(np.diff(begins), path[begins[-1]][0])
    return out


def _path(log_odds: np.ndarray) -> list[tuple[int, int]]:
    """The likeliest state at each beat."""
    is_line = np.array([place == 0 for _, place in _STATES])
    cost, nats = _costs(), np.array([NATS[METERS.index(meter)] for meter, _ in _STATES])
    total, came = np.zeros(len(_STATES)), []
    for odds in log_odds:
        of = total[:, None] - (cost if came else np.where(np.eye(len(_STATES)), 0, np.inf))
        came.append(of.argmax(axis=0))
        total = of.max(axis=0) + is_line * (odds - nats)
    path = [int(total.argmax())]
    for before in reversed(came[1:]):
        path.append(int(before[path[-1]]))
    return [_STATES[state] for state in reversed(path)]


def _costs() -> np.ndarray:
    """float64[from, to]."""
    cost = np.full((len(_STATES), len(_STATES)), np.inf)
    for i, (meter, place) in enumerate(_STATES):
        for j, (next_meter, next_place) in enumerate(_STATES):
            if next_place == (place + 1) % meter and next_meter == meter:
                cost[i, j] = 0.0
            elif next_place == 0:
                is_whole = place == meter - 1
                cost[i, j] = (CHANGE if next_meter != meter else 0.0) + (0.0 if is_whole else SLIP)
    return cost
