"""Learns what clues weigh, of songs that the beat finder has learned from: which beats begin measures, and how sure the
beats of a performance are.

    PYTHONPATH=. python benchmarks/learn_clues.py --songs ../shared/data/midi --most 150

Log odds are sums of clues (tokenizer/grid/downbeats.py, performance.py), each times a weight. Of measures: by the beats
that scores say. Of beats: played freely anew, they are right where their F, once half, double and thirds are taken out,
is 0.8 at least (alignment.py judges). The weights are kept beside the net's, in tokenizer/grid/pulse.npz.
"""

import argparse
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from alignment import SCALE, SCORES, WRONG, spread
from held_out import is_held_out
from learn_beats import song_of, targets
from retime import Retimed, retimed, untimed
from tqdm import tqdm

import tokenizer
from tests.tokenizer.beat_measures import judge
from tokenizer.disk.atomic import atomic
from tokenizer.grid import downbeats, performance, pulse
from tokenizer.grid.hearing import features

WEIGHTS = Path(performance.__file__).with_name("pulse.npz")
TAKES = 2  # of each song
DECAY = 1.0  # of weights, as if so many songs said that a clue says nothing
ROUNDS = 30
BEATS_A_SONG = 8.0  # that a song counts for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, required=True, help="folder of folders of songs")
    parser.add_argument("--most", type=int, required=True, help="songs of a folder that are taken")
    arguments = parser.parse_args()
    keep(downbeats=of_downbeats(arguments.songs, arguments.most))
    keep(confidence=of_confidence(arguments.songs, arguments.most))


def of_downbeats(songs: Path, most: int) -> np.ndarray:
    """float64[CLUES of downbeats.py]: songs count alike, however long they are."""
    clues, begins, worth = [], [], []
    for path in tqdm(learned_from(songs, most), disable=None):
        if (song := song_of(path)) is None:
            continue
        beats, bars = targets(song, lambda seconds: seconds)
        beats, bars = (np.unique(each) for each in (beats, bars))
        beats = beats[(beats >= song.notes.begin[0] - 1) & (beats <= song.notes.begin[-1])]
        if len(beats) < 16:
            continue
        ear = performance.Ear(song.notes, pulse.hear(features(song.notes)))
        clues.append(downbeats.clues(song.notes, beats, ear.at(beats, 1)))
        begins.append(np.abs(beats[:, None] - bars).min(axis=1) < 0.02)
        worth.append(np.full(len(beats), BEATS_A_SONG / len(beats)))
    clues, begins, worth = map(np.concatenate, (clues, begins, worth))
    weights = fitted(clues, begins, worth)
    right = (clues @ weights > 0) == begins
    print(
        f"{len(clues)} beats, {begins.mean():.3f} of them begin measures, {right.mean():.3f} told; {weights.round(2)}"
    )
    return weights


def of_confidence(songs: Path, most: int) -> np.ndarray:
    """float64[CLUES of performance.py]."""
    clues, is_right = [], []
    for truth in tqdm(performances(songs, most), disable=None):
        if (found := performance.find(truth.score)) is not None:
            clues.append(found.clues)
            is_right.append(judge(found.seconds, truth).f_after >= WRONG)
    clues, is_right = np.array(clues), np.array(is_right)
    weights = fitted(clues, is_right, np.ones(len(clues)))
    chance = 1 / (1 + np.exp(-clues @ weights))
    print(f"{len(clues)} performances, {is_right.mean():.3f} right; weights {weights.round(2)}")
    for least in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        kept = chance >= least
        print(f"confidence {least}: {kept.mean():.3f} kept, {1 - is_right[kept].mean():.3f} of them wrong")
    return weights


def keep(**weights: np.ndarray) -> None:
    with np.load(WEIGHTS) as stored:
        values = dict(stored) | {name: each.astype(np.float32) for name, each in weights.items()}
    with atomic(WEIGHTS) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **values)
    pulse._stored.cache_clear()


def learned_from(songs: Path, most: int) -> list[Path]:
    """At most so many of each folder."""
    folders = [sorted((songs / folder).glob("*.mid")) for folder in (*SCORES, "groove")]
    return [path for paths in folders for path in spread([each for each in paths if not is_held_out(each)], most)]


def performances(songs: Path, most: int) -> Iterator[Retimed]:
    for path in learned_from(songs, most):
        score = tokenizer.read(path)
        if path.parent.name == "groove":
            yield untimed(score, SCALE)
        else:
            yield from (retimed(score, zlib.crc32(path.stem.encode()) + take) for take in range(TAKES))


def fitted(clues: np.ndarray, is_right: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """float64[clues]: logistic regression, by Newton's method. worth: of each row."""
    weights, decay = np.zeros(clues.shape[1]), DECAY * np.eye(clues.shape[1])
    decay[0, 0] = 1e-6
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-clues @ weights))
        slope = clues.T @ (worth * (is_right - chance)) - decay @ weights
        bend = clues.T @ (clues * (worth * chance * (1 - chance))[:, None]) + decay
        weights = weights + np.linalg.solve(bend, slope)
    return weights


if __name__ == "__main__":
    main()
