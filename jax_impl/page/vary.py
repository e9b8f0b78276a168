"""Vary: about half of the selected bars stay as they are, other ones in each alternative; the others are written anew,
near to what was there, by its chords, its range of pitches and how dense it is. Each holds where the user says nothing
else.

    bars   5 6 7 8        A   5 _ 7 _        B   _ 6 _ 8        C   _ 6 7 _
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from configs import Constraints
from jax_impl.page.requests import Write
from jax_impl.page.song import Song
from tokenizer.music.score import DRUMS
from tokenizer.tokens import chord_names

FEWER, MORE = 0.7, 1.3  # of the strikes in a bar
MOST_STRETCHES = 8  # in which the selected bars are counted
OF_FOUR = ((1, 3), (0, 2), (0, 3))  # of four stretches which are written anew, in each alternative
BEYOND = 2  # semitones that it may go beyond the range


def anew(request: Write, alternative: int) -> list[tuple[int, int]]:
    """The first and the last bar, from 1, of each stretch that is written anew in one of the alternatives."""
    bars = request.last - request.first + 1
    size = -(-bars // MOST_STRETCHES)
    firsts = range(request.first, request.last + 1, size)
    if len(firsts) == 1:
        return [(request.first, request.last)]
    chosen = [first for number, first in enumerate(firsts) if number % 4 in OF_FOUR[alternative]]
    return [(first, min(first + size - 1, request.last)) for first in chosen]


def part(request: Write, song: Song, first: int, last: int) -> Write:
    """The same request for a stretch of its bars, of the song as it is by then."""
    chords = request.wanted.chords
    if chords:
        asked: list[str] = []
        for word in chord_names.words(chords):
            asked.append(asked[-1] if word == chord_names.AGAIN and asked else word)
        chords = " ".join(asked[(bar - request.first) % len(asked)] for bar in range(first, last + 1))
    return replace(request, song=song, first=first, last=last, wanted=replace(request.wanted, chords=chords))


def near_to(request: Write, wanted: Constraints) -> Iterator[Constraints]:
    """What is wanted, with what the selected bars have; then with ever less of that, for what some bars have need not
    be possible in all, short ones among them.
    """
    found = {"chords": _chords(request), "pitches": _pitches(request), "density": _density(request)}
    said = {name: text for name, text in found.items() if text and not getattr(wanted, name)}
    if said.get("chords"):
        said["chord_notes"] = "free"  # what is played over them is the model's
    for name in ("", "density", "pitches", "chords"):
        said.pop(name, None)
        yield replace(wanted, **said)


def _chords(request: Write) -> str:
    """Of each measure the first, as lead sheets spell them."""
    names = [bar.chord.split()[0] for bar in request.song.bars[request.first - 1 : request.last]]
    if all(name.upper() in chord_names.NO_CHORD for name in names):
        return ""
    return " ".join(names)


def _selected(request: Write) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """By program, of each of its tracks that are selected the notes there as they were read, and their measures."""
    found = defaultdict(list)
    for track in request.tracks:
        measure, notes = request.song.measure_of(track), request.song.own.score.tracks[track].notes
        inside = (measure >= request.first - 1) & (measure < request.last)
        found[request.song.own.score.tracks[track].program].append((notes[inside], measure[inside]))
    return found


def _density(request: Write) -> str:
    words, bars = [], request.last - request.first + 1
    for program, tracks in _selected(request).items():
        strikes = np.concatenate([_strikes(*track, request.first - 1, bars) for track in tracks])
        if strikes.any():
            name = "drums" if program == DRUMS else program
            words.append(f"{name}:{math.floor(FEWER * strikes.min())}-{math.ceil(MORE * strikes.max())}")
    return ",".join(words)


def _strikes(notes: np.ndarray, measure: np.ndarray, first: int, bars: int) -> np.ndarray:
    """int64[bars]: at how many different times notes begin in each."""
    at = np.unique(np.stack([measure, notes["onset_ticks"]]), axis=1)[0]
    return np.bincount(at - first, minlength=bars)


def _pitches(request: Write) -> str:
    words = []
    for program, tracks in _selected(request).items():
        pitches = np.concatenate([notes["pitch"] for notes, _ in tracks])
        if program != DRUMS and len(pitches):
            words.append(f"{program}:{max(pitches.min() - BEYOND, 0)}-{min(pitches.max() + BEYOND, 127)}")
    return ",".join(words)
