"""How long notes last: until their release, until a controller ends what a channel plays, or until the pedal lifts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenizer.music.devices import END_NOTES, LIFT, PEDAL, SOUND_OFF, Event
from tokenizer.music.score import NOTE

DOWN = 64  # least value of the controller at which the pedal is down
PITCH_SHIFT = 42  # bits of a tick, so that pitch and tick are one number


def silences(events: Sequence[Event]) -> np.ndarray:
    """Ticks at which controllers end the notes of a channel, sorted."""
    return np.array(sorted({max(tick, 0) for tick, _, _, what, *_ in events if what in END_NOTES}), np.int64)


def strike(tick: int, pitch: int, velocity: int) -> int:
    """The beginning of a note, or with velocity 0 its release, as one number."""
    return tick << 14 | pitch << 7 | velocity


def close(strikes: Sequence[int], silent: np.ndarray, track_end: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NOTE[N], the notes of a track on one channel in the order of their beginnings; and int[N] each, the places in
    `strikes` of their beginnings and of their releases, -1 where something else ended them.

    Notes of one pitch close in the order they began; a release without a note means nothing. At the ticks `silent` what
    began before ends; what stands at such a tick comes after it. A note never closed ends with the track.
    """
    coded = np.array(strikes, np.int64)
    ticks, pitches, velocities = np.maximum(coded >> 14, 0), (coded >> 7 & 0x7F).astype(np.uint8), coded & 0x7F
    silences_before = np.searchsorted(silent, ticks, side="right")
    order = np.argsort(pitches, kind="stable")
    beginnings = velocities[order] > 0
    closing, closed = _first_in_first_out(pitches[order].astype(np.int64) << 32 | silences_before[order], beginnings)
    begun = order[beginnings]
    ends = np.minimum(np.append(silent, track_end)[silences_before[begun]], track_end)
    ends[closed] = ticks[order][closing]
    releases = np.full(len(begun), -1)
    releases[closed] = order[closing]
    by_time = np.argsort(begun)
    places = begun[by_time]
    notes = np.empty(len(places), NOTE)
    notes["onset_ticks"], notes["duration_ticks"] = ticks[places], ends[by_time] - ticks[places]
    notes["pitch"], notes["velocity"] = pitches[places], velocities[places]
    return notes, places, releases[by_time]


def _first_in_first_out(queues: np.ndarray, enters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who leaves which queue when. queues: int[N], of each event, sorted; enters: bool[N], whether somebody enters or
    the first one leaves, if anybody is there. Returns int[M], events at which somebody leaves, and int[M], the number
    of who leaves among all that enter.

        queue   a  a  a  a  a  b          event    1  3
        event   +  -  -  +  -  -    ->    leaves   0  1
    """
    steps = np.where(enters, 1, -1)
    is_first = np.ones(len(queues), bool)
    is_first[1:] = queues[1:] != queues[:-1]
    first = np.flatnonzero(is_first)
    queue = np.cumsum(is_first) - 1
    length = np.cumsum(steps)
    length -= (length - steps)[first][queue]  # below zero where more would have left than have entered
    far_apart = queue * (2 * len(queues) + 1)
    least = np.minimum(np.minimum.accumulate(length - far_apart) + far_apart, 0)
    least_before = np.concatenate([[0], least[:-1]])
    least_before[first] = 0
    leaves = ~enters & (length >= least_before)
    entered, left = np.cumsum(enters) - enters, np.cumsum(leaves) - leaves
    who = left - (left - entered)[first][queue]
    return np.flatnonzero(leaves), who[leaves]


@dataclass(frozen=True)
class Pedal:
    """A channel's sustain pedal. downs, ups: int[N] ticks, each pair one time for which it is down; tracks, places:
    int[N], of each that goes down the track that says so and how many beginnings and releases that has before; cuts:
    sorted ticks at which all sound ends.
    """

    downs: np.ndarray
    ups: np.ndarray
    tracks: np.ndarray
    places: np.ndarray
    cuts: np.ndarray

    @classmethod
    def of(cls, events: Sequence[Event], resets: Sequence[Event], last_tick: int) -> "Pedal":
        """resets: of the whole synthesizer; they lift it too. Never lifted, it is down to the song's last tick."""
        moves = sorted([event for event in events if event[3] in (PEDAL, LIFT)] + list(resets))
        is_down = [what == PEDAL and value >= DOWN for _, _, _, what, value, *_ in moves]
        if not any(is_down):
            return cls(*np.zeros((5, 0), np.int64))
        changed = np.diff(np.array([False, *is_down]).astype(int)) != 0
        told = np.array([(tick, track, place) for tick, track, _, _, _, place in moves], np.int64)[changed]
        downs, tracks, places = told[::2].T
        ups = np.append(told[1::2, 0], last_tick)[: len(downs)]
        cuts = np.array(sorted({tick for tick, _, _, what, *_ in events if what == SOUND_OFF}), np.int64)
        return cls(downs, ups, tracks, places, cuts)

    def ring(self, notes: np.ndarray, tracks: np.ndarray, releases: np.ndarray) -> np.ndarray:
        """int[N]: until when the notes NOTE[N] of a channel sound: one that ends while the pedal is down rings until it
        lifts, or the pitch is struck again, or all sound is cut. tracks: they are of; releases: see `close`. Of what
        stands at one tick the order in the track decides, then that of the tracks.
        """
        onsets, pitches = notes["onset_ticks"], notes["pitch"].astype(np.int64)
        ends = onsets + notes["duration_ticks"]
        down = np.searchsorted(self.downs, ends)  # the first that goes down at the end or later
        at = np.minimum(down, len(self.downs) - 1)
        goes_first = (self.tracks[at] < tracks) | ((self.tracks[at] == tracks) & (self.places[at] <= releases))
        down += (self.downs[at] == ends) & goes_first & (releases >= 0)
        down -= 1  # the last that went down before the end
        until = np.where(down >= 0, self.ups[down], -1)
        struck = np.unique(pitches << PITCH_SHIFT | onsets)
        again = np.append(struck, 128 << PITCH_SHIFT)[np.searchsorted(struck, pitches << PITCH_SHIFT | onsets, "right")]
        until = np.minimum(until, np.where(again >> PITCH_SHIFT == pitches, again & ((1 << PITCH_SHIFT) - 1), until))
        if len(self.cuts):
            cut = np.searchsorted(self.cuts, ends)
            until = np.where(cut < len(self.cuts), np.minimum(until, np.append(self.cuts, 0)[cut]), until)
        return np.maximum(ends, until)
