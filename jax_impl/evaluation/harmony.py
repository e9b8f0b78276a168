"""Harmony of a song: how its chords go, as the tokens label them, and how its notes keep to a key.

A bar is what the tokens count: of a measure of more than sixteen sixteenths a part, which has a chord of its own. Times
in bars, such as four bars before, are whole measures. N, no chord, is no label that counts.
"""

import numpy as np

from jax_impl.evaluation.metrics import SCALES
from jax_impl.evaluation.notes import Notes
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.meter import Bars
from tokenizer.grid.song import GridSong

WINDOW = 16  # measures in which chords are counted
NO_CHORD = 0

# How well each pitch class, counted from the tonic, fits a major and a minor key: ratings by listeners (Krumhansl and
# Kessler 1982, Tracing the Dynamic Changes in Perceived Tonal Organization, Psychological Review 89; as
# printed in Krumhansl 1990, Cognitive Foundations of Musical Pitch, page 30).
PROFILES = (
    (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
)


def distinct_chords(bars: Bars, chords: np.ndarray) -> float | None:
    """Different chords in 16 measures: the median over the windows of 16 that follow each other from the song's start.
    What is left at its end does not count; None where that is all, or where there is no chord. chords: int32[bars].
    """
    windows = [chords[bars.measure // WINDOW == number] for number in range(bars.n_measures // WINDOW)]
    if not windows or not (chords != NO_CHORD).any():
        return None
    return float(np.median([len(np.unique(window[window != NO_CHORD])) for window in windows]))


def repeated_chords(bars: Bars, chords: np.ndarray, measures: int) -> float | None:
    """Of the bars with a chord and with one so many measures before (the same part of it) the share of those whose
    chord is that one's. chords: int32[bars].
    """
    first = np.flatnonzero(bars.part == 0)  # bar of each measure
    later = np.flatnonzero(bars.measure >= measures)
    earlier = first[bars.measure[later] - measures] + bars.part[later]
    is_there = bars.measure[earlier] == bars.measure[later] - measures  # that measure has as many parts
    later, earlier = later[is_there], earlier[is_there]
    counts = chords[later] != NO_CHORD
    return float((chords[later] == chords[earlier])[counts].mean()) if counts.any() else None


def heard_chords(song: GridSong, chords: np.ndarray) -> float | None:
    """Share of the bars whose label is what the chord finder hears in their notes (tokenizer/grid/chords.py); bars in
    which nothing is labelled and nothing pitched sounds do not count. Songs that the encoder wrote have 1 but for
    notes that a cut took. chords: int32[bars].
    """
    heard = bar_chords(song.to_score(), song.bars.start_ticks)
    counts = (heard != NO_CHORD) | (chords != NO_CHORD)
    return float((heard == chords)[counts].mean()) if counts.any() else None


def key_of(notes: Notes) -> int | None:
    """The key, 0 to 11 C major to B major, 12 to 23 C minor to B minor: of the 24 the one whose profile correlates best
    with the time that each pitch class sounds (Krumhansl and Schmuckler's algorithm; Krumhansl 1990, chapter 4). Drums
    are left out; None where nothing else is there.
    """
    notes = notes.pitched
    sounds = np.bincount(notes.pitch % 12, notes.end - notes.onset, 12)
    profiles = np.array([np.roll(profile, tonic) for profile in PROFILES for tonic in range(12)])
    centred = profiles - profiles.mean(axis=1, keepdims=True)
    fits = centred @ (sounds - sounds.mean()) / np.linalg.norm(centred, axis=1)
    return int(fits.argmax()) if sounds.any() else None


def out_of_key(notes: Notes) -> float | None:
    """Share of the notes that are not of the song's key, the one of key_of; minor is the natural one. Drums are left
    out.
    """
    key = key_of(notes)
    return None if key is None else float(1 - SCALES[key][notes.pitched.pitch % 12].mean())
