"""Vary: what is written is near to what was there, by its chords, its range of pitches and how dense it is. Each holds
where the user says nothing else.
"""

import math
from collections import defaultdict
from dataclasses import replace

import numpy as np

from configs import Constraints
from jax_impl.page.requests import Write
from tokenizer.music.score import DRUMS
from tokenizer.tokens.chord_names import NO_CHORD

FEWER, MORE = 0.7, 1.3  # of the strikes in a bar
BEYOND = 2  # semitones that it may go beyond the range


def near_to(request: Write, wanted: Constraints) -> Constraints:
    """What is wanted, with what the selected bars have."""
    found = {"chords": _chords(request), "density": _density(request), "pitches": _pitches(request)}
    said = {name: text for name, text in found.items() if text and not getattr(wanted, name)}
    if said.get("chords"):
        said["chord_notes"] = "free"  # what is played over them is the model's
    return replace(wanted, **said)


def _chords(request: Write) -> str:
    """Of each measure the first, as lead sheets spell them."""
    names = [bar.chord.split()[0] for bar in request.song.bars[request.first - 1 : request.last]]
    if all(name.upper() in NO_CHORD for name in names):
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
