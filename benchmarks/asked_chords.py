"""In how many bars the chord finder hears the chord that was asked for, by --chord-notes: of a trained model where
notes on beats are the chord's, of random weights where all are, and of labels alone.

    PYTHONPATH=. python benchmarks/asked_chords.py RUN     a trained model, and one of the same size with random weights

Each row of chords is asked of songs with drums, bass, piano and guitar, as `generate --chords` does. Writes
benchmarks/results/asked_chords.json.
"""

import argparse
from pathlib import Path

import jax
from flax import nnx
from report import write_report
from tqdm import tqdm

from configs import Constraints, SampleConfig
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling import asked
from jax_impl.sampling.sample import Sampler

CHORDS = ("C Am F G Dm Bb E7 A", "Cmaj7 Am7 Dm7 G7")
OF = (("beats", "trained"), ("all", "random weights"), ("free", "trained"))  # what is measured of which model
BARS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=6, help="songs of each row of chords")
    arguments = parser.parse_args()
    sampler = SampleConfig(num_samples=arguments.samples)
    found: dict[str, dict] = {}
    for mode, weights in tqdm(OF, desc="modes", disable=None):
        heard = []
        for chords in CHORDS:
            wanted = Constraints(instruments="drums,bass,piano,guitar", bars=BARS, chords=chords, chord_notes=mode)
            run, task = asked.task(arguments.run, None, wanted, sampler, "latest")
            model = run if weights == "trained" else MuseFormer(run.record.model_config, nnx.Rngs(jax.random.key(0)))
            heard += [sample.whole.heard_chords(sample.ids) for sample in Sampler(model, task).samples()]
        of, out_of = map(sum, zip(*heard, strict=True))
        found[f"{mode}, {weights}"] = {"heard": of, "asked": out_of, "share": round(of / out_of, 3)}
    record = run.record
    flags = {name: record.train[name] for name in ("model_size", "max_seq_len", "reorder", "fill")}
    write_report("asked_chords", {"run": flags, "step": record.step, "chords": CHORDS, "bars": found})


if __name__ == "__main__":
    main()
