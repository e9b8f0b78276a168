"""The sound of a stretch of a song: what the page plays, a few seconds at a time, so that it begins at once.

    notes that begin in the stretch     |==*====*=========*==|~~~~~~~~   and all that they ring on behind it
    the next piece                                            |*====*===   is added to that

So pieces that are laid over each other at their times are the song, wherever it is cut.
"""

import importlib.util
import io
import os
import tempfile
import wave
from bisect import bisect_right
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np

from configs import PEDAL, InputError
from jax_impl.sampling import sound
from tokenizer.grid.tempo_map import seconds_at, ticks_at
from tokenizer.music import midi
from tokenizer.music.messages import NOTE_OFF, NOTE_ON, GivenFile, Message, SaidByTrack, file_of, messages_of, meta
from tokenizer.music.midi_events import SET_TEMPO
from tokenizer.music.score import Score

EXPRESSION = 90  # for all pieces the same, so that none is louder than the next; of 127 half the power
LONGEST_RING = 60.0  # seconds behind a piece after which what still sounds is let go
KEPT = 4  # songs whose messages are at hand


def piece(song: bytes, begin: float, end: float, soundfont: Path) -> bytes:
    """A .wav file, stereo, 16 bit: of a MIDI file the notes that begin from `begin` to before `end`, in seconds, with
    what they ring on. Its first frame is the moment `begin`. Raises InputError.
    """
    if not 0 <= begin < end:
        raise InputError(f"a piece from {begin} to {end} seconds: the one must be before the other")
    score, scale, division, said = _messages(song)
    (first, last), late = _not_before(score, np.array([begin, end]))
    ends = _last_end(score, first, last)
    behind = int(ticks_at(score.tempos, score.ticks_per_beat, np.array([end + LONGEST_RING]))[0])
    stop = min(max(ends, last), behind)
    content = _content(score, scale, division, said, (first, last, stop))
    frames, rate = _frames(content, soundfont)
    frames = np.concatenate([np.zeros((round(late * rate), 2), np.int16), frames])
    return _wav(frames, rate, ceil((end - begin) * rate) if ends else 1)


def find_soundfont() -> Path:
    """What pieces are played with: as for whole songs, but by midirenderer where it is installed, which is at hand at
    once, and then with the SoundFont of the extra `sound`. Raises InputError.
    """
    font = sound.packaged()
    return font if font and _has_midirenderer() and not os.environ.get("SOUNDFONT") else sound.find_soundfont()


def _has_midirenderer() -> bool:
    return importlib.util.find_spec("midirenderer") is not None


def _frames(content: bytes, soundfont: Path) -> tuple[np.ndarray, int]:
    """int16[N, 2] of a MIDI file, and their rate."""
    if _has_midirenderer():
        return sound.rendered(content, soundfont), sound.RENDERED_RATE
    with tempfile.TemporaryDirectory() as folder:
        sound.play(content, path := Path(folder, "piece.wav"), soundfont)
        with wave.open(str(path)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2), file.getframerate()


def _not_before(score: Score, seconds: np.ndarray) -> tuple[list[int], float]:
    """The first ticks that are not before these times, and how many seconds the first of them comes after its time."""
    ticks = ticks_at(score.tempos, score.ticks_per_beat, seconds)
    ticks += seconds_at(score.tempos, score.ticks_per_beat, ticks) < seconds
    late = seconds_at(score.tempos, score.ticks_per_beat, ticks[:1])[0] - seconds[0]
    return ticks.tolist(), float(late)


@lru_cache(maxsize=KEPT)
def _messages(song: bytes) -> tuple[Score, int, int, list[SaidByTrack]]:
    """What is read of a file, ticks of that in one of the file, ticks a beat, and all that the file says."""
    score, there = midi.parse(song, "the song", PEDAL).score, GivenFile(song).there
    return score, there.scale, score.ticks_per_beat, messages_of(song, there)


def _last_end(score: Score, first: int, last: int) -> int:
    """The tick at which the last of the notes ends that begin from tick `first` to before `last`; 0: there is none."""
    ends = [0]
    for track in score.tracks:
        onset = track.notes["onset_ticks"]
        inside = track.notes[(onset >= first) & (onset < last)]
        ends.append(int((inside["onset_ticks"] + inside["duration_ticks"]).max(initial=0)))
    return max(ends)


def _content(score: Score, scale: int, division: int, said: list[SaidByTrack], stretch: tuple[int, int, int]) -> bytes:
    """The MIDI file of a stretch: what was said to channels before it at its start, in order, then its own notes."""
    first, last, stop = stretch
    settings, notes = [], []
    for track in said:
        for message in track.messages:
            if message.key is None:
                continue
            tick = scale * message.tick
            if not _strikes(message):
                settings += [(tick, data) for data in sound.quieter(message.data, EXPRESSION) if tick <= stop]
            elif first <= tick < last or (first <= tick <= stop and not _begins(message)):
                notes.append((tick, not _begins(message), message.data))
    settings.sort(key=lambda row: row[0])
    notes.sort(key=lambda row: row[:2])
    shift = lambda rows: [(max(row[0] - first, 0), row[-1]) for row in rows]
    end = stop - first
    let_go = [*sound.of_all_channels(end, sound.PEDAL_DOWN, 0), *sound.of_all_channels(end, sound.NOTES_OFF, 0)]
    tempo = score.tempos[bisect_right([tempo.tick for tempo in score.tempos], stop) - 1]
    behind = end + ceil(sound.TAIL * 1e6 * score.ticks_per_beat / tempo.microseconds_per_beat)
    begun = sound.of_all_channels(0, sound.EXPRESSION, EXPRESSION)
    tracks = [(_tempos(score, first, stop), end), (begun + shift(settings), end), (shift(notes), end), (let_go, behind)]
    return file_of(1, division, tracks)


def _tempos(score: Score, first: int, stop: int) -> list[tuple[int, bytes]]:
    before = bisect_right([tempo.tick for tempo in score.tempos], first) - 1
    return [
        (max(tempo.tick - first, 0), meta(SET_TEMPO, tempo.microseconds_per_beat.to_bytes(3, "big")))
        for tempo in score.tempos[before:]
        if tempo.tick <= stop
    ]


def _strikes(message: Message) -> bool:
    return message.kind in (NOTE_ON, NOTE_OFF)


def _begins(message: Message) -> bool:
    return message.kind == NOTE_ON and message.data[2] > 0


def _wav(frames: np.ndarray, rate: int, least: int) -> bytes:
    """A file of frames int16[N, 2], without the silence at its end but for so many frames at least."""
    audible = np.flatnonzero((np.abs(frames) > sound.QUIET).any(axis=1))
    length = max(int(audible.max(initial=-1)) + 1, min(least, len(frames)))
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((2, 2, rate, 0, "NONE", ""))
        file.writeframes(frames[:length].tobytes())
    return out.getvalue()
