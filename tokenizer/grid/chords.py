"""The chord of a bar: the label whose notes best explain what sounds in it. Called by encode, text and pianoroll.

Evidence per bar and pitch class is overlap (ticks) x velocity of all pitched tracks, as shares of the bar's whole. Each
of the 216 labels is scored: chord tones count for it, other tones against, and a tone that the label promises but the
bar lacks costs. The bass, the pitch class of what sounds lowest, tells apart labels of the same tones (C6 and Amin7,
Caug and Eaug, Csus2 and Gsus4). All arithmetic is in integers, so that a label never depends on the order in which a
machine adds.
"""

import numpy as np

from tokenizer.music.score import DRUMS, NOTE, Score
from tokenizer.vocabulary import QUALITIES, ROOTS

# fmt: off
TONES = {  # intervals above the root
    "maj": (0, 4, 7), "min": (0, 3, 7), "dim": (0, 3, 6), "aug": (0, 4, 8),
    "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "min7": (0, 3, 7, 10), "dim7": (0, 3, 6, 9), "hdim7": (0, 3, 6, 10),
    "sus2": (0, 2, 7), "sus4": (0, 5, 7), "7sus4": (0, 5, 7, 10),
    "6": (0, 4, 7, 9), "min6": (0, 3, 7, 9), "9": (0, 2, 4, 7, 10), "maj9": (0, 2, 4, 7, 11), "min9": (0, 2, 3, 7, 10),
    "5": (0, 7),
}
# fmt: on
SHARE = 1 << 16  # evidence of a whole bar

# Tuned on the odd songs of POP909 (benchmarks/chords.py reports the even ones too), while every label played alone
# keeps its name.
TONE, OTHER = 64, -52  # per share of evidence on a chord tone, on any other tone
MISSING = -14  # per chord tone without evidence, falling linearly to 0 at PRESENT
PRESENT = SHARE // 16
BASS = 26  # for the root, per share of the bass's evidence
BASS_RANGE = 12  # semitones above the lowest note of the bar that count as bass
LOWEST = 3  # how much more the lowest note itself counts there
RARE = -28  # people hear plain triads first: what a label costs by its quality
COST = {"maj": 0, "min": 0, "7": -16, "maj7": -16, "min7": -16, "6": -16, "sus2": -40, "sus4": -40, "5": -12}


def bar_chords(score: Score, bar_ticks: np.ndarray) -> np.ndarray:
    """int32[n]: chord of each bar, 0 for N (nothing pitched sounds), else 1 + root * 18 + quality.

    score: on the grid. bar_ticks: int64[n + 1] bar lines.
    """
    evidence, bass = _evidence(score, bar_ticks)
    lacking = MISSING * (np.maximum(PRESENT - evidence, 0) * SHARE // PRESENT)
    scores = evidence @ _TONE_WEIGHTS + lacking @ _IS_TONE + bass @ _ROOT_WEIGHTS + _COSTS
    return np.where(evidence.any(axis=1), 1 + scores.argmax(axis=1), 0).astype(np.int32)


def _labels() -> tuple[np.ndarray, ...]:
    """int64[12, 216]: weight of a pitch class, whether it is a chord tone, weight of it in the bass;
    int64[216] costs.
    """
    is_tone = np.zeros((12, len(ROOTS), len(QUALITIES)), np.int64)
    for root in range(len(ROOTS)):
        for quality, name in enumerate(QUALITIES):
            is_tone[(root + np.array(TONES[name])) % 12, root, quality] = 1
    root = np.broadcast_to(np.eye(12, dtype=np.int64)[:, :, None], is_tone.shape)
    costs = SHARE * np.array([COST.get(name, RARE) for name in QUALITIES] * len(ROOTS), np.int64)
    return *(x.reshape(12, -1) for x in (np.where(is_tone, TONE, OTHER), is_tone, BASS * root)), costs


_TONE_WEIGHTS, _IS_TONE, _ROOT_WEIGHTS, _COSTS = _labels()


def _evidence(score: Score, bar_ticks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64[n, 12] each: share (of 65536) of overlap x velocity per pitch class, and the same of the bass alone."""
    n_bars = len(bar_ticks) - 1
    notes = np.concatenate([np.zeros(0, NOTE), *(track.notes for track in score.tracks if track.program != DRUMS)])
    onset, end = notes["onset_ticks"], notes["onset_ticks"] + notes["duration_ticks"]
    first = np.searchsorted(bar_ticks, onset, side="right") - 1
    last = np.minimum(np.searchsorted(bar_ticks, end, side="left"), n_bars)  # one past the last bar it sounds in
    repeats = last - first
    note = np.repeat(np.arange(len(notes)), repeats)
    bar = np.repeat(first, repeats) + np.arange(len(note)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    overlap = np.minimum(end[note], bar_ticks[bar + 1]) - np.maximum(onset[note], bar_ticks[bar])
    weight = overlap * notes["velocity"][note].astype(np.int64)
    pitch = notes["pitch"][note].astype(np.int64)
    total = np.bincount(bar * 12 + pitch % 12, weight, n_bars * 12).astype(np.int64).reshape(n_bars, 12)
    lowest = np.full(n_bars, 128)
    np.minimum.at(lowest, bar, pitch)
    in_bass = (pitch <= lowest[bar] + BASS_RANGE) + LOWEST * (pitch == lowest[bar])
    bass = np.bincount(bar * 12 + pitch % 12, weight * in_bass, n_bars * 12).astype(np.int64).reshape(n_bars, 12)
    return _shares(total), _shares(bass)


def _shares(evidence: np.ndarray) -> np.ndarray:
    return evidence * SHARE // np.maximum(evidence.sum(axis=1, keepdims=True), 1)
