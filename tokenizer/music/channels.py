"""Which channel and port of a MIDI file each track plays on, and where it must say its program; `midi.write` asks.

A channel has one voice for each pitch: where two tracks of it sound a pitch together, the end of one note ends both.
A port (meta event FF 21) has 16 channels of its own for players that know ports. Many do not, FluidSynth among them:
channels are given out as if there were no ports, so that as few notes as possible are lost there.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from tokenizer.music.devices import DRUM_CHANNEL
from tokenizer.music.score import DRUMS, Score

MELODIC_CHANNELS = tuple(channel for channel in range(16) if channel != DRUM_CHANNEL)
PORTS = 128  # a port is one data byte
PITCH_SHIFT = 42  # bits of a tick: a note begins at tick 2 ** 40 at most and lasts as long at most


@dataclass(frozen=True)
class Place:
    """Where a track plays, counted from 0."""

    port: int
    channel: int


class _Sounding:
    """The times in which any number of notes sound."""

    def __init__(self) -> None:
        self.begins = self.ends = np.zeros(0, np.int64)  # both sorted

    def add(self, begins: np.ndarray, ends: np.ndarray) -> None:
        self.begins = np.sort(np.concatenate([self.begins, begins]))
        self.ends = np.sort(np.concatenate([self.ends, ends]))

    def met_by(self, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """int[N]: how many of the notes sound at some moment from begins[n] to ends[n], both included: what stands at
        one tick is played in an order that players choose.
        """
        begun = np.searchsorted(self.begins, ends, side="right")
        over = np.searchsorted(self.ends, begins, side="left")
        return begun - over


def _times(notes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return notes["onset_ticks"], notes["onset_ticks"] + notes["duration_ticks"]


def _pitch_times(notes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times of which those of two pitches never meet: pitch and tick as one number."""
    begins, ends = _times(notes)
    pitches = notes["pitch"].astype(np.int64) << PITCH_SHIFT
    return pitches + begins, pitches + ends


# ---------------------------------------------------------------- places


def places(score: Score) -> list[Place]:
    """A place for each track; drums are on channel 10 of the first port.

    A melodic track has a channel of its own while there are enough; else one with the other tracks of its program,
    while there are enough for the programs and no two tracks clash; else the one that `_shared` finds.
    """
    melodic = [index for index, track in enumerate(score.tracks) if track.program != DRUMS]
    programs = list(dict.fromkeys(score.tracks[index].program for index in melodic))
    first_port = [Place(0, channel) for channel in MELODIC_CHANNELS]
    found = dict.fromkeys(range(len(score.tracks)), Place(0, DRUM_CHANNEL))
    if len(melodic) <= len(first_port):
        found |= zip(melodic, first_port, strict=False)
        return list(found.values())
    if len(programs) <= len(first_port):
        of_program = dict(zip(programs, first_port, strict=False))
        found |= {index: of_program[score.tracks[index].program] for index in melodic}
        if not clashes(score, list(found.values())):
            return list(found.values())
    found |= _shared(score, melodic)
    return list(found.values())


def _shared(score: Score, melodic: list[int]) -> dict[int, Place]:
    """Track by track, those with the most notes first, the channel on which it is least in the way of the others, and
    there the first port on which it clashes with none.
    """
    pitches = defaultdict(_Sounding)  # of each channel, and of each place
    times = defaultdict(_Sounding)  # of each channel, and of each program on a channel
    tracks = dict.fromkeys(MELODIC_CHANNELS, 0)
    found = {}
    for index in sorted(melodic, key=lambda index: -len(score.tracks[index].notes)):
        program, notes = score.tracks[index].program, score.tracks[index].notes
        pitch_times, all_times = _pitch_times(notes), _times(notes)
        costs = {}
        for channel in MELODIC_CHANNELS:
            cut = pitches[channel].met_by(*pitch_times).sum()
            # Not every player keeps the sound of a note that lasts while another program is set.
            met, met_of_program = (times[key].met_by(*all_times).sum() for key in (channel, (channel, program)))
            costs[channel] = (cut, met - met_of_program, not len(times[channel, program].begins), tracks[channel])
        channel = min(MELODIC_CHANNELS, key=costs.get)
        port = 0
        while port < PORTS - 1 and pitches[Place(port, channel)].met_by(*pitch_times).any():
            port += 1
        found[index] = Place(port, channel)
        tracks[channel] += 1
        for key in (channel, found[index]):
            pitches[key].add(*pitch_times)
        for key in (channel, (channel, program)):
            times[key].add(*all_times)
    return found


def clashes(score: Score, keys: Sequence[Hashable]) -> int:
    """How many notes sound together with one of their pitch of another track that has the same key. Drums are left out:
    a stroke has no end that another could cut.
    """
    of_key = defaultdict(_Sounding)
    played = []
    for track, key in zip(score.tracks, keys, strict=True):
        if track.program != DRUMS:
            own = _Sounding()
            times = _pitch_times(track.notes)
            for sounding in (own, of_key[key]):
                sounding.add(*times)
            played.append((times, own, key))
    return sum(np.count_nonzero(of_key[key].met_by(*times) > own.met_by(*times)) for times, own, key in played)


def notice(score: Score, found: list[Place]) -> str | None:
    """What a player may lose of a score on these places, None where it loses nothing."""
    notes = sum(len(track.notes) for track in score.tracks)
    if lost := clashes(score, found):
        return f"{lost} of {notes} notes may be cut short by others of their pitch: MIDI has {PORTS} ports and no more"
    last_port = max((place.port for place in found), default=0)
    if last_port:
        lost = clashes(score, [place.channel for place in found])
        return (
            f"{len(score.tracks)} tracks play on {last_port + 1} MIDI ports; players that know no ports, FluidSynth is "
            f"one, may cut {lost} of {notes} notes short"
        )
    return None


# ---------------------------------------------------------------- programs


def program_ticks(score: Score, found: list[Place]) -> list[list[int]]:
    """Ticks at which each track must say its program: at its start, and wherever a track of another program has taken
    its place, or for players without ports its channel, since its last note.

    A player takes what stands at one tick track by track, so a track's change at tick 0 undoes those of the tracks
    before it.
    """
    programs_on = defaultdict(set)
    for track, place in zip(score.tracks, found, strict=True):
        programs_on[place.channel].add(track.program)
    sharing = [index for index, place in enumerate(found) if len(programs_on[place.channel]) > 1]
    onsets = {(int(onset), index) for index in sharing for onset in score.tracks[index].notes["onset_ticks"]}
    in_force: dict[Place | int, int] = {}
    ticks = [[0] for _ in score.tracks]
    for tick, index in sorted(onsets | {(0, index) for index in sharing}):
        program, place = score.tracks[index].program, found[index]
        if tick and (in_force.get(place) != program or in_force.get(place.channel) != program):
            ticks[index].append(tick)
        in_force[place] = in_force[place.channel] = program
    return ticks
