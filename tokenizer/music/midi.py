"""MIDI files to and from Score. What a file means where the standard leaves it open is decided here.

- A track of the score is what one MIDI track plays on one channel with one program. Channel 10 is drums. A MIDI track
  that changes programs itself uses its own changes alone, else those that any track makes on its channel.
- Notes of one pitch close in the order they opened; a note never closed ends with its MIDI track; note-offs without a
  note are ignored.
- Type 2 files: their patterns are played one after another.
- SMPTE time is read as 120 beats a minute (119.88 for 29.97 frames a second), so that seconds stay exact.
- At one tick the last tempo and the last signature win. Impossible ones (numerator 0, tempo 0) are ignored.
"""

import io
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np

from configs import InputError, Pedal
from tokenizer.disk.atomic import atomic
from tokenizer.music import channels, instruments, midi_events
from tokenizer.music.channels import DRUM_CHANNEL, Place
from tokenizer.music.midi_events import Heard
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track

DEFAULT_TEMPO = 500_000  # microseconds per beat
# Limits on the work that a file may cause, which alone bound its time and memory: a clock would make another dataset on
# another machine. Events are of all tracks: v1.2.1 took up to 100 000 notes, which are 200 000 events, and controllers
# may be as many again.
MOST_EVENTS = 500_000
LARGEST_FILE = 16 << 20  # bytes; 32 for each of so many events
MOST_PARTS = 1000  # a MIDI track playing on a channel is one: sixty devices of 16 channels
LAST_TICK = 1 << 40  # a time beyond this is damage, not music
LONGEST_DELTA = (1 << 28) - 1  # ticks from one event to the next, in four bytes; longer ones have empty texts between


class MidiError(InputError):
    """A file that cannot be read or written; the message names it and says why."""


class UnreadableFile(MidiError):
    """A file of which the system does not give the content."""


# ---------------------------------------------------------------- reading


@dataclass(frozen=True)
class Reading:
    """A score, and what became of the file on the way. repairs: what was wrong in it and is read all the same, each in
    words. pedalled: how many notes last longer than their keys were held, by the sustain pedal.
    """

    score: Score
    repairs: tuple[str, ...]
    pedalled: int


def read(path: str | os.PathLike, pedal: Pedal = "extend") -> Score:
    """The score of a MIDI file of any type. A file without notes gives a score without tracks. pedal: whether notes
    ring on under the sustain pedal. Raises MidiError.
    """
    return read_told(path, pedal).score


def read_told(path: str | os.PathLike, pedal: Pedal) -> Reading:
    """As read, with what a person should know of it."""
    return parse(load(path), path, pedal)


def load(path: str | os.PathLike) -> bytes:
    """The content of a file, not yet looked at. Raises UnreadableFile."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnreadableFile(f"{path}: cannot be read (not a file)")
        with open(path, "rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise UnreadableFile(f"{path}: cannot be read ({error.strerror})") from error
    return raw


def parse(raw: bytes, path: str | os.PathLike, pedal: Pedal) -> Reading:
    """Of a file's content; path: for the messages. Raises MidiError."""
    try:
        return Reading(_parse(raw), (), 0)
    except midi_events.MidiDamage as error:
        raise MidiError(f"{path}: {error}") from error


