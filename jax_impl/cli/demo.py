"""What can be done with a model, as four songs of the one that comes with this program, each after the command that
writes it.

    fresh.mid           a new song
    continued.mid       a given one (given.mid, where no file is named), whose first bars are kept and which goes on
    accompanied.mid     its melody (melody.mid), with drums and bass
    filled.mid          the given song, some bars of the melody written anew
"""

import dataclasses
import shlex
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs import ALIGN, PEDAL, Constraints, InputError, SampleConfig, presets
from jax_impl.cli.demo_folder import claimed, write_score
from jax_impl.sampling import asked, outputs, sound
from jax_impl.sampling.compose import Request, write_songs
from jax_impl.sampling.outputs import Formats
from tokenizer.dataset.find import find_midi
from tokenizer.grid.song import GridSong
from tokenizer.music import instruments
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS, Score
from tokenizer.tokens.given import Given, given_song, window

FRESH, CONTINUED, ACCOMPANIED, FILLED = SONGS = "fresh.mid", "continued.mid", "accompanied.mid", "filled.mid"
GIVEN, MELODY = "given.mid", "melody.mid"
SAMPLER = SampleConfig()  # as `generate` has it, so that its commands need not say it


class Song(NamedTuple):
    """path: its MIDI file. what: in words. given: a MIDI file, or None."""

    path: Path
    what: str
    given: Path | None
    wanted: Constraints


def demo(midi: Path | None, out: Path, overwrite: bool, wav: bool) -> int:
    """Makes the folder `out` with the songs. midi: the given song, or a folder with it. Returns the exit status. Raises
    InputError.
    """
    began = time.monotonic()
    formats = Formats(picture=True, soundfont=sound.find_soundfont() if wav else None)
    score = compose(presets.DEMO_GIVEN)
    file, given = (out / GIVEN, _on_grid(score)) if midi is None else _read(midi)
    songs = planned(file, given, out)
    with claimed(out, overwrite):
        for song in songs:
            outputs.refuse_to_replace_any(song.path, formats, [file], overwrite)
        if midi is None:
            write_score(score, file, None, overwrite)
        if tune := melody(given):
            write_score(tune, out / MELODY, file, overwrite)
        for song in songs:
            print(f"\n{song.what}:\n  {command(song, wav)}")
            write_songs(Request(None, SAMPLER, song.wanted, song.given), song.path, formats, overwrite)
    _tell(out, songs, wav, time.monotonic() - began)
    return 0


def _tell(out: Path, songs: list[Song], wav: bool, seconds: float) -> None:
    """What there is, what is not and why, and what to do next."""
    others = ".png and .wav" if wav else ".png"
    print(f"\n{out}: {', '.join(song.path.name for song in songs)}, with {others} beside them, after {seconds:.0f} s")
    if missing := [name for name in SONGS if name not in {song.path.name for song in songs}]:
        print(f"{' and '.join(missing)} left out: the given song has drums alone")
    print(
        "next: any of these commands with other words, such as --seed 1 (hid-museformer generate --help);\n"
        "      hid-museformer finetune YOUR_SONGS --output-dir mine tunes the model to songs of your own;\n"
        "      hid-museformer demo --train trains one from nothing in minutes"
    )


def command(song: Song, wav: bool) -> str:
    """What writes the same song."""
    words = ["hid-museformer", "generate", "-o", str(song.path)]
    if song.given:
        flag = "--accompany" if song.wanted.add else "--song" if song.wanted.fill else "--continue"
        words += [flag, str(song.given)]
    for field in dataclasses.fields(song.wanted):
        if (value := getattr(song.wanted, field.name)) != field.default:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
    return shlex.join([*words, *(["--wav"] if wav else [])])


# ---------------------------------------------------------------- the given song


def _on_grid(song: Score | Path) -> Given:
    """Raises InputError where it cannot be read, or has no notes."""
    prompt, _ = asked.given(song, PEDAL, ALIGN)  # what there is to be told, writing tells
    return given_song(prompt, Constraints())


