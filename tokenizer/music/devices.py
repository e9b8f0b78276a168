"""Who plays: the sound of each note, by what a file says to the synthesizers of its time.

A synthesizer has 16 channels on each port. What sets a channel acts on it for all MIDI tracks, in the order of time
and at one tick in the order of tracks; a system reset that another track sends at that tick comes first.

- Drums: channel 10, until a part mode says otherwise; a channel of which a GS or XG part mode says so; a program of a
  drum bank (controller 0: 127 and 126 of XG, 120 of GM2, 127 and 120 where no system is in force or GM is, none where
  GS is, whose banks are variations). Bank 121 of GM2 is melodic on channel 10 too. A bank counts from the next program
  change on. Of part modes and programs the later decides. Other programs on channel 10 leave it drums.
- Programs: tracks that share a channel mean their own programs. So a note has the program that its own track set last,
  or that a track without notes on the channel has set at a later tick. Where its own track has set none yet, the
  channel is one for all: what any track set last. Program 0 where nothing was set since the last reset.
- GM, GM2, GS and XG resets undo part modes, banks and programs of their port.
"""

from collections.abc import Sequence

import numpy as np

from tokenizer.music.score import DRUMS

Key = tuple[int, int]  # (port, channel), from 0
# Tick, track, number of the event in its track, what, value, and of program changes and controllers how many beginnings
# and releases of notes the track has before it on the channel.
Event = tuple[int, int, int, int, int, int]

DRUM_CHANNEL = 9  # counted from 0
# What an event is: a controller by its number, or
PROGRAM, PART, RESET = 128, 129, 130  # the value of PART is whether the channel plays drums, of RESET a system
BANK, PEDAL, SOUND_OFF, LIFT = 0, 64, 120, 121  # LIFT resets the controllers, the pedal among them
END_NOTES = (SOUND_OFF, 123, 124, 125, 126, 127)
GM, GM2, GS, XG = "GM", "GM2", "GS", "XG"
NO_SYSTEM = ""
DRUM_BANKS = {NO_SYSTEM: (127, 120), GM: (127, 120), GM2: (120,), GS: (), XG: (127, 126)}
MELODIC_BANK_OF_GM2 = 121

# ---------------------------------------------------------------- system exclusive messages


def reset(message: bytes) -> str | None:
    """The system that a message puts in force, None if it is no reset. message: what stands behind F0."""
    if len(message) >= 4 and message[0] == 0x7E and message[2] == 0x09:
        return {1: GM, 2: NO_SYSTEM, 3: GM2}.get(message[3])
    if _is_gs(message) and message[4:7] in (b"\x40\x00\x7f", b"\x00\x00\x7f"):  # GS reset, and the SC-88's mode set
        return GS
    if _is_xg(message) and message[3:6] in (b"\x00\x00\x7e", b"\x00\x00\x7f"):  # XG on, and all parameters
        return XG
    return None


def part_mode(message: bytes) -> tuple[int, bool] | None:
    """(channel, whether it plays drums) of a message that sets a part's mode, None if it does not."""
    if _is_gs(message) and message[4] == 0x40 and message[5] & 0xF0 == 0x10 and message[6] == 0x15:
        block = message[5] & 0x0F  # 0 is channel 10, 1 to 9 are channels 1 to 9, 10 to 15 channels 11 to 16
        return (DRUM_CHANNEL if block == 0 else block - 1 if block <= 9 else block), message[7] != 0
    if _is_xg(message) and message[3] == 0x08 and message[4] < 16 and message[5] == 0x07:
        return message[4], message[6] != 0
    return None


def _is_gs(message: bytes) -> bool:
    """41 device 42 12, three bytes of address, a value."""
    return len(message) >= 8 and message[0] == 0x41 and message[2:4] == b"\x42\x12"


def _is_xg(message: bytes) -> bool:
    """43 1n 4C, three bytes of address, a value."""
    return len(message) >= 7 and message[0] == 0x43 and message[1] & 0xF0 == 0x10 and message[2] == 0x4C


# ---------------------------------------------------------------- channels


NOTHING_SET = np.array([-1, -1, 0, -1])  # tick, place, program, drum_says