def _parse(raw: bytes) -> Score:
    if not raw:
        raise midi_events.MidiDamage("the file is empty")
    if len(raw) > LARGEST_FILE:
        raise midi_events.MidiDamage(f"more than {LARGEST_FILE >> 20} MB, which no song needs")
    if raw[:4] == b"PK\3\4" or raw[:2] == b"\x1f\x8b":
        raise midi_events.MidiDamage("a compressed archive; unpack it first")
    if raw[:4] == b"RIFF":  # a MIDI file in a RIFF wrapper
        raw = raw[max(raw.find(b"MThd", 0, 64), 0) :]
    kind, count, division, start = midi_events.header(raw)
    if kind not in (0, 1, 2):
        raise midi_events.MidiDamage(f"MIDI type {kind} does not exist")
    ticks_per_beat, scale, smpte_tempo = _division(division)
    heard = midi_events.listen(
        raw, midi_events.tracks_of(raw, count, start), scale, MOST_EVENTS, one_after_another=kind == 2
    )
    if len(heard.notes) > MOST_PARTS:
        raise midi_events.MidiDamage(
            f"{len(heard.notes)} tracks that play, more than {MOST_PARTS}; the file is damaged"
        )
    if heard.last_tick > LAST_TICK:
        raise midi_events.MidiDamage(f"an event lies at tick {heard.last_tick}; the file is damaged")
    tempos = {0: smpte_tempo} if smpte_tempo else {0: DEFAULT_TEMPO} | heard.tempos
    return Score(
        ticks_per_beat,
        tuple(_score_tracks(heard)),
        tuple(Tempo(tick, tempos[tick]) for tick in _changed(tempos)),
        tuple(Signature(tick, *signature) for tick, signature in sorted(({0: (4, 4)} | heard.signatures).items())),
    )


def _division(division: int) -> tuple[int, int, int | None]:
    """Ticks per beat, what to multiply ticks by, and the fixed tempo where the file counts time in SMPTE frames."""
    if division > 0:
        return division, 1, None
    frames, ticks_per_frame = -(division >> 8), division & 0xFF
    if ticks_per_frame == 0 or frames not in (24, 25, 29, 30):
        raise midi_events.MidiDamage(f"time division {division} is impossible")
    if frames == 29:  # 30000 / 1001 frames a second
        return 30 * ticks_per_frame, 2, 500_500
    return frames * ticks_per_frame, 2, 500_000


def _score_tracks(heard: Heard) -> list[Track]:
    tracks = []
    for (index, channel), rows in heard.notes.items():
        columns = np.array(rows, np.int64)
        notes = np.empty(len(rows), NOTE)
        for column, name in enumerate(NOTE.names):
            notes[name] = columns[:, column]
        programs = _programs(heard, index, channel, columns[:, 0], columns[:, 4])
        for program in dict.fromkeys(programs.tolist()):  # in order of first use
            of_program = notes[programs == program]
            tracks.append(Track(program, of_program[np.lexsort((of_program["pitch"], of_program["onset_ticks"]))]))
    return tracks


def _programs(heard: Heard, index: int, channel: int, ticks: np.ndarray, events: np.ndarray) -> np.ndarray:
    """int[N]: program in force at each note of a track's channel."""
    if channel == DRUM_CHANNEL:
        return np.full(len(ticks), DRUMS)
    own = heard.own_programs.get((index, channel))
    if own:
        changes, when = own, events
    else:
        changes, when = sorted(heard.programs.get(channel, []), key=lambda change: change[0]), ticks
    places = np.array([place for place, _ in changes], np.int64)
    programs = np.array([0, *(program for _, program in changes)])
    return programs[np.searchsorted(places, when, side="right")]


def _changed(tempos: dict[int, int]) -> list[int]:
    """Ticks at which the tempo differs from the one before."""
    ticks = sorted(tempos)
    return [
        tick
        for before, tick in zip([None, *ticks], ticks, strict=False)
        if before is None or tempos[before] != tempos[tick]
    ]


# ---------------------------------------------------------------- writing


def write(score: Score, path: str | os.PathLike) -> str | None:
    """A type 1 file: a conductor track, then a MIDI track per track of the score; in a RIFF wrapper where the path ends
    in .rmi. Appears whole or not at all.

    read(path) == score again if every track has notes, sorted by (onset, pitch), none overlapping another of its pitch.
    More than 15 melodic programs share channels: program changes before the notes keep every note's sound, and ports
    keep instruments apart that would cut each other's notes. Returns what a player may lose all the same, or None.
    Raises MidiError where MIDI cannot say the score, and WriteError.
    """
    path = Path(path)
    content, notice = to_bytes(score, path)
    with atomic(path) as temporary:
        temporary.write_bytes(_in_riff(content) if path.suffix.lower() == ".rmi" else content)
    return notice


