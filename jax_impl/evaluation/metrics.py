"""The metrics of MusPy (Dong, Chen, McAuley and Berg-Kirkpatrick 2020, MusPy: A Toolkit for Symbolic Music Generation,
ISMIR), as its version 0.5.0 computes them, at its own default resolution of 24 steps to a quarter note. Each is a
number, or None where it is not defined. benchmarks/muspy_agreement.py compares them with MusPy's own functions.

MusPy counts one beat or measure more than there is where the last note ends on a line, and takes a note to sound in the
one that begins where it ends; so does this. It knows measures of one length alone: here each has its own, and what
compares measures compares those of one length.
"""

import numpy as np

from jax_impl.evaluation.notes import BEAT, Notes

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)  # intervals of the scale; the natural minor
# bool[24, 12]: the pitch classes of each, C major to B major, then C minor to B minor
SCALES = np.array(
    [[(pitch - root) % 12 in scale for pitch in range(12)] for scale in (MAJOR, MINOR) for root in range(12)]
)
MANY = 2  # pitches; polyphony_rate counts steps with more, as MusPy's does by default
DRUM_PATTERNS = (BEAT // 4, BEAT // 3)  # steps between the places of a beat where duple and triple patterns have drums


def pitch_range(notes: Notes) -> int | None:
    """Semitones from the lowest to the highest pitch. Drums are left out."""
    pitch = notes.pitched.pitch
    return int(pitch.max() - pitch.min()) if len(pitch) else None


def pitches_used(notes: Notes) -> int:
    """Different pitches. Drums are left out."""
    return len(np.unique(notes.pitched.pitch))


def pitch_classes_used(notes: Notes) -> int:
    """Different pitch classes, 0 to 12. Drums are left out."""
    return len(np.unique(notes.pitched.pitch % 12))


def pitch_class_entropy(notes: Notes) -> float | None:
    """- sum of p log2 p over the shares p of the notes that are of each pitch class: bits, 0 to log2 12. Drums are left
    out. First in Wu and Yang 2020, The Jazz Transformer on the Front Line, ISMIR.
    """
    counts = np.bincount(notes.pitched.pitch % 12)
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log2(share)).sum() + 0.0) if len(share) else None


def scale_consistency(notes: Notes) -> float | None:
    """Share of the notes that the scale holds which holds most, of the 24 major and natural minor ones. Drums are left
    out. First in Mogren 2016, C-RNN-GAN.
    """
    counts = np.bincount(notes.pitched.pitch % 12, minlength=12)
    return float((SCALES @ counts).max() / counts.sum()) if counts.any() else None


def groove_consistency(notes: Notes) -> float | None:
    """1 less the share of places at which neighbouring measures differ, a place being one where a note of any track
    begins or none does: 1 - sum of Hamming distances / sum of lengths in steps, over the pairs of neighbours that are
    equally long. MusPy's measures end with the one in which the last note ends. First in Wu and Yang 2020.
    """
    if not len(notes):
        return None
    lines = _lines_to_the_end(notes)
    length = np.diff(lines)
    onset = np.unique(notes.onset)
    measure = np.searchsorted(lines, onset, side="right") - 1
    places = measure * length.max() + onset - lines[measure]
    in_both = np.bincount(measure[np.isin(places + length.max(), places)], minlength=len(length))[:-1]
    struck = np.bincount(measure, minlength=len(length))
    is_pair = length[:-1] == length[1:]
    differing = (struck[:-1] + struck[1:] - 2 * in_both)[is_pair].sum()
    return float(1 - differing / length[:-1][is_pair].sum()) if is_pair.any() else None


def empty_beat_rate(notes: Notes) -> float | None:
    """Share of the beats (quarter notes) in which no note of any track sounds. Dong, Hsiao and Yang 2018,
    Pypianoroll.
    """
    return _empty_rate(notes.onset // BEAT, notes.end // BEAT)


def empty_measure_rate(notes: Notes) -> float | None:
    """Share of the measures in which no note of any track sounds. Dong, Hsiao, Yang and Yang 2018, MuseGAN, AAAI."""
    lines = _lines_to_the_end(notes)
    return _empty_rate(*(np.searchsorted(lines, time, side="right") - 1 for time in (notes.onset, notes.end)))


def polyphony(notes: Notes) -> float | None:
    """Pitches that sound at once, the mean over the steps at which any does. A pitch that sounds in several tracks is
    one; drums are left out.
    """
    sounding, steps = _pitches_at_once(notes)
    at_all = sounding > 0
    return float((sounding * steps).sum() / steps[at_all].sum()) if at_all.any() else None


def polyphony_rate(notes: Notes) -> float | None:
    """Share of the song's steps, up to the end of its last note, drums included, at which more than two pitches sound,
    as polyphony counts them. Dong, Hsiao, Yang and Yang 2018, MuseGAN, AAAI; the threshold is MusPy's.
    """
    sounding, steps = _pitches_at_once(notes)
    return float(steps[sounding > MANY].sum() / notes.end.max()) if len(notes) else None


def drum_pattern_consistency(notes: Notes) -> float | None:
    """Share of the drum notes that lie on sixteenths, or on triplets of eighths if more of them do."""
    onset = notes.onset[notes.is_drum]
    return float(max((onset % places == 0).mean() for places in DRUM_PATTERNS)) if len(onset) else None


def _lines_to_the_end(notes: Notes) -> np.ndarray:
    """int64[]: bar lines past the end of the last note; the song's, and measures as long as its last one."""
    last = notes.lines[-1]
    length = last - notes.lines[-2]
    more = max(int(notes.end.max(initial=0) - last), -1) // length + 1
    return np.concatenate([notes.lines, last + length * np.arange(1, more + 1)])


def _empty_rate(first: np.ndarray, last: np.ndarray) -> float | None:
    """Of units from 0 to the largest of last int64[N] the share that no note covers, first to last included."""
    if not len(first):
        return None
    change = np.bincount(first, minlength=last.max() + 2) - np.bincount(last + 1, minlength=last.max() + 2)
    return float((np.cumsum(change)[:-1] == 0).mean())


def _pitches_at_once(notes: Notes) -> tuple[np.ndarray, np.ndarray]:
    """int64[] each: how many different pitches sound in each stretch between two changes, and its steps. Drums are left
    out.
    """
    notes = notes.pitched
    room = notes.end.max(initial=0) + 1  # pitch by pitch on one line, so far apart that they never meet
    begin, end = (notes.pitch * room + time for time in (notes.onset, notes.end))
    order = np.argsort(begin, kind="stable")
    begin, reached = begin[order], np.maximum.accumulate(end[order])
    is_new = np.append(True, begin[1:] > reached[:-1])[: len(begin)]
    is_last = np.append(is_new[1:], True)[: len(begin)]
    changes = np.concatenate([begin[is_new], reached[is_last]]) % room
    times, place = np.unique(changes, return_inverse=True)
    step = np.where(np.arange(len(changes)) < is_new.sum(), 1, -1)
    sounding = np.cumsum(np.bincount(place, step, len(times))).astype(np.int64)
    return sounding[:-1], np.diff(times)