class _Changes:
    """Program changes in the order in which they act. rows: int[N, 6]: tick; place among all that sets the channel;
    program; drum_says, 1 where its bank means drums, 0 melodic, -1 where it leaves that to the channel; track; the
    beginnings and releases of notes that its track has before it.
    """

    def __init__(self, rows: list[tuple[int, int, int, int, int, int]]) -> None:
        self.rows = np.array(rows, np.int64).reshape(-1, 6)

    def at_ticks(self, ticks: np.ndarray, since: np.ndarray) -> np.ndarray:
        """int[M, 4]: of the rows in force at these ticks the first four columns. since: places of the last resets."""
        return self._in_force(np.searchsorted(self.rows[:, 0], ticks, side="right"), since)

    def at_places(self, places: np.ndarray, since: np.ndarray) -> np.ndarray:
        """int[M, 4]: as before, at places among the beginnings and releases of the track that all changes are of."""
        return self._in_force(np.searchsorted(self.rows[:, 5], places, side="right"), since)

    def of_others(self, track: int, ticks: np.ndarray, since: np.ndarray) -> np.ndarray:
        """int[M, 4]: as at_ticks, for notes before which this track has no change; at their ticks it may have one."""
        tracks = self.rows[:, 4]
        begins_run = np.flatnonzero(np.append(True, tracks[1:] != tracks[:-1]))  # runs of changes of one track
        seen = np.searchsorted(self.rows[:, 0], ticks, side="right")
        own = (seen > 0) & (np.append(tracks, -1)[seen - 1] == track)
        before_run = begins_run[np.searchsorted(begins_run, seen - 1, side="right") - 1]
        return self._in_force(np.where(own, before_run, seen), since)

    def _in_force(self, seen: np.ndarray, since: np.ndarray) -> np.ndarray:
        rows = np.concatenate([NOTHING_SET[None], self.rows[:, :4]])[seen]
        return np.where((rows[:, 1] > since)[:, None], rows, NOTHING_SET)


class Channel:
    """One channel of one port, for all tracks that play on it."""

    def __init__(self, key: Key, events: Sequence[Event], resets: Sequence[Event], playing: set[int]) -> None:
        """playing: the tracks that have notes on it."""
        everything, shared, own = [], [], {track: [] for track in playing}
        system, bank = NO_SYSTEM, 0
        modes = [(-1, -1, -1, key[1] == DRUM_CHANNEL)]  # tick, place of the last reset, place, whether it plays drums
        events = [event for event in events if event[3] in (BANK, PROGRAM, PART)]
        for place, (tick, track, _, what, value, notes_before) in enumerate(_in_order(events, resets)):
            if what == RESET:
                system, bank = value, 0
                modes.append((tick, place, place, key[1] == DRUM_CHANNEL))
            elif what == PART:
                modes.append((tick, modes[-1][1], place, value))
            elif what == BANK:
                bank = value
            else:
                change = (max(tick, 0), place, value, _drum_says(system, bank), track, notes_before)
                everything.append(change)
                own.get(track, shared).append(change)
        self.modes = np.array(modes, np.int64)
        self.any, self.shared = _Changes(everything), _Changes(shared)
        self.own = {track: _Changes(changes) for track, changes in own.items()}

    def sounds(self, track: int, ticks: np.ndarray, places: np.ndarray) -> np.ndarray:
        """int[N]: program, or DRUMS, of notes of a track. ticks: where they begin; places: among all its beginnings and
        releases on the channel.
        """
        _, resets, mode_places, drums = self.modes[np.searchsorted(self.modes[:, 0], ticks, side="right") - 1].T
        own, shared = self.own[track].at_places(places, resets), self.shared.at_ticks(ticks, resets)
        changes = np.where((shared[:, 0] > own[:, 0])[:, None], shared, own)
        has_none = own[:, 0] < 0
        if has_none.any():
            changes = np.where(has_none[:, None], self.any.of_others(track, ticks, resets), changes)
        _, change_places, programs, drum_says = changes.T
        drums = np.where((drum_says >= 0) & (change_places > mode_places), drum_says, drums)
        return np.where(drums, DRUMS, programs)


def _drum_says(system: str, bank: int) -> int:
    if bank in DRUM_BANKS[system]:
        return 1
    return 0 if system == GM2 and bank == MELODIC_BANK_OF_GM2 else -1


def _in_order(events: list[Event], resets: Sequence[Event]) -> list[Event]:
    """As they act. Of the events of a track at one tick, those up to its last reset act before other tracks' events."""
    last_reset = {(tick, track): number for tick, track, number, *_ in resets}
    return sorted(
        [*events, *resets],
        key=lambda event: (event[0], event[2] > last_reset.get(event[:2], -1), event[1], event[2]),
    )
