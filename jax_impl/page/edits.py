"""What a user changes in a song without the model: a track taken out, one on another instrument, each track by itself.
The file stays what it is in all else.
"""

import io
import re
import zipfile
from collections.abc import Collection

import numpy as np

from jax_impl.page.song import Refused, Song
from tokenizer.music import instruments
from tokenizer.music.devices import BANK
from tokenizer.music.edited import Edit, edited
from tokenizer.music.messages import CONTROLLER, PROGRAM_CHANGE, TRACK_NAME, Message, file_of, messages_of, meta
from tokenizer.music.midi_events import META
from tokenizer.music.score import DRUMS, Track
from tokenizer.music.sounds import FINE_BANK

LONGEST_NAME = 60  # characters of a file's name


def without(song: Song, tracks: Collection[int]) -> bytes:
    """The song's file without the notes of these tracks. Raises Refused where none would be left."""
    _check(song, tracks)
    if len(set(tracks)) == len(song.ids):
        raise Refused("a song has at least one track: this would take out all of them")
    return edited(song.file, Edit(_chosen(song, tracks)), song.own.read)[0]


def with_program(song: Song, track: int, program: int) -> bytes:
    """The song's file with a track on another instrument: a program 0-127, or 128 for drums. Where its channel is its
    own the channel's programs are others then, else its notes go to a channel that is free. Raises Refused.
    """
    _check(song, [track])
    if not 0 <= program <= DRUMS:
        raise Refused(f"program {program}: 0 to 127, or {DRUMS} for drums")
    old = song.own.score.tracks[track].program
    if program == old:
        return song.raw
    if DRUMS not in (old, program):
        raw = _on_its_channel(song, track, program)
        if _sounds_so(raw, song, track, program):
            return raw
    read = song.own.notes[track].track
    moved = Track(program, song.own.read.tracks[read].notes)
    return edited(song.file, Edit(_chosen(song, [track]), ((None, moved),)), song.own.read)[0]


def one_by_one(song: Song, name: str) -> bytes:
    """A .zip file of one MIDI file for each track, named after the song and the instrument."""
    out, whole = io.BytesIO(), set(range(len(song.ids)))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, track in enumerate(song.own.score.tracks):
            content = edited(song.file, Edit(_chosen(song, whole - {number})), song.own.read)[0]
            stem = file_name(f"{name} {number + 1} {instruments.name(track.program)}")
            # A time that is always the same, so that the same song makes the same file
            archive.writestr(zipfile.ZipInfo(f"{stem}.mid"), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def file_name(text: str) -> str:
    """What of a text can stand in the name of a file on any system."""
    return re.sub(r"[^\w() +#.-]+", "_", text).strip(" .")[:LONGEST_NAME] or "song"


def _check(song: Song, tracks: Collection[int]) -> None:
    for track in tracks:
        if not 0 <= track < len(song.ids):
            raise Refused(f"track {track}: the song has {len(song.ids)}, counted from 0")


def _chosen(song: Song, tracks: Collection[int]) -> tuple[np.ndarray, ...]:
    """bool[N] of each track as it was read: all notes of those that are these tracks of the song."""
    read = {song.own.notes[track].track for track in tracks}
    return tuple(np.full(len(track.notes), number in read) for number, track in enumerate(song.own.read.tracks))


def _on_its_channel(song: Song, track: int, program: int) -> bytes:
    """The file with another program wherever one is said to the track's channel, and at the start."""
    there, source = song.file.there, song.file.there.sources[song.own.notes[track].track]
    tracks, begins = [], int(song.own.score.tracks[track].notes["onset_ticks"].min())
    files = messages_of(song.raw, there)
    of_key = [message for said in files for message in said.messages if message.key == source.key]
    is_said = any(each.kind == PROGRAM_CHANGE and each.tick * there.scale <= begins for each in of_key)
    for index, said in enumerate(files):
        rows = []
        for message in said.messages:
            if message.key == source.key and message.kind == PROGRAM_CHANGE:
                rows.append((message.tick, bytes([message.data[0], program])))
            elif not (message.key == source.key and _sets_bank(message)):
                rows.append((message.tick, _renamed(message, source.program, program)))
        if index == source.track and not is_said:
            at = next((n for n, (tick, data) in enumerate(rows) if tick or data[0] < META), len(rows))
            rows.insert(at, (0, bytes([PROGRAM_CHANGE | source.key[1], program])))
        tracks.append((rows, said.end))
    return file_of(there.header.kind, there.header.division, tracks)


def _sets_bank(message: Message) -> bool:
    return message.kind == CONTROLLER and message.data[1] in (BANK, FINE_BANK)


def _renamed(message: Message, old: int, new: int) -> bytes:
    """A track that is called as its instrument is, is called as the new one."""
    name = meta(TRACK_NAME, instruments.name(old).encode("ascii"))
    return meta(TRACK_NAME, instruments.name(new).encode("ascii")) if message.data == name else message.data


def _sounds_so(raw: bytes, before: Song, track: int, program: int) -> bool:
    """Whether a file is the song but for that program."""
    after = Song.of_file(raw, before.beats).own.read.tracks
    read = before.own.notes[track].track
    wanted = list(before.own.read.tracks)
    wanted[read] = Track(program, wanted[read].notes)
    return list(after) == wanted