def _read(midi: Path) -> tuple[Path, Given]:
    """A file, or the first of a folder that can be read. Raises InputError."""
    if not midi.exists():
        raise InputError(f"--midi {midi}: no such file or folder")
    if not midi.is_dir():
        return midi, _on_grid(midi)
    files, _ = find_midi([midi])
    for _, file in files:
        try:
            return Path(file), _on_grid(Path(file))
        except InputError as error:
            print(f"notice: {error}; passed over")
    raise InputError(f"--midi {midi}: {'none of its MIDI files can be read' if files else 'no MIDI files in it'}")


def planned(file: Path, given: Given, out: Path) -> list[Song]:
    """The songs that can be made of a given one. Bars before its first note count as kept."""
    measures = [given.song.bars.measure[track.notes["bar"]] for track in given.song.tracks]
    kept = max(min(presets.DEMO_KEPT, given.measures), min(int(of_track[0]) for of_track in measures) + 1)
    bars = max(presets.DEMO_BARS, kept + presets.DEMO_BARS - presets.DEMO_KEPT)
    songs = [
        Song(out / FRESH, "a new song", None, presets.DEMO_SONG),
        Song(
            out / CONTINUED,
            f"{file.name}, of which {_bars(1, kept)} {'is' if kept == 1 else 'are'} kept and the model goes on",
            file,
            Constraints(keep_bars=kept, bars=bars),
        ),
    ]
    if (begin := _first_pitched(given.song)) is None:
        return songs
    first, last = _anew(given.song, begin)
    number = _leading(given.song, first - 1, last - 1)
    track = instruments.name(given.song.tracks[number].program)
    return [
        *songs,
        Song(
            out / ACCOMPANIED,
            f"the melody of {file.name} alone, with {presets.DEMO_BAND.replace(',', ' and ')}",
            out / MELODY,
            Constraints(add=presets.DEMO_BAND),
        ),
        Song(
            out / FILLED,
            f"{file.name}, with {_bars(first, last)} of track {number + 1}, {track}, written anew",
            file,
            Constraints(fill=f"#{number + 1}:{first}-{last}"),
        ),
    ]


def _bars(first: int, last: int) -> str:
    return f"bar {first}" if first == last else f"bars {first}-{last}"


def melody(given: Given) -> Score | None:
    """The leading track of the first bars in which one is pitched, alone; None where none is."""
    begin = _first_pitched(given.song)
    if begin is None:
        return None
    song = window(given, begin, min(presets.DEMO_BARS, given.measures - begin)).song
    track = song.tracks[_leading(song, 0, song.bars.n_measures - 1)]
    return GridSong(song.bars, song.tempo, (track,)).to_score()


def _anew(song: GridSong, begin: int) -> tuple[int, int]:
    """First and last of the bars that are written anew: the usual ones, of a shorter song its last; where nothing
    pitched is there, those from measure `begin` on, where something is. They count from 1.
    """
    first, last = presets.DEMO_ANEW
    length = last - first + 1
    last = min(last, song.bars.n_measures)
    first = max(1, last - length + 1)
    if not any(len(notes) for notes in _pitched(song, first - 1, last - 1).values()):
        first, last = begin + 1, min(begin + length, song.bars.n_measures)
    return first, last


def _first_pitched(song: GridSong) -> int | None:
    """Number of the first measure in which a track that is no drums begins a note."""
    begins = [song.bars.measure[track.notes["bar"][0]] for track in song.tracks if track.program != DRUMS]
    return int(min(begins)) if begins else None


def _leading(song: GridSong, first: int, last: int) -> int:
    """Number of the track that leads in these measures: the highest of the pitched ones that have half as many notes
    there as the busiest, or more.
    """
    pitched = _pitched(song, first, last)
    most = max(len(notes) for notes in pitched.values())
    busy = {number: notes for number, notes in pitched.items() if len(notes) and 2 * len(notes) >= most}
    return max(busy, key=lambda number: float(busy[number]["pitch"].mean()))


def _pitched(song: GridSong, first: int, last: int) -> dict[int, np.ndarray]:
    """By number, the notes that tracks which are no drums have in these measures, counted from 0."""
    found = {}
    for number, track in enumerate(song.tracks):
        measure = song.bars.measure[track.notes["bar"]]
        if track.program != DRUMS:
            found[number] = track.notes[(first <= measure) & (measure <= last)]
    return found
