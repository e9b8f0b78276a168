"""What can be counted of one song: numbers that have a meaning for people, each with a definition and a source.

Those of MusPy are in metrics.py, harmony.py has what concerns chords and keys, similarity.py the structure, which is a
curve and no number. comparison.py puts two sets of songs side by side.
"""

import numpy as np

from configs import InputError
from jax_impl.evaluation import harmony, metrics
from jax_impl.evaluation.notes import Notes, notes_of
from tokenizer.grid.song import TEMPO_MICROSECONDS, GridSong
from tokenizer.tokens.encode import grid_song
from tokenizer.tokens.fields import TokenFields
from tokenizer.vocabulary import SIGNATURES, SIXTEENTH

FEATURES = {  # in the order of a report
    "bars": "measures up to the one of the last onset",
    "instruments": "different instruments (General MIDI programs; drums are one)",
    "notes_per_bar": "notes of all tracks a measure",
    "drum_share": "share of the notes that are drums",
    "note_length": "length of a note that is no drum, in sixteenths, mean",
    "tempo": "beats (quarter notes) a minute, mean over time counted in beats",
    "tempi": "different tempi",
    "meters": "different time signatures",
    "common_time": "share of the measures that are 4/4",
    "pitch_range": "semitones from the lowest to the highest pitch (MusPy)",
    "pitches_used": "different pitches (MusPy)",
    "pitch_classes_used": "different pitch classes, 0 to 12 (MusPy)",
    "pitch_class_entropy": "entropy of the pitch classes of notes, in bits, 0 to 3.58 (MusPy)",
    "scale_consistency": "share of the notes in the major or minor scale that has most of them (MusPy)",
    "polyphony": "pitches that sound at once, mean over the time when any does (MusPy)",
    "polyphony_rate": "share of the time when more than two pitches sound (MusPy)",
    "groove_consistency": "1 - share of places in which onsets of neighbouring measures differ (MusPy)",
    "empty_beats": "share of the beats in which nothing sounds (MusPy)",
    "empty_bars": "share of the measures in which nothing sounds (MusPy)",
    "drum_pattern_consistency": "share of the drum notes on sixteenths, or on triplets if those are more (MusPy)",
    "chords_in_16_bars": "different chord labels in 16 bars, median over a song's windows",
    "chord_1_bar_before": "share of the bars whose chord is that of the bar before",
    "chord_4_bars_before": "share of the bars whose chord is that of 4 bars before",
    "chord_8_bars_before": "share of the bars whose chord is that of 8 bars before",
    "chords_heard": "share of the bars whose chord label is what the chord finder hears in their notes",
    "out_of_key": "share of the notes that are not of the song's key (Krumhansl and Kessler's profiles)",
}


def song_features(tokens: TokenFields) -> dict[str, float]:
    """The FEATURES of a whole song; one that is not defined for it, such as a pitch where all is drums, is absent.

    tokens: well-formed, of any length; of others give encode(decode(tokens.ids)). Many features depend on how long a
    song is: compare windows of as many bars (comparison.compare cuts them).
    """
    if not isinstance(tokens, TokenFields):
        raise InputError(f"a song must be its tokens (tokenizer.encode), got {type(tokens).__name__}")
    return grid_features(*grid_song(tokens))


def grid_features(song: GridSong, chords: np.ndarray) -> dict[str, float]:
    """The same of a song on the grid and the chords int32[bars] of its bars."""
    notes = notes_of(song)
    found = _counted(song, notes) | _of_muspy(notes) | _harmonic(song, chords, notes)
    return {name: float(found[name]) for name in FEATURES if found[name] is not None}


def _counted(song: GridSong, notes: Notes) -> dict[str, float | None]:
    bars, pitched = song.bars, notes.pitched
    begins = bars.part == 0
    beats_per_minute = 60e6 / TEMPO_MICROSECONDS[song.tempo]
    return {
        "bars": bars.n_measures,
        "instruments": len(np.unique(notes.program)),
        "notes_per_bar": len(notes) / bars.n_measures,
        "drum_share": notes.is_drum.mean() if len(notes) else None,
        "note_length": (pitched.end - pitched.onset).mean() / SIXTEENTH if len(pitched) else None,
        "tempo": np.average(beats_per_minute, weights=np.diff(bars.start_ticks)),
        "tempi": len(np.unique(song.tempo)),
        "meters": len(np.unique(bars.signature)),
        "common_time": (bars.signature[begins] == SIGNATURES.index((4, 4))).mean(),
    }


def _of_muspy(notes: Notes) -> dict[str, float | None]:
    has_pitch = len(notes.pitched) > 0
    return {
        "pitch_range": metrics.pitch_range(notes),
        "pitches_used": metrics.pitches_used(notes) if has_pitch else None,
        "pitch_classes_used": metrics.pitch_classes_used(notes) if has_pitch else None,
        "pitch_class_entropy": metrics.pitch_class_entropy(notes),
        "scale_consistency": metrics.scale_consistency(notes),
        "polyphony": metrics.polyphony(notes),
        "polyphony_rate": metrics.polyphony_rate(notes) if has_pitch else None,
        "groove_consistency": metrics.groove_consistency(notes),
        "empty_beats": metrics.empty_beat_rate(notes),
        "empty_bars": metrics.empty_measure_rate(notes),
        "drum_pattern_consistency": metrics.drum_pattern_consistency(notes),
    }


def _harmonic(song: GridSong, chords: np.ndarray, notes: Notes) -> dict[str, float | None]:
    return {
        "chords_in_16_bars": harmony.distinct_chords(song.bars, chords),
        "chord_1_bar_before": harmony.repeated_chords(song.bars, chords, 1),
        "chord_4_bars_before": harmony.repeated_chords(song.bars, chords, 4),
        "chord_8_bars_before": harmony.repeated_chords(song.bars, chords, 8),
        "chords_heard": harmony.heard_chords(song, chords),
        "out_of_key": harmony.out_of_key(notes),
    }
