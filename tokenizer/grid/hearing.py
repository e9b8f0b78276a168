"""What of music tells where its beats are, frame by frame: onsets by kind, and what a listener attends to in them.

Input of the net of pulse.py. Seconds, not ticks: nothing here knows of a beat. 50 frames a second; what lies between
two frames is shared by both.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music.score import DRUMS, Score

FPS = 50  # frames a second
CLUSTER = 0.03  # seconds within which onsets are one
GAPS = (0.2, 0.42, 0.9)  # seconds to the track's next onset: edges of four kinds
LENGTHS = (0.2, 0.6)  # seconds that notes are held: edges of three kinds
KICKS, SNARES, CRASHES = (35, 36), (37, 38, 39, 40), (49, 52, 55, 57)
FEATURES = (
    *("kick", "snare", "crash", "other drum"),
    *("bass", "middle", "treble", "lowest", "highest"),
    *(f"gap {kind}" for kind in range(len(GAPS) + 1)),
    *(f"length {kind}" for kind in range(len(LENGTHS) + 1)),
    *("ends", "tracks", "loud", "thick", "new harmony", "new harmony, long", "new bass"),
)


@dataclass(frozen=True, eq=False)
class Heard:
    """Notes [N] by onset, in seconds: begin, end; pitch, velocity, track (number), drum (bool)."""

    begin: np.ndarray
    end: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    track: np.ndarray
    drum: np.ndarray


def heard(score: Score) -> Heard:
    """The notes of all tracks, by the score's own tempo map."""
    notes = np.concatenate([track.notes for track in score.tracks])
    track = np.repeat(np.arange(len(score.tracks)), [len(track.notes) for track in score.tracks])
    drum = np.array([track.program == DRUMS for track in score.tracks])[track]
    begin = seconds_at(score.tempos, score.ticks_per_beat, notes["onset_ticks"])
    end = seconds_at(score.tempos, score.ticks_per_beat, notes["onset_ticks"] + notes["duration_ticks"])
    order = np.lexsort((notes["pitch"], begin))
    pitch, velocity = notes["pitch"].astype(np.int64), notes["velocity"].astype(np.float64)
    return Heard(*(values[order] for values in (begin, end, pitch, velocity, track, drum)))


def features(notes: Heard) -> np.ndarray:
    """float32[frames, len(FEATURES)] from second 0 to the last onset and a second more."""
    frames = int(np.ceil(notes.begin[-1] * FPS)) + FPS
    cluster = np.cumsum(np.append(True, np.diff(notes.begin) > CLUSTER)) - 1
    tune = ~notes.drum
    columns = [*_drums(notes, frames), *_voices(notes, tune, cluster, frames)]
    return np.stack(columns, axis=1).astype(np.float32)


def _spread(seconds: np.ndarray, weight: np.ndarray | float, frames: int) -> np.ndarray:
    """float64[frames]: weights at times, each shared by the two frames around it."""
    place = seconds * FPS
    first = np.floor(place).astype(np.int64)
    right = place - first
    weight = np.broadcast_to(weight, seconds.shape)
    return (
        np.bincount(first, weight * (1 - right), frames + 1)[:frames]
        + np.bincount(first + 1, weight * right, frames + 1)[:frames]
    )


def _drums(notes: Heard, frames: int) -> list[np.ndarray]:
    begin, pitch = notes.begin[notes.drum], notes.pitch[notes.drum]
    velocity = notes.velocity[notes.drum]
    weight = np.clip(velocity / max(float(np.median(velocity)), 1.0), 0.3, 1.5) if len(velocity) else velocity
    of = [np.isin(pitch, kind) for kind in (KICKS, SNARES, CRASHES)]
    of.append(~np.logical_or.reduce(of))
    return [np.minimum(_spread(begin[kind], weight[kind], frames), 1.5) for kind in of]


