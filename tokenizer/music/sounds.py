"""What sound a part of a MIDI file has when, and what must be said for it to have another: programs and their banks."""

from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

from tokenizer.music.devices import BANK, Key
from tokenizer.music.messages import CONTROLLER, NOTE_ON, PROGRAM_CHANGE, Message, SaidByTrack

FINE_BANK = 32  # controller


class Step(NamedTuple):
    """A message that sets a sound, or begins a note that has it: where it stands in the file."""

    tick: int
    track: int
    number: int
    message: Message

    @property
    def is_note(self) -> bool:
        return self.message.kind == NOTE_ON

    @property
    def sets_program(self) -> bool:
        return self.message.kind == PROGRAM_CHANGE


def setting(
    said: list[SaidByTrack], index: int, key: Key, playing: set[int], resets: set[tuple[int, int]]
) -> list[Step]:
    """Beginnings of notes of a track of the file on a channel, and what sets their sound, in its order: it itself, and
    the tracks that play nothing there. playing: the others. resets: (track, number) of messages to the port.
    """
    found = []
    for track, (messages, *_) in enumerate(said):
        for number, message in enumerate(messages if track not in playing else ()):
            if message.key == key:
                begins_note = message.kind == NOTE_ON and message.data[2] > 0 and track == index
                sets_bank = message.kind == CONTROLLER and message.data[1] in (BANK, FINE_BANK)
                counts = begins_note or sets_bank or message.kind == PROGRAM_CHANGE
            else:
                counts = (track, number) in resets
            if counts:
                found.append(Step(message.tick, track, number, message))
    return sorted(found, key=lambda step: step[:3])


class Sound:
    """A channel's sound, (bank, fine bank, program), and the banks that the next program change will take."""

    def __init__(self) -> None:
        self.banks, self.sound = (0, 0), (0, 0, 0)

    def hear(self, message: Message) -> None:
        """A step that is no note."""
        if not message.key:  # a reset
            self.banks, self.sound = (0, 0), (0, 0, 0)
        elif message.kind == PROGRAM_CHANGE:
            self.sound = (*self.banks, message.data[1])
        elif message.data[1] == BANK:
            self.banks = message.data[2], self.banks[1]
        else:
            self.banks = self.banks[0], message.data[2]

    def becomes(self, sound: tuple[int, int, int], channel: int) -> list[bytes]:
        """What must be said for it, which leaves the banks as they are; nothing where it is the sound."""
        if sound == self.sound:
            return []
        self.sound = sound
        program = [bytes([PROGRAM_CHANGE | channel, sound[2]])]
        if sound[:2] == self.banks:
            return program
        return _banks(sound[:2], channel) + program + _banks(self.banks, channel)


def _banks(banks: tuple[int, int], channel: int) -> list[bytes]:
    return [
        bytes([CONTROLLER | channel, number, value]) for number, value in zip((BANK, FINE_BANK), banks, strict=True)
    ]


def wanted(steps: list[Step], of_note: dict[int, int], new: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """The sound of new notes (tick, track of the score): that of the last note of its track up to there, else of its
    first. of_note: of each beginning in the steps, by its number, the track of the score.
    """
    state, ticks, sounds = Sound(), defaultdict(list), defaultdict(list)
    for step in steps:
        if step.is_note:
            ticks[of_note[step.number]].append(step.tick)
            sounds[of_note[step.number]].append(state.sound)
        else:
            state.hear(step.message)
    return [sounds[track][max(bisect_right(ticks[track], tick) - 1, 0)] for tick, track in new]
