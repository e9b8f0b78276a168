"""Which temperatures and limits make songs that are most like real ones: each setting of a grid is sampled from, and
the features of its songs are compared with those of songs held out.

    PYTHONPATH=.:benchmarks python benchmarks/sampling_defaults.py RUN DATA_DIR --name defaults

One program samples all settings.
The distance of a setting is the mean over features of how much less its songs overlap with real ones than these do
among themselves.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import report
from tqdm import tqdm

from configs import Constraints, EvaluateConfig, SampleConfig
from jax_impl.evaluation import comparison
from jax_impl.evaluation.evaluate import HeldOutSongs
from jax_impl.sampling.draw import Settings
from jax_impl.sampling.sample import Sampler
from jax_impl.sampling.task import task_of_record
from jax_impl.training.found import find
from tokenizer.tokens import fields

BARS = 16
PLAIN = SampleConfig(temperature=1.0, top_p=1.0, chord_temperature=1.0)
GRID = [
    {"temperature": 0.9, "top_p": 0.98},
    {"top_p": 0.95},
    {"temperature": 0.95, "top_p": 0.95},
    {"top_p": 0.95, "chord_temperature": 0.6},
    {"top_p": 0.9},
    {"min_p": 0.05},
]
SHOWN = ("chords_in_16_bars", "chord_1_bar_before", "chord_4_bars_before", "chord_8_bars_before", "chords_heard",
         "out_of_key", "notes_per_bar", "empty_bars", "tempo", "polyphony", "groove_consistency",
         "instruments")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--songs", type=int, default=32)
    parser.add_argument("--instruments", default="", help="as of generate")
    parser.add_argument("--settings", type=json.loads, default=GRID, help="instead of the grid, as JSON")
    parser.add_argument("--name", help="of the result")
    arguments = parser.parse_args()
    found = find(arguments.run, "best")
    real = HeldOutSongs(found, arguments.data_dir, EvaluateConfig(bars=BARS)).first_bars()
    wanted = Constraints(bars=BARS, instruments=arguments.instruments)
    task = task_of_record(found.record, replace(PLAIN, num_samples=arguments.songs), wanted)
    sampler, rows = Sampler(found, task), []
    about = {"step": found.record.step, "songs": arguments.songs, "real": len(real), "plain": asdict(PLAIN)}
    about |= {"instruments": arguments.instruments}
    for setting in arguments.settings:
        sampler._settings = Settings.of(replace(PLAIN, **setting))
        with tqdm(total=arguments.songs, desc=str(setting), disable=None) as bar:
            songs = []
            for sample in sampler.samples():
                songs.append(fields.compute(sample.ids))
                bar.update()
        compared = comparison.compare(songs, real, bars=BARS)
        rows.append({"setting": setting, **distance(compared), "features": means(compared)})
        tell(rows[-1])
        if arguments.name:
            report.write_report(arguments.name, about | {"settings": rows}, show=False)


def distance(compared: dict) -> dict:
    judged = {name: found for name, found in compared["features"].items() if found["floor_overlap"] is not None}
    missing = [max(found["floor_overlap"] - (found["overlap"] or 0.0), 0.0) for found in judged.values()]
    return {
        "distance": float(np.mean(missing)),
        "outside": [name for name, found in judged.items() if found["outside"]],
        "similarity_error": compared["similarity"]["error"],
    }


def means(compared: dict) -> dict:
    features = compared["features"].items()
    return {name: [found[side]["mean"] for side in ("samples", "real")] for name, found in features}


def tell(row: dict) -> None:
    said = [f"{name} {row['features'][name][0] or 0:.2f} ({row['features'][name][1] or 0:.2f})" for name in SHOWN]
    print(
        f"{row['setting']}: distance {row['distance']:.3f}, {len(row['outside'])} outside; {', '.join(said)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
