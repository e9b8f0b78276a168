"""A song on a MIDI port while it is written: `generate --port`.

    with playing("fluid") as player:
        player.expect(task)
        for bar in song:             # a Stream
            player.hear(bar)
        player.end()
        player.wait()

Songs are written track by track, and heard all tracks together: a measure is played as soon as every track that will
have it has written it.

    written    drums 1 2 3 4, bass 1 2 3 4, piano 1 2 3 4          the last track is known, as by --instruments
    played                                        1 2 3 4
    written    drums 1 2 3 4, piano 1 2 3 4, end                   the model decides which tracks come
    played                                      1 2 3 4

A thread of its own plays. Notes come at the seconds of the song's tempo map, of the grid (see stream); where the next
measure is not there in time, the clock stands still at the bar line, while what rings there rings on. Of a given song
its notes are heard, and none of its controllers.
"""

import heapq
import queue
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import mido
import numpy as np

from configs import InputError
from jax_impl.sampling import ports
from jax_impl.sampling.stream import Bar
from jax_impl.sampling.task import Task
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import TICKS_PER_BEAT
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music import instruments
from tokenizer.music.channels import MELODIC_CHANNELS
from tokenizer.music.devices import DRUM_CHANNEL
from tokenizer.music.score import DRUMS, LATEST, Tempo
from tokenizer.tokens import grammar

NOTES_OFF = 123  # controller
LATE_SECONDS = 0.02  # what is later than this moves all that follows; less is made good
LOOK_SECONDS = 0.01  # between two looks whether playing is to stop
CLOSE_SECONDS = 2  # that a port gets to let its notes go
OFF, ON = 0, 1  # at one tick ends come first


class Stopped(Exception):
    """Playing is over before the song is."""


