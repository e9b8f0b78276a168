"""In how many bars the chord finder hears the chord that was asked for, by --chord-notes.

    PYTHONPATH=. python benchmarks/asked_chords.py RUN     a trained model, and one of the same size with random weights

Each row of chords is asked of songs with drums, bass, piano and guitar, as `generate --chords` does. Writes
benchmarks/results/asked_chords.json.
"""

import argparse
from pathlib import Path
from typing import get_args

import jax
from flax import nnx
from report import write_report
from tqdm import tqdm

from configs import Constraints, SampleConfig
from configs.sample import ChordNotes
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling import asked
from jax_impl.sampling.sample import Sampler

CHORDS = ("C Am F G Dm Bb E7 A", "Cmaj7 Am7 Dm7 G7", "Em C G D", "F#m D A E/G# Bm Esus4")
BARS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=4, help="songs of each row of chords")
    arguments = parser.parse_args()
    sampler = SampleConfig(num_samples=arguments.samples)
    found: dict[str, dict[str, list[int]]] = {}
    for mode in get_args(ChordNotes):
        of_mode = found.setdefault(mode, {"trained": [0, 0], "random weights": [0, 0]})
        for chords in tqdm(CHORDS, desc=mode, disable=None):
            wanted = Constraints(instruments="drums,bass,piano,guitar", bars=BARS, chords=chords, chord_notes=mode)
            of_run, task = asked.task(arguments.run, None, wanted, sampler, "latest")
            trained = of_run.load()
            model = MuseFormer(trained.config, nnx.Rngs(jax.random.key(0)))
            for name, weights in (("trained", trained), ("random weights", model)):
                heard = [sample.whole.heard_chords(sample.ids) for sample in Sampler(weights, task).samples()]
                of_mode[name] = [sum(counts) for counts in zip(of_mode[name], *heard, strict=True)]
    record = of_run.record
    shares = {mode: {name: round(of / out, 3) for name, (of, out) in row.items()} for mode, row in found.items()}
    run = {name: record.train[name] for name in ("model_size", "max_seq_len", "reorder", "fill")}
    write_report("asked_chords", {"run": run, "step": record.step, "heard_of_asked": found, "shares": shares})


if __name__ == "__main__":
    main()
