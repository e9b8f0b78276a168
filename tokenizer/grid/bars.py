"""Which beats begin measures, and of what meter: Viterbi over the place in the measure."""

import numpy as np

METERS = (4, 3, 2)  # beats of a measure
NATS = (0.0, 0.6, 1.2)  # what each measure costs
SLIP = 12.0  # what a measure costs that is cut short or goes on
CHANGE = 16.0  # another meter
_STATES = [(meter, place) for meter in METERS for place in range(meter)]


def downbeats(log_odds: np.ndarray) -> np.ndarray:
    """int64[beats]: beats of the measure that begins there, 0 where none does. log_odds: float[beats] of a bar line at
    each beat.
    """
    path = _path(log_odds)
    begins = np.flatnonzero([place == 0 for _, place in path])
    out = np.zeros(len(path), np.int64)
    if len(begins):
        out[begins] = np.append(np.diff(begins), path[begins[-1]][0])
    return out


def _path(log_odds: np.ndarray) -> list[tuple[int, int]]:
    cost = _costs()
    gain = np.array(
        [[1.0 if place == 0 else 0.0, -NATS[METERS.index(m)] if place == 0 else 0.0] for m, place in _STATES]
    )
    total, came = gain[:, 0] * log_odds[0] + gain[:, 1], []
    for odds in log_odds[1:]:
        of = total[:, None] - cost
        came.append(of.argmax(axis=0))
        total = of.max(axis=0) + gain[:, 0] * odds + gain[:, 1]
    state = int(total.argmax())
    path = [state]
    for from_ in reversed(came):
        path.append(int(from_[path[-1]]))
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