class Clock:
    """Seconds that never run backwards, and a way to end a sleep."""

    def __init__(self) -> None:
        self._stopped = False

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Raises Stopped, at once or while it sleeps."""
        until = self.now() + seconds
        while not self._stopped:
            if (left := until - self.now()) <= 0:
                return
            time.sleep(min(left, LOOK_SECONDS))
        raise Stopped

    def stop(self) -> None:
        self._stopped = True


# ---------------------------------------------------------------- measures, in the order in which they are played


class Voice(NamedTuple):
    """What a channel (from 0) plays in a measure. notes: NOTE[N], counted from the start of the song."""

    channel: int
    program: int
    notes: np.ndarray


@dataclass(frozen=True, eq=False)
class Measure:
    """A measure of all tracks, in ticks of the song, 480 a beat. Its last notes may sound on past its end."""

    start_ticks: int
    end_ticks: int
    tempos: tuple[Tempo, ...]
    voices: tuple[Voice, ...]


class Tracks(NamedTuple):
    """Of a song that is to be written: the program of each track by its number, the number of the one that is written
    last, and the first measure that is written, before which all is given.
    """

    programs: Mapping[int, int]
    last: int
    first_measure: int


def tracks_of(task: Task) -> Tracks | None:
    """None where the model decides which tracks come."""
    script, whole = task.plan.script[task.plan.script >= 0], task.whole
    if vocab.SEP not in script:
        return None
    programs = grammar.VALUE[script[grammar.CLASS[script] == grammar.TRACK]].tolist()
    seen = whole.track_numbers()
    numbers = [*seen, *range(whole.given_tracks, whole.given_tracks + len(programs) - len(seen))]
    given = {} if whole.given is None else {n: track.program for n, track in enumerate(whole.given.song.tracks)}
    return Tracks(given | dict(zip(numbers, programs, strict=True)), numbers[-1], whole.measures_left_out)


def channels_of(programs: Mapping[int, int]) -> dict[int, int]:
    """The channel, from 0, of each track: drums have the tenth, all others one of their own, or where these are more
    than 15 one for each program. Raises InputError where that is not enough either.
    """
    pitched = {track: program for track, program in sorted(programs.items()) if program != DRUMS}
    by_program = len(pitched) > len(MELODIC_CHANNELS)
    keys = list(dict.fromkeys(pitched.values() if by_program else pitched))
    if len(keys) > len(MELODIC_CHANNELS):
        raise InputError(
            f"--port: the song has {len(keys)} pitched instruments, and a MIDI port has {len(MELODIC_CHANNELS)} "
            "channels for them; -o FILE alone writes it"
        )
    channel = dict(zip(keys, MELODIC_CHANNELS, strict=False))
    own = {track: channel[program if by_program else track] for track, program in pitched.items()}
    return dict.fromkeys(programs, DRUM_CHANNEL) | own


class Measures:
    """Bars come track by track, measures go. tracks: None where nobody knows which is the last."""

    def __init__(self, tracks: Tracks | None):
        self._tracks = tracks
        self._channels = channels_of(tracks.programs) if tracks else {}
        self._bars: dict[int, list[Bar]] = {}  # of each measure that is not played yet

    def push(self, bar: Bar) -> list[Measure]:
        """The measures that this bar completes."""
        self._bars.setdefault(bar.bar, []).append(bar)
        if self._tracks is None or bar.bar < self._tracks.first_measure:
            return []
        return self._up_to(bar.bar if bar.track == self._tracks.last else self._tracks.first_measure - 1)

    def rest(self) -> list[Measure]:
        """Those that are left when the song is written; the last track may have fewer than others. Raises
        InputError where there are no channels for them.
        """
        if self._tracks is None:
            self._channels = channels_of({bar.track: bar.program for bars in self._bars.values() for bar in bars})
        return self._up_to(max(self._bars, default=-1))

    def _up_to(self, last: int) -> list[Measure]:
        return [self._measure(self._bars.pop(number)) for number in sorted(self._bars) if number <= last]

    def _measure(self, bars: list[Bar]) -> Measure:
        start, signature = bars[0].start_ticks, bars[0].score.signatures[0]
        tempos = {tempo.tick: tempo.microseconds_per_beat for bar in bars for tempo in bar.score.tempos}
        return Measure(
            start,
            start + 4 * TICKS_PER_BEAT * signature.numerator // signature.denominator,
            tuple(Tempo(start + tick, tempos[tick]) for tick in sorted(tempos)),
            tuple(Voice(self._channels[bar.track], bar.program, bar.notes) for bar in bars),
        )


# ---------------------------------------------------------------- playing


class Player:
    """Plays measures on a port as they come, in real time."""

    def __init__(self, port: Any, clock: Clock):
        self._port, self._clock = port, clock
        self._tempos: list[Tempo] = []
        self._began = 0.0  # when the song did by the clock, and later by all that was waited for
        self._coming: list[tuple[int, int, int, int, int]] = []  # a heap of tick, OFF or ON, channel, pitch, velocity
        self._programs: dict[int, int] = {}  # of the channels that are used
        self._sounding: Counter[tuple[int, int]] = Counter()  # notes of a channel and a pitch

    def play(self, measures: Iterable[Measure]) -> None:
        """Until the last note has ended; then, or when anything is raised, all that sounds is released."""
        try:
            for measure in measures:
                self._take(measure)
                self._play_to(measure.end_ticks)
            self._play_to(LATEST)
        finally:
            self._release()

    def _take(self, measure: Measure) -> None:
        if not self._tempos:
            self._tempos.append(measure.tempos[0])
            self._began = self._clock.now()
        for tempo in measure.tempos:
            if tempo.microseconds_per_beat != self._tempos[-1].microseconds_per_beat:
                self._tempos.append(tempo)
        self._stand_still_if_late(measure.start_ticks)
        for channel, program, notes in measure.voices:
            if self._programs.setdefault(channel, -1) != program:
                self._programs[channel] = program
                if program != DRUMS:
                    self._port.send(mido.Message("program_change", channel=channel, program=program))
            for onset, duration, pitch, velocity in notes.tolist():
                heapq.heappush(self._coming, (onset, ON, channel, pitch, velocity))
                heapq.heappush(self._coming, (onset + duration, OFF, channel, pitch, 0))

    def _play_to(self, end_ticks: int) -> None:
        """All that comes before this tick, and what ends at it."""
        while self._coming and self._coming[0][:2] < (end_ticks, ON):
            tick, kind, channel, pitch, velocity = heapq.heappop(self._coming)
            self._clock.sleep(max(self._due(tick) - self._clock.now(), 0.0))
            self._stand_still_if_late(tick)
            self._sounding[channel, pitch] += 1 if kind == ON else -1
            if kind == ON:
                self._port.send(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity))
            elif not self._sounding[channel, pitch]:  # another track of the channel may sound it still
                self._port.send(mido.Message("note_off", channel=channel, note=pitch))

    def _due(self, tick: int) -> float:
        return self._began + float(seconds_at(tuple(self._tempos), TICKS_PER_BEAT, np.array([tick]))[0])

    def _stand_still_if_late(self, tick: int) -> None:
        """What should have been at this tick is now, and all that follows as much later: nothing is hurried."""
        if (late := self._clock.now() - self._due(tick)) > LATE_SECONDS:
            self._began += late

    def _release(self) -> None:
        for channel, pitch in sorted(+self._sounding):
            self._port.send(mido.Message("note_off", channel=channel, note=pitch))
        for channel in sorted(self._programs):
            self._port.send(mido.Message("control_change", channel=channel, control=NOTES_OFF, value=0))
        self._sounding.clear()


class Live:
    """Hears the bars of one song in any thread, and plays them in its own."""

    def __init__(self, port: Any, clock: Clock):
        self._port, self._clock = port, clock
        self._order = Measures(None)
        self._measures: queue.SimpleQueue[Measure | None] = queue.SimpleQueue()  # None: that was the last
        self._error: Exception | None = None
        self._over = threading.Event()  # of a thread whose join was interrupted Python says that it is not alive
        threading.Thread(target=self._play, name="live", daemon=True).start()

    def expect(self, task: Task) -> None:
        """What comes is known so far: prints when it will be heard. Raises InputError where it cannot be played."""
        if task.parts and len(task.parts.parts) > 1:
            raise InputError(
                f"--port plays bars in the order of a song, and this one is written in {len(task.parts.parts)} parts: "
                f"the model sees no more at once (--max-length {task.config.max_length}); -o FILE alone writes it"
            )
        tracks = tracks_of(task)
        self._order = Measures(tracks)
        when = "when the song is written: name the --instruments to hear the last one as it is written"
        if tracks:
            when = f"when the last track, {instruments.name(tracks.programs[tracks.last])}, is being written"
            if tracks.first_measure:  # given ones
                when = f"bars 1-{tracks.first_measure} at once, the others {when}"
        print(f"{self._port.name}: plays {when}", flush=True)

    def hear(self, bar: Bar) -> None:
        """Raises InputError where the port does not play any more."""
        self._refuse_if_broken()
        for measure in self._order.push(bar):
            self._measures.put(measure)

    def end(self) -> None:
        """The song is written. Raises InputError."""
        for measure in self._order.rest():
            self._measures.put(measure)
        self._measures.put(None)

    def wait(self) -> None:
        """Until all of it is played. Raises InputError."""
        while not self._over.wait(1):  # Ctrl-C is heard on every system where a wait has an end
            pass
        self._refuse_if_broken()

    def close(self) -> None:
        """Stops at once; notes that sound are released."""
        self._clock.stop()
        self._measures.put(None)
        self._over.wait(CLOSE_SECONDS)

    def _play(self) -> None:
        try:
            with closing(self._port):
                Player(self._port, self._clock).play(iter(self._measures.get, None))
        except Stopped:
            pass
        except Exception as error:  # raised where the bars come from
            self._error = error
        finally:
            self._over.set()

    def _refuse_if_broken(self) -> None:
        if isinstance(self._error, OSError):
            raise InputError(f"--port {self._port.name}: cannot be played on any more ({self._error})")
        if self._error is not None:
            raise self._error


@contextmanager
def playing(name: str) -> Iterator["Live"]:
    """What plays on the port of this name, or part of one. At the end, whatever ends it, notes that sound are released
    and the port is closed. Raises InputError that lists the ports.
    """
    live = Live(ports.opened(name), Clock())
    try:
        yield live
    finally:
        live.close()