def to_bytes(score: Score, path: str | os.PathLike) -> tuple[bytes, str | None]:
    """The bytes that `write` writes, without wrapper, and what it returns; path: for the messages. Raises MidiError."""
    _check_writable(score, path)
    midi = mido.MidiFile(type=1, ticks_per_beat=score.ticks_per_beat)
    midi.tracks.append(_conductor_track(score))
    places = channels.places(score)
    has_ports = any(place.port for place in places)
    for track, place, program_ticks in zip(score.tracks, places, channels.program_ticks(score, places), strict=True):
        midi.tracks.append(_midi_track(track, place, has_ports, program_ticks))
    content = io.BytesIO()
    midi.save(file=content)
    return content.getvalue(), channels.notice(score, places)


def _in_riff(content: bytes) -> bytes:
    """A MIDI file as a .rmi file: RIFF's length and type, then a chunk with the bytes, filled up to an even number."""
    chunk = b"data" + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(b"RMID" + chunk)) + b"RMID" + chunk


def _check_writable(score: Score, path: str | os.PathLike) -> None:
    if score.ticks_per_beat >= 1 << 15:
        raise MidiError(f"{path}: MIDI has 1 to 32767 ticks per beat, the score {score.ticks_per_beat}")
    for tempo in score.tempos:
        if tempo.microseconds_per_beat >= 1 << 24:
            raise MidiError(f"{path}: MIDI cannot say a tempo of {tempo.microseconds_per_beat} microseconds per beat")
    for signature in score.signatures:
        if signature.numerator > 255 or signature.denominator > 64:
            raise MidiError(f"{path}: MIDI cannot say the signature {signature.numerator}/{signature.denominator}")
    for change in (*score.tempos, *score.signatures):
        if change.tick > LAST_TICK:
            raise MidiError(f"{path}: {change}; {LAST_TICK} is the last tick that is written")
    for index, track in enumerate(score.tracks):
        if (latest := (track.notes["onset_ticks"] + track.notes["duration_ticks"]).max(initial=0)) > LAST_TICK:
            raise MidiError(f"{path}: track {index} has a note to tick {latest}; the last written is {LAST_TICK}")


def _conductor_track(score: Score) -> mido.MidiTrack:
    events = [(tempo.tick, mido.MetaMessage("set_tempo", tempo=tempo.microseconds_per_beat)) for tempo in score.tempos]
    for signature in score.signatures:
        message = mido.MetaMessage("time_signature", numerator=signature.numerator, denominator=signature.denominator)
        events.append((signature.tick, message))
    return _with_deltas(sorted(events, key=lambda event: event[0]))


def _midi_track(track: Track, place: Place, has_ports: bool, program_ticks: list[int]) -> mido.MidiTrack:
    """At one tick: ends of earlier notes, program, beginnings, ends of notes without duration."""
    events: list[tuple[int, int, mido.Message]] = []
    channel = place.channel
    if channel != DRUM_CHANNEL:
        events += [
            (tick, 1, mido.Message("program_change", channel=channel, program=track.program)) for tick in program_ticks
        ]
    for onset, duration, pitch, velocity in track.notes.tolist():  # checked already: mido's checks take half the time
        begin = mido.Message("note_on", skip_checks=True, channel=channel, note=pitch, velocity=velocity)
        end = mido.Message("note_off", skip_checks=True, channel=channel, note=pitch, velocity=0)
        events += [(onset, 2, begin), (onset + duration, 0 if duration else 3, end)]
    events.sort(key=lambda event: event[:2])
    midi_track = _with_deltas([(tick, message) for tick, _, message in events])
    midi_track.insert(0, mido.MetaMessage("track_name", name=instruments.name(track.program)))
    if has_ports:
        midi_track.insert(1, mido.MetaMessage("midi_port", port=place.port))
    return midi_track


def _with_deltas(events: list[tuple[int, mido.Message]]) -> mido.MidiTrack:
    track = mido.MidiTrack()
    now = 0
    for tick, message in events:
        while tick - now > LONGEST_DELTA:
            track.append(mido.MetaMessage("text", time=LONGEST_DELTA))
            now += LONGEST_DELTA
        message.time = tick - now
        track.append(message)
        now = tick
    return track
