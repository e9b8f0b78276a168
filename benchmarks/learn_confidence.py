"""Learns how sure the beats of a performance are, of songs that the beat finder has learned from, played freely anew.

    PYTHONPATH=. python benchmarks/learn_confidence.py --songs ../shared/data/midi --most 150

Beats are right where their F, once half, double and thirds are taken out, is 0.8 at least (alignment.py judges). The
log odds of that are a sum of the clues of tokenizer/grid/performance.py, each times a weight; the weights are kept
beside the net's, in tokenizer/grid/pulse.npz.
"""

import argparse
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from alignment import SCALE, SCORES, WRONG, spread
from held_out import is_held_out
from retime import Retimed, retimed, untimed
from tqdm import tqdm

import tokenizer
from tests.tokenizer.beat_measures import judge
from tokenizer.disk.atomic import atomic
from tokenizer.grid import performance

WEIGHTS = Path(performance.__file__).with_name("pulse.npz")
TAKES = 2  # of each song
DECAY = 1.0  # of weights, as if so many songs said that a clue says nothing
ROUNDS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, required=True, help="folder of folders of songs")
    parser.add_argument("--most", type=int, required=True, help="songs of a folder that are taken")
    arguments = parser.parse_args()
    clues, is_right = [], []
    for truth in tqdm(performances(arguments.songs, arguments.most), disable=None):
        if (found := performance.find(truth.score)) is not None:
            clues.append(found.clues)
            is_right.append(judge(found.seconds, truth).f_after >= WRONG)
    clues, is_right = np.array(clues), np.array(is_right)
    weights = fitted(clues, is_right)
    chance = 1 / (1 + np.exp(-clues @ weights))
    print(f"{len(clues)} performances, {is_right.mean():.3f} right; weights {weights.round(2)}")
    for least in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        kept = chance >= least
        print(f"confidence {least}: {kept.mean():.3f} kept, {1 - is_right[kept].mean():.3f} of them wrong")
    with np.load(WEIGHTS) as stored:
        values = dict(stored) | {"confidence": weights.astype(np.float32)}
    with atomic(WEIGHTS) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **values)


def performances(songs: Path, most: int) -> Iterator[Retimed]:
    for folder in (*SCORES, "groove"):
        paths = [path for path in sorted((songs / folder).glob("*.mid")) if not is_held_out(path)]
        for path in spread(paths, most):
            score = tokenizer.read(path)
            if folder == "groove":
                yield untimed(score, SCALE)
            else:
                yield from (retimed(score, zlib.crc32(path.stem.encode()) + take) for take in range(TAKES))


def fitted(clues: np.ndarray, is_right: np.ndarray) -> np.ndarray:
    """float64[CLUES]: logistic regression, by Newton's method."""
    weights, decay = np.zeros(clues.shape[1]), DECAY * np.eye(clues.shape[1])
    decay[0, 0] = 1e-6
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-clues @ weights))
        slope = clues.T @ (is_right - chance) - decay @ weights
        bend = clues.T @ (clues * (chance * (1 - chance))[:, None]) + decay
        weights = weights + np.linalg.solve(bend, slope)
    return weights


if __name__ == "__main__":
    main()
