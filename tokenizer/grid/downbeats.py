"""Which beats begin measures, and of what meter: Viterbi over the place in the measure."""

import numpy as np

METERS = (4, 3, 2)  # beats of a measure
NATS = (0.0, 0.6, 1.2)  # what each measure costs
SLIP = 12.0  # what a measure costs that is cut short or goes on
CHANGE = 16.0  # another meter
_STATES = [(meter, place) for meter in METERS for place in range(meter)]


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
