"""From a score's own time to the time in which its beats are beats, and back: straight from knot to knot.

    the file's ticks    0 ......... 700 ...... 1310 ....      a player's beats, at a tempo that nobody set
    aligned ticks       0 ......... 960 ...... 1920 ....      the same, where a beat is a beat

Ticks are whole on either side: rounding moves nothing past another, and what is together stays together.
"""

from dataclasses import dataclass, replace

import numpy as np

from tokenizer.music.score import Score, Signature, Tempo, Track


@dataclass(frozen=True, eq=False)
class TimeMap:
    """source, aligned: int64[K], K at least 2, both strictly rising: ticks of the file, and ticks of the aligned score
    at the same moment. Before the first knot and past the last one time goes on as between the two nearest.
    """

    source: np.ndarray
    aligned: np.ndarray

    @classmethod
    def shifted(cls, ticks: int) -> "TimeMap":
        """All of a score so many ticks later, in its own resolution."""
        return cls(np.array([0, 1], np.int64), np.array([ticks, ticks + 1], np.int64))

    def there(self, ticks: np.ndarray) -> np.ndarray:
        """int64: aligned ticks of ticks of the file."""
        return _along(ticks, self.source, self.aligned)

    def back(self, ticks: np.ndarray) -> np.ndarray:
        """int64: ticks of the file of aligned ticks: the inverse of `there`, but for rounding."""
        return _along(ticks, self.aligned, self.source)


def _along(ticks: np.ndarray, of: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Half a tick goes up."""
    ticks = np.asarray(ticks, np.int64)
    knot = np.clip(np.searchsorted(of, ticks, side="right") - 1, 0, len(of) - 2)
    run, rise = of[knot + 1] - of[knot], to[knot + 1] - to[knot]
    runs, rest = np.divmod(ticks - of[knot], run)
    return to[knot] + runs * rise + (2 * rest * rise + run) // (2 * run)


def retimed(
    score: Score,
    time: TimeMap,
    ticks_per_beat: int,
    tempos: tuple[Tempo, ...],
    signatures: tuple[Signature, ...],
) -> Score:
    """The score with its notes in aligned time, none of which may so begin before tick 0; tempos and signatures are of
    that time too. Ends move as onsets do.
    """
    tracks = []
    for track in score.tracks:
        notes = track.notes.copy()
        notes["onset_ticks"] = time.there(track.notes["onset_ticks"])
        ends = time.there(track.notes["onset_ticks"] + track.notes["duration_ticks"])
        notes["duration_ticks"] = ends - notes["onset_ticks"]
        tracks.append(Track(track.program, notes))
    return replace(score, ticks_per_beat=ticks_per_beat, tracks=tuple(tracks), tempos=tempos, signatures=signatures)
