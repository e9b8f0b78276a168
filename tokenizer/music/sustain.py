"""How long notes last: until their release, until a controller ends what a channel plays, or until the pedal lifts."""

import bisect
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tokenizer.music.devices import END_NOTES, LIFT, PEDAL, SOUND_OFF, Event

DOWN = 64  # least value of the controller at which the pedal is down
PITCH_SHIFT = 42  # bits of a tick, so that pitch and tick are one number


def silences(events: Sequence[Event]) -> list[int]:
    """Ticks at which controllers end the notes of a channel, sorted."""
    return sorted({max(tick, 0) for tick, _, _, what, _ in events if what in END_NOTES})


def close(strikes: Sequence[tuple[int, int, int, int]], ends: list[int], track_end: int) -> np.ndarray:
    """int[N, 5]: onset, duration, pitch, velocity, number of the event, of a track's notes on one channel.

    strikes: (tick, pitch, velocity or 0 for a release, number of the event), in order. Notes of one pitch close in the
    order they began. `ends` close what began before them, never closed notes end with the track.
    """
    notes, sounding = [], {}  # sounding: notes of each pitch, the oldest first
    for tick, pitch, velocity, number in strikes:
        if tick < 0:
            tick = 0
        if velocity:
            until = track_end
            if ends and (place := bisect.bisect_right(ends, tick)) < len(ends):
                until = min(until, ends[place])
            note = [tick, until - tick, pitch, velocity, number]
            notes.append(note)
            waiting = sounding.get(pitch)
            if waiting is None:
                waiting = sounding[pitch] = deque()
            waiting.append(note)
        elif waiting := sounding.get(pitch):
            note = waiting.popleft()
            while note[0] + note[1] < tick:  # ended already
                if not waiting:
                    break
                note = waiting.popleft()
            else:
                note[1] = tick - note[0]
    return np.array(notes, np.int64).reshape(-1, 5)


@dataclass(frozen=True)
class Pedal:
    """A channel's sustain pedal. downs, ups: int[N] ticks, each pair one time for which it is down; cuts: sorted ticks
    at which all sound ends.
    """

    downs: np.ndarray
    ups: np.ndarray
    cuts: np.ndarray

    @classmethod
    def of(cls, events: Sequence[Event], resets: Sequence[Event], last_tick: int) -> "Pedal":
        """resets: of the whole synthesizer; they lift it too. Never lifted, it is down to the song's last tick."""
        moves = [(*event[:3], event[3] == PEDAL and event[4] >= DOWN) for event in events if event[3] in (PEDAL, LIFT)]
        if not any(down for *_, down in moves):
            return cls(*np.zeros((3, 0), np.int64))
        moves = sorted(moves + [(*event[:3], False) for event in resets])
        down = np.array([False, *(down for *_, down in moves)])
        ticks = np.array([tick for tick, *_ in moves], np.int64)
        changed = down[1:] != down[:-1]
        ticks = np.append(ticks[changed], last_tick)
        downs = ticks[:-1][::2]
        cuts = np.array(sorted({tick for tick, _, _, what, _ in events if what == SOUND_OFF}), np.int64)
        return cls(downs, ticks[1::2][: len(downs)], cuts)

    def ring(self, onsets: np.ndarray, ends: np.ndarray, pitches: np.ndarray) -> np.ndarray:
        """int[N]: until when the notes of a channel sound: one that ends while the pedal is down rings until it lifts,
        or the pitch is struck again, or all sound is cut.
        """
        down = np.searchsorted(self.downs, ends) - 1  # the last that went down before the end
        until = np.where(down >= 0, self.ups[down], -1)
        struck = np.unique(pitches << PITCH_SHIFT | onsets)
        again = np.append(struck, 128 << PITCH_SHIFT)[np.searchsorted(struck, pitches << PITCH_SHIFT | onsets, "right")]
        until = np.minimum(until, np.where(again >> PITCH_SHIFT == pitches, again & ((1 << PITCH_SHIFT) - 1), until))
        if len(self.cuts):
            cut = np.searchsorted(self.cuts, ends)
            until = np.where(cut < len(self.cuts), np.minimum(until, np.append(self.cuts, 0)[cut]), until)
        return np.maximum(ends, until)
