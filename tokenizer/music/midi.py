"""MIDI files to and from Score. What a file means where the standard leaves it open is decided here.

- A track of the score is what one MIDI track plays on one channel of one port with one program, or as drums;
  devices.py says which.
- Notes of one pitch close in the order they opened, or where a controller ends all notes of their channel; a note never
  closed ends with its MIDI track; note-offs without a note are ignored. With pedal "extend", notes whose keys are let
  go while the sustain pedal is down ring until it lifts, their pitch is struck again or all sound is cut.
- What is damaged is read as far as players read it (midi_events.py, chunks.py), and each repair is told.
- Type 2 files: their patterns are played one after another.
- SMPTE time is read as 120 beats a minute (119.88 for 29.97 frames a second), so that seconds stay exact.
- At one tick the last tempo and the last signature win. Impossible ones (numerator 0, tempo 0) are ignored.
"""

import io
import os
import stat
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mido
import numpy as np

from configs import PEDAL, InputError, Pedal
from tokenizer.disk.atomic import atomic
from tokenizer.music import channels, chunks, instruments, midi_events, sustain
from tokenizer.music.channels import Place
from tokenizer.music.chunks import Header, MidiDamage
from tokenizer.music.devices import DRUM_CHANNEL, Channel, Key
from tokenizer.music.midi_events import Heard
from tokenizer.music.score import DRUMS, Score, Signature, Tempo, Track

DEFAULT_TEMPO = 500_000  # microseconds per beat
# Limits on the work that a file may cause, which alone bound its time and memory: a clock would make another dataset on
# another machine. Events are of all tracks: v1.2.1 took up to 100 000 notes, which are 200 000 events, and controllers
# may be as many again.
MOST_EVENTS = 500_000
LARGEST_FILE = 16 << 20  # bytes; 32 for each of so many events
MOST_PARTS = 1000  # a MIDI track playing on a channel is one: sixty devices of 16 channels
MOST_REPAIRS = 20  # that are told one by one
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
    words. partly_read: how many tracks there are of which the rest is lost. pedalled: how many notes last longer than
    their keys were held, by the sustain pedal.
    """

    score: Score
    repairs: tuple[str, ...]
    partly_read: int
    pedalled: int


def read(path: str | os.PathLike, pedal: Pedal = PEDAL) -> Score:
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
        return _parse(raw, pedal)
    except MidiDamage as error:
        raise MidiError(f"{path}: {error}") from error


def _parse(raw: bytes, pedal: Pedal) -> Reading:
    repairs: list[str] = []
    header, heard = _listen(raw, repairs)
    ticks_per_beat, _, smpte_tempo = _division(header.division)
    parts = _parts(heard)
    pedalled = _ring(heard, parts) if pedal == "extend" else 0
    tempos = {0: smpte_tempo} if smpte_tempo else {0: DEFAULT_TEMPO} | heard.tempos
    score = Score(
        ticks_per_beat,
        tuple(Track(sound, part.notes[chosen]) for part, sound, chosen in _score_tracks(parts)),
        tuple(Tempo(tick, tempos[tick]) for tick in _changed(tempos)),
        tuple(Signature(tick, *signature) for tick, signature in sorted(({0: (4, 4)} | heard.signatures).items())),
    )
    if len(repairs) > MOST_REPAIRS:
        repairs[MOST_REPAIRS:] = [f"and {len(repairs) - MOST_REPAIRS} more"]
    return Reading(score, tuple(repairs), heard.partly_read, pedalled)


def _listen(raw: bytes, repairs: list[str]) -> tuple[Header, Heard]:
    """Adds to `repairs` what was wrong. Raises MidiDamage."""
    if not raw:
        raise MidiDamage("the file is empty")
    if len(raw) > LARGEST_FILE:
        raise MidiDamage(f"more than {LARGEST_FILE >> 20} MB, which no song needs")
    if raw[:4] == b"PK\3\4" or raw[:2] == b"\x1f\x8b":
        raise MidiDamage("a compressed archive; unpack it first")
    header = chunks.header(raw, repairs)
    _, scale, _ = _division(header.division)
    told_of_tracks: list[str] = []
    heard = midi_events.listen(raw, header.start, scale, MOST_EVENTS, header.kind == 2, told_of_tracks)
    if not heard.track_ends:
        raise MidiDamage("it ends before its first track (truncated)" if header.tracks else "no track is in it")
    if counted := chunks.count_repair(header.tracks, len(heard.track_ends)):
        repairs.append(counted)
    if header.kind == 0 and len(heard.track_ends) > 1:
        repairs.append(f"MIDI type 0 has one track, {len(heard.track_ends)} are there; all are read")
    repairs += told_of_tracks
    if len(heard.strikes) > MOST_PARTS:
        raise MidiDamage(f"{len(heard.strikes)} tracks that play, more than {MOST_PARTS}; the file is damaged")
    if heard.last_tick > LAST_TICK:
        raise MidiDamage(f"an event lies at tick {heard.last_tick}; the file is damaged")
    if repairs and not heard.strikes:
        raise MidiDamage(f"no note can be read: {repairs[0]}")
    if heard.impossible:
        repairs.append(f"impossible tempi or meters, ignored: {heard.impossible}")
    return header, heard


def _division(division: int) -> tuple[int, int, int | None]:
    """Ticks per beat, what to multiply ticks by, and the fixed tempo where the file counts time in SMPTE frames."""
    if division > 0:
        return division, 1, None
    frames, ticks_per_frame = -(division >> 8), division & 0xFF
    if ticks_per_frame == 0 or frames not in (24, 25, 29, 30):
        raise MidiDamage(f"time division {division} is impossible")
    if frames == 29:  # 30000 / 1001 frames a second
        return 30 * ticks_per_frame, 2, 500_500
    return frames * ticks_per_frame, 2, 500_000


@dataclass
class _Part:
    """What a track plays on a channel. begins, releases: see sustain.close. sounds: int[N], the program of each note,
    or DRUMS.
    """

    track: int
    key: Key
    notes: np.ndarray
    begins: np.ndarray
    releases: np.ndarray
    sounds: np.ndarray


def _parts(heard: Heard) -> list[_Part]:
    playing = defaultdict(set)
    for track, key in heard.strikes:
        playing[key].add(track)
    channels_of = {
        key: Channel(key, heard.events.get(key, ()), heard.resets.get(key[0], ()), tracks)
        for key, tracks in playing.items()
    }
    silent = {key: sustain.silences(heard.events.get(key, ())) for key in playing}
    parts = []
    for (track, key), strikes in heard.strikes.items():
        notes, places, releases = sustain.close(strikes, silent[key], heard.track_ends[track])
        sounds = channels_of[key].sounds(track, notes["onset_ticks"], places)
        parts.append(_Part(track, key, notes, places, releases, sounds))
    return parts


def _ring(heard: Heard, parts: list[_Part]) -> int:
    """Lengthens the notes that the sustain pedal holds, drums left out; returns how many."""
    of_key = defaultdict(list)
    for part in parts:
        of_key[part.key].append(part)
    count = 0
    for key, sharing in of_key.items():
        held = sustain.Pedal.of(heard.events.get(key, ()), heard.resets.get(key[0], ()), heard.last_tick)
        if not len(held.downs):
            continue
        notes = np.concatenate([part.notes for part in sharing])
        sounds = np.concatenate([part.sounds for part in sharing])
        tracks = np.repeat([part.track for part in sharing], [len(part.notes) for part in sharing])
        until = held.ring(notes, tracks, np.concatenate([part.releases for part in sharing]))
        longer = (until > notes["onset_ticks"] + notes["duration_ticks"]) & (sounds != DRUMS)
        count += int(longer.sum())
        notes["duration_ticks"][longer] = (until - notes["onset_ticks"])[longer]
        begins = np.cumsum([len(part.notes) for part in sharing])[:-1]
        for part, its_notes in zip(sharing, np.split(notes, begins), strict=True):
            part.notes = its_notes
    return count


def _score_tracks(parts: list[_Part]) -> Iterator[tuple[_Part, int, np.ndarray]]:
    """Of each track of the score the part that plays it, its program, and int[N] which of the part's notes it has."""
    for part in parts:
        for sound in dict.fromkeys(part.sounds.tolist()):  # in order of first use
            chosen = np.flatnonzero(part.sounds == sound)
            notes = part.notes[chosen]
            yield part, sound, chosen[np.lexsort((notes["pitch"], notes["onset_ticks"]))]


