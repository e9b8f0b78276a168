"""How far the values of one feature in two sets of songs are from each other.

Overlap and divergence are those of Yang and Lerch 2020, On the Evaluation of Generative Models in Music, Neural
Computing and Applications 32 (its relative measurement): the distances from each real song to each other
real one (intra-set) are a distribution, those from each sample to each real song (inter-set) are another one; both
become densities by a Gaussian kernel. The better the samples, the less the two differ.

The bandwidth is Scott's, the standard deviation (n - 1) times n^(-1/5) of n distances, as in the authors' own program,
and 1/256 of the range of all distances at least, so that sets of few different values have a density too.
"""

import numpy as np

CELLS = 512  # of the grid on which densities are computed
FINEST = 1 / 256  # bandwidth, as a share of the distances' range
MARGIN = 4  # bandwidths beyond the distances up to which densities reach
LEAST = 1e-10  # of a cell's probability, so that the divergence is finite
RESAMPLES = 1000
INTERVAL = 95  # per cent


def mean_interval(values: np.ndarray, seed: int) -> tuple[float, float, float]:
    """The mean of values float64[S], S > 0, and the ends of its 95 % interval: percentiles of the means of 1000 sets of
    S songs drawn from them with replacement (Efron 1979, Bootstrap Methods, Annals of Statistics 7).
    """
    drawn = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    outside = (100 - INTERVAL) / 2
    low, high = np.percentile(values[drawn].mean(axis=1), [outside, 100 - outside])
    return float(values.mean()), float(low), float(high)


def overlap_and_divergence(samples: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Area under the lower of the two densities, 0 to 1, and the Kullback-Leibler divergence of the inter-set from the
    intra-set one, KL(intra || inter) in nats, 23 at most. samples, real: float64[] values, two real ones at least.
    """
    others = ~np.eye(len(real), dtype=bool)
    intra = np.abs(real[:, None] - real)[others]
    inter = np.abs(samples[:, None] - real).reshape(-1)
    span = max(intra.max(), inter.max())
    if span == 0:
        return 1.0, 0.0  # all songs are equal in this
    widths = [max(_scott(distances), FINEST * span) for distances in (intra, inter)]
    reach = MARGIN * max(widths)
    cell = (span + 2 * reach) / (CELLS - 1)
    p, q = (_density((x + reach) / cell, width / cell) for x, width in zip((intra, inter), widths, strict=True))
    ratio = np.maximum(p, LEAST) / np.maximum(q, LEAST)
    return float(np.minimum(p, q).sum()), max(float((p * np.log(ratio)).sum()), 0.0)


def _scott(distances: np.ndarray) -> float:
    return float(distances.std(ddof=1) * len(distances) ** -0.2) if len(distances) > 1 else 0.0


def _density(places: np.ndarray, width: float) -> np.ndarray:
    """float64[CELLS]: probability of each cell, of Gaussian kernels of that width in cells at places in cells; each
    place is shared by its two neighbouring cells first (linear binning; Wand 1994, Fast Computation of Multivariate
    Kernel Estimators).
    """
    cell = places.astype(np.int64)
    beyond = places - cell
    binned = np.bincount(cell, 1 - beyond, CELLS) + np.bincount(cell + 1, beyond, CELLS + 1)[:CELLS]
    frequency = np.fft.rfftfreq(2 * CELLS)  # twice as many, so that nothing comes round
    gaussian = np.exp(-2 * (np.pi * frequency * width) ** 2)
    smooth = np.maximum(np.fft.irfft(np.fft.rfft(binned, 2 * CELLS) * gaussian)[:CELLS], 0)
    return smooth / smooth.sum()
