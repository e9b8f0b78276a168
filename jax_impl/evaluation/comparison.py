"""Songs that a model wrote beside real ones: every feature and the structure, with the error of both and a floor."""

from dataclasses import dataclass

import numpy as np

from configs import InputError
from jax_impl.evaluation.distributions import mean_interval, overlap_and_divergence
from jax_impl.evaluation.features import FEATURES, grid_features
from jax_impl.evaluation.notes import notes_of
from jax_impl.evaluation.similarity import DISTANCES, curve, similarity_error, song_similarity
from tokenizer.grid.song import GridSong
from tokenizer.tokens.crop import window
from tokenizer.tokens.encode import grid_song
from tokenizer.tokens.fields import TokenFields

DIVISIONS = 100  # of the real songs into two random halves
ROUNDING = 1e-9  # by which numbers that are equal may differ
FEWEST = 4  # real songs that can be divided: two halves of two


@dataclass(frozen=True, eq=False)
class Measured:
    """Of S songs. features: of each what grid_features says. sums, counts: float64[S, 40] and int64[S, 40], what
    song_similarity says.
    """

    features: list[dict[str, float]]
    sums: np.ndarray
    counts: np.ndarray

    def values(self, name: str) -> np.ndarray:
        """float64[]: a feature of the songs for which it is defined."""
        return np.array([song[name] for song in self.features if name in song])

    def curve(self, songs: np.ndarray | slice = slice(None)) -> np.ndarray:
        """float64[40] of some of the songs, see similarity.curve."""
        return curve(self.sums[songs], self.counts[songs])


def compare(samples: list[TokenFields], real: list[TokenFields], seed: int = 0, bars: int | None = None) -> dict:
    """What JSON can say (numbers, and None where there is none):

    songs       numbers of samples and of real songs; bars the length of windows, see below
    features    by the names of FEATURES: of samples and of real the number of songs for which it is defined, the mean,
                and low and high, its 95 % interval; overlap and kl of the two (see distributions.py); floor_overlap
                and floor_kl, real songs against real ones; outside, whether the samples differ
    similarity  L(t) of both at the distances, in measures, that both have; error, and floor, the one of real songs
                against real ones (see similarity.py)

    Real against real: the real songs are divided into two random halves, and of the one as many as there are samples
    are taken for them; the mean of 100 such divisions. Outside: the means are farther apart, or the overlap is less,
    than in each of the divisions, or only real songs have the feature.

    Many features depend on how long a song is. So each song that is longer than so many bars (measures), sampled or
    real, is cut to a window of them that begins at a random one; by default the median of the samples' numbers. A
    number larger than all cuts none.

    samples, real: well-formed tokens (see features.song_features). The same seed gives the same numbers. Work grows
    with the square of the real songs: give some hundreds at most. Raises InputError.
    """
    if bars is not None and bars < 1:
        raise InputError(f"bars must be at least 1, got {bars}")
    random = np.random.default_rng(seed)
    if bars is None:
        bars = max(int(np.median([measures(tokens) for tokens in samples] or [1])), 1)
    ours, theirs = (measure([cut(tokens, bars, random) for tokens in songs]) for songs in (samples, real))
    return {
        "songs": {"samples": len(samples), "real": len(real)},
        "bars": bars,
        "features": {name: _feature(ours.values(name), theirs.values(name), seed) for name in FEATURES},
        "similarity": _similarity(ours, theirs, seed),
    }


def measures(tokens: TokenFields) -> int:
    """Number of a song's measures."""
    return grid_song(tokens)[0].bars.n_measures


def cut(tokens: TokenFields, bars: int, random: np.random.Generator) -> tuple[GridSong, np.ndarray]:
    """A song and the chords of its bars, of a random window of so many measures where it has more."""
    song, chords = grid_song(tokens)
    begins = np.append(np.flatnonzero(song.bars.part == 0), len(song.bars))
    if song.bars.n_measures <= bars:
        return song, chords
    first = int(random.integers(song.bars.n_measures - bars + 1))
    shown = window(tokens, int(begins[first]), int(begins[first + bars] - begins[first]))
    return shown.song, shown.chords


def measure(songs: list[tuple[GridSong, np.ndarray]]) -> Measured:
    """songs: each with the chords int32[bars] of its bars."""
    features = [grid_features(song, chords) for song, chords in songs]
    similar = [song_similarity(notes_of(song)) for song, _ in songs]
    sums, counts = (np.array([song[part] for song in similar]).reshape(-1, DISTANCES) for part in (0, 1))
    return Measured(features, sums, counts)


def _feature(samples: np.ndarray, real: np.ndarray, seed: int) -> dict:
    """samples, real: float64[] values of one feature."""
    floor = np.array([_apart(real[one], real[other]) for one, other in _divided(real, samples, seed)]).reshape(-1, 3)
    overlap, kl, _ = apart = _apart(samples, real) if len(samples) and len(real) > 1 else (None, None, None)
    is_outside = len(real) > 0 and not len(samples)
    if len(floor):
        is_outside = overlap < floor[:, 0].min() - ROUNDING or apart[2] > floor[:, 2].max() + ROUNDING
    return {
        "samples": _mean(samples, seed),
        "real": _mean(real, seed),
        "overlap": overlap,
        "kl": kl,
        "floor_overlap": float(floor[:, 0].mean()) if len(floor) else None,
        "floor_kl": float(floor[:, 1].mean()) if len(floor) else None,
        "outside": bool(is_outside),
    }


def _apart(samples: np.ndarray, real: np.ndarray) -> tuple[float, float, float]:
    """Overlap, divergence, and the distance of the means."""
    return *overlap_and_divergence(samples, real), abs(float(samples.mean() - real.mean()))


def _mean(values: np.ndarray, seed: int) -> dict:
    mean, low, high = mean_interval(values, seed) if len(values) else (None, None, None)
    return {"songs": len(values), "mean": mean, "low": low, "high": high}


def _divided(real: np.ndarray, samples: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """int64[] each: two random halves of the real songs, of the first not more than there are samples, for each
    division. Both arrays count songs on their first axis.
    """
    if len(real) < FEWEST or not len(samples):
        return []
    random = np.random.default_rng(seed)
    halves = (np.array_split(random.permutation(len(real)), 2) for _ in range(DIVISIONS))
    return [(one[: len(samples)], other) for one, other in halves]


def _similarity(samples: Measured, real: Measured, seed: int) -> dict:
    ours, theirs = samples.curve(), real.curve()
    both = np.flatnonzero(~np.isnan(ours + theirs))
    divided = _divided(real.sums, samples.sums, seed)
    errors = [similarity_error(real.curve(one)[both], real.curve(other)[both]) for one, other in divided]
    floor = [error for error in errors if error is not None]
    return {
        "distances": (both + 1).tolist(),
        "samples": ours[both].tolist(),
        "real": theirs[both].tolist(),
        "error": similarity_error(ours[both], theirs[both]),
        "floor": float(np.mean(floor)) if floor else None,
    }