def _changed(tempos: dict[int, int]) -> list[int]:
    """Ticks at which the tempo differs from the one before."""
    ticks = sorted(tempos)
    return [
        tick
        for before, tick in zip([None, *ticks], ticks, strict=False)
        if before is None or tempos[before] != tempos[tick]
    ]


# ---------------------------------------------------------------- where it stands


class Source(NamedTuple):
    """Where the notes of a track of the score stand in the file. track: of the file, from 0. begins, releases: int[N],
    of each note which of the part's strikes they are (see Heard), -1 of a note that something else ended. ends:
    int64[N] ticks at which their keys are let go, or what else ended them.
    """

    track: int
    key: Key
    program: int
    begins: np.ndarray
    releases: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class InFile:
    """What stands where in a file. scale: ticks of the score in one of the file. sources: of each track of the score
    that `parse` gives.
    """

    header: Header
    scale: int
    heard: Heard
    sources: tuple[Source, ...]


def in_file(raw: bytes) -> InFile:
    """Of the content of a file that `parse` reads."""
    header, heard = _listen(raw, [])
    sources = []
    for part, program, chosen in _score_tracks(_parts(heard)):
        ends = part.notes["onset_ticks"] + part.notes["duration_ticks"]
        which = (part.begins[chosen], part.releases[chosen], ends[chosen])
        sources.append(Source(part.track, part.key, program, *which))
    return InFile(header, _division(header.division)[1], heard, tuple(sources))


# ---------------------------------------------------------------- writing


def write(score: Score, path: str | os.PathLike) -> str | None:
    """A type 1 file: a conductor track, then a MIDI track per track of the score; in a RIFF wrapper where the path ends
    in .rmi. Appears whole or not at all.

    read(path) == score again if every track has notes, sorted by (onset, pitch), none overlapping another of its pitch.
    More than 15 melodic programs share channels: program changes before the notes keep every note's sound, and ports
    keep instruments apart that would cut each other's notes. Returns what a player may lose all the same, or None.
    Raises MidiError where MIDI cannot say the score, and WriteError.
    """
    content, notice = to_bytes(score, path)
    write_bytes(content, Path(path))
    return notice


def write_bytes(content: bytes, path: Path) -> None:
    """The bytes of a MIDI file, in a RIFF wrapper where the path ends in .rmi, whole or not at all. Raises
    WriteError.
    """
    with atomic(path) as temporary:
        temporary.write_bytes(_in_riff(content) if path.suffix.lower() == ".rmi" else content)


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