def _voices(notes: Heard, tune: np.ndarray, cluster: np.ndarray, frames: int) -> list[np.ndarray]:
    """All columns but the drums'."""
    begin, end, pitch = notes.begin[tune], notes.end[tune], notes.pitch[tune]
    track, cluster = notes.track[tune], cluster[tune]
    if not len(begin):
        return [np.zeros(frames)] * (len(FEATURES) - 4)
    gap = _gaps(begin, track)
    lowest, highest = _outer(begin, pitch, frames)
    kind = np.searchsorted(GAPS, gap)
    held = np.searchsorted(LENGTHS, end - begin)
    register = np.searchsorted((48, 67), pitch, side="right")

    def counted(where: np.ndarray) -> np.ndarray:
        return np.log1p(_spread(begin[where], 1.0, frames))

    ends = end[end < frames / FPS - 1]
    _, first, size = np.unique(cluster, return_index=True, return_counts=True)
    one_each = np.unique(cluster * (track.max() + 1) + track, return_index=True)[1]
    loud = notes.velocity[tune] / np.maximum(_around(notes.velocity[tune]), 1) - 1
    novel, novel_long, bass = _harmony(begin, pitch, gap, first, size)
    return [
        *(counted(register == number) for number in range(3)),
        np.minimum(_spread(begin[lowest], 1.0, frames), 1.0),
        np.minimum(_spread(begin[highest], 1.0, frames), 1.0),
        *(counted(kind == number) for number in range(len(GAPS) + 1)),
        *(counted(held == number) for number in range(len(LENGTHS) + 1)),
        np.log1p(_spread(ends, 1.0, frames)),
        np.log1p(_spread(begin[one_each], 1.0, frames)),
        np.clip(_spread(begin[first], np.clip(np.add.reduceat(loud, first) / size, -1, 1), frames), -1, 1),
        _spread(begin[first], np.clip(np.log2(size / max(float(np.median(size)), 1.0)), -2, 2) / 2, frames),
        _spread(begin[first], novel, frames),
        _spread(begin[first], novel_long, frames),
        _spread(begin[first], bass, frames),
    ]


def _gaps(begin: np.ndarray, track: np.ndarray) -> np.ndarray:
    """float64[N]: seconds from each note to the next onset of its track, 4 at most and at the end."""
    order = np.lexsort((begin, track))
    begins, tracks = begin[order], track[order]
    new = np.append(True, (np.diff(begins) > CLUSTER) | (np.diff(tracks) != 0))
    first = np.flatnonzero(new)
    gap = np.append(np.diff(begins[first]), 4.0)
    gap[np.append(np.diff(tracks[first]) != 0, True)] = 4.0
    out = np.empty(len(begin))
    out[order] = np.minimum(gap[np.cumsum(new) - 1], 4.0)
    return out


def _outer(begin: np.ndarray, pitch: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """bool[N] each: no note within half a second is more than two semitones lower, or higher."""
    blocks = (begin * 4).astype(np.int64)  # quarters of a second
    low, high = np.full(blocks[-1] + 5, 128), np.full(blocks[-1] + 5, -1)
    np.minimum.at(low, blocks + 2, pitch)
    np.maximum.at(high, blocks + 2, pitch)
    near = np.lib.stride_tricks.sliding_window_view
    return pitch <= near(low, 5).min(axis=1)[blocks] + 2, pitch >= near(high, 5).max(axis=1)[blocks] - 2


def _around(velocity: np.ndarray) -> np.ndarray:
    """float64[N]: mean velocity of the 32 notes around each."""
    total = np.concatenate([[0.0], np.cumsum(velocity)])
    index = np.arange(len(velocity))
    least, most = np.maximum(index - 16, 0), np.minimum(index + 16, len(velocity))
    return (total[most] - total[least]) / (most - least)


def _harmony(
    begin: np.ndarray, pitch: np.ndarray, gap: np.ndarray, first: np.ndarray, size: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64[clusters] each: how new the harmony of the next half second is to that of the last, of the next second
    and a half likewise; whether the lowest note has another pitch class than the lowest one before.
    """
    classes = np.zeros((len(begin) + 1, 12))
    classes[np.arange(1, len(begin) + 1), pitch % 12] = np.sqrt(np.clip(gap, 0.05, 2.0))
    classes = np.cumsum(classes, axis=0)
    at = begin[first]

    def newness(after: float, before: float) -> np.ndarray:
        next_ = classes[np.searchsorted(begin, at + after)] - classes[first]
        last = classes[first] - classes[np.searchsorted(begin, at - before)]
        product = np.linalg.norm(next_, axis=1) * np.linalg.norm(last, axis=1)
        return 1 - (next_ * last).sum(axis=1) / (product + 1e-6)

    lowest = np.minimum.reduceat(pitch, first)
    is_bass = lowest < 55
    bass_class = np.where(is_bass, lowest % 12, -1)
    last_bass = np.maximum.accumulate(np.where(is_bass, np.arange(len(first)), -1))
    before = np.append(-1, last_bass[:-1])
    new_bass = is_bass & ((before < 0) | (bass_class[np.maximum(before, 0)] != bass_class))
    return newness(0.5, 0.6), newness(1.5, 1.5), new_bass.astype(np.float64)
