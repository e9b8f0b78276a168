"""Where do summaries help? Synthetic songs in which bars of one track repeat, note for note, the bars of another track
n bars before, and how well a model says them.

    PYTHONPATH=. python benchmarks/repeats.py [--steps 400] [--rules span all]

The first track is random; the second is random for n bars and repeats from there on, so a model can know of every such
bar what comes. Which n, differs from song to song and nothing says it but the notes. Here n = 2:

    piano      A B C D E F ...        A, B, C ... X, Y: bars of four notes, drawn anew for each
    strings    X Y A B C D ...

With the rule "span" a bar of another track is seen note by note where it stands 0, 1, 2 or 4 bars before, else as a
summary; with "all", note by note however far back. A guess that knows the scale and what a bar looks like costs what
bars that repeat nothing (n = 0) cost. Writes benchmarks/results/repeats.json.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from report import write_report

from configs import MASK_RULES, MODEL_SIZES, MaskRule, PrepareConfig, TrainConfig
from configs.ranges import INT32
from jax_impl.evaluation.logits import score_logits
from jax_impl.model.museformer import MuseFormer
from jax_impl.training.checkpoint import load_model
from jax_impl.training.train import train
from tokenizer.dataset.prepare import prepare
from tokenizer.music import midi
from tokenizer.music.score import NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import KIND_PITCH, KIND_POSITION, TokenFields

DISTANCES = (1, 2, 4, 8, 16, 64)
REPEATS = 16  # bars of a song that repeat
RULES = {"span": MASK_RULES["span"], "all": MaskRule(scope="span", typed=False, near_bars=INT32)}
SOURCE, REPEATING = 0, 48  # programs: piano, strings
PLACES, NOTES = 16, 4  # sixteenths of a bar; notes in it, at different ones
STEP_TICKS = 120
MAJOR = (0, 2, 4, 5, 7, 9, 11)
LONGEST = 2048  # tokens that any such song fits


class Marked(NamedTuple):
    """distance: int32[T], of position and pitch tokens the n of the bar that they repeat, 0 in bars that repeat none;
    -1 of all other tokens.
    """

    tokens: TokenFields
    distance: np.ndarray


def score(seed: int, distance: int) -> Score:
    """A song of distance + REPEATS bars, a function of these two numbers."""
    random = np.random.default_rng((seed, distance))
    scale = 48 + random.integers(12) + np.array([12 * octave + tone for octave in (0, 1) for tone in MAJOR])
    bars = distance + REPEATS
    places = np.argsort(random.random((2, bars, PLACES)), axis=-1)[..., :NOTES]  # [track, bar, note]
    pitches = random.choice(scale, size=places.shape)
    for drawn in (places, pitches):
        drawn[1, distance:] = drawn[0, :REPEATS]
    onsets = (np.arange(bars)[:, None] * PLACES + places) * STEP_TICKS
    tracks = []
    for program, of_track, pitch in zip((SOURCE, REPEATING), onsets, pitches, strict=True):
        notes = np.zeros(of_track.size, NOTE)
        notes["onset_ticks"], notes["pitch"] = of_track.reshape(-1), pitch.reshape(-1)
        notes["duration_ticks"], notes["velocity"] = STEP_TICKS, 80
        tracks.append(Track(program, notes))
    return Score(4 * STEP_TICKS, tuple(tracks), (Tempo(0, 500_000),), (Signature(0, 4, 4),))


def scores(seed: int, count: int, distances: Sequence[int] = DISTANCES) -> Iterable[tuple[int, Score]]:
    """So many songs, each with its distance, which are taken in turn. Other seeds give other songs."""
    for number in range(count):
        distance = distances[number % len(distances)]
        yield distance, score(seed * 1_000_000 + number, distance)


def songs(seed: int, count: int, distances: Sequence[int] = DISTANCES) -> list[Marked]:
    return [marked(encode(song), distance) for distance, song in scores(seed, count, distances)]


def marked(tokens: TokenFields, distance: int) -> Marked:
    repeats = (tokens.instrument == REPEATING) & (tokens.bar >= distance)
    is_marked = np.isin(tokens.kind, (KIND_POSITION, KIND_PITCH))
    return Marked(tokens, np.where(is_marked, np.where(repeats, distance, 0), -1).astype(np.int32))


def write_dataset(folder: Path, seed: int, count: int, distances: Sequence[int] = DISTANCES) -> Path:
    """folder/songs, a dataset of so many songs, some of them for validation; their MIDI files are in folder/midi."""
    (folder / "midi").mkdir(parents=True)
    for number, (distance, song) in enumerate(scores(seed, count, distances)):
        midi.write(song, folder / "midi" / f"{number:05}_{distance}.mid")
    prepare([folder / "midi"], folder / "songs", PrepareConfig(align="off", workers=1))
    return folder / "songs"


def accuracy(model: MuseFormer, songs: Iterable[Marked]) -> dict[int, dict]:
    """By distance, 0 for bars that repeat nothing: of the marked tokens, the share that the model holds for the
    likeliest, their mean cost in nats, and how many there are.
    """
    right, nats, distances = [], [], []
    for tokens, distance in songs:
        logits = score_logits(model, tokens)[1][:-1].astype(np.float64)
        wanted, counts = tokens.ids[1:], distance[1:] >= 0
        cost = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(wanted)), wanted]
        right.append((logits.argmax(axis=1) == wanted)[counts])
        nats.append(cost[counts])
        distances.append(distance[1:][counts])
    right, nats, distances = map(np.concatenate, (right, nats, distances))
    found = {}
    for distance in np.unique(distances).tolist():
        of_these = distances == distance
        share, cost = float(right[of_these].mean()), float(nats[of_these].mean())
        found[distance] = {"accuracy": round(share, 4), "nats": round(cost, 4), "tokens": int(of_these.sum())}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help=f"optimizer steps, of {LONGEST} tokens each")
    parser.add_argument("--songs", type=int, default=2000, help="to train on")
    parser.add_argument("--held-out", type=int, default=60, help="songs that the models are asked about")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    flags = dict(model_size="tiny", max_seq_len=LONGEST, batch_size=1, learning_rate=3e-3, dropout=0.0)
    flags |= dict(num_workers=0, steps=arguments.steps, checkpoint_every=arguments.steps, seed=arguments.seed)
    asked, found = songs(arguments.seed + 1, arguments.held_out), {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_dataset(Path(folder), arguments.seed, arguments.songs)
        for name in arguments.rules:
            model = dataclasses.replace(MODEL_SIZES["tiny"], mask_rule=RULES[name], dropout=0.0)
            train(TrainConfig(dataset, Path(folder) / name, **flags), model)
            found[name] = accuracy(load_model(Path(folder) / name, "latest")[0], asked)
            write_report("repeats", {"training": flags, "songs": arguments.songs, "by_rule_and_distance": found})


if __name__ == "__main__":
    main()
