"""The model that is shipped: from folders of songs to its weights, by one command that goes on where it was stopped.

    PYTHONPATH=.:benchmarks python benchmarks/shipped_model.py MIDI --work FOLDER --steps 8000

MIDI holds a folder for each source in CORPORA. Of each corpus songs are held out by their content before anything else,
and some files are left out altogether, for a fine-tuning that knows none of them. What FOLDER gets: a dataset a corpus,
mixture/, run/, held_out.json (content hashes and names of the songs that no training saw) and model.safetensors.
A larger --steps later goes on from the plateau; --init-from WEIGHTS --seed 1 begins another run, which trains weights
on that ended their decay.
"""

import argparse
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from configs import PrepareConfig, presets
from jax_impl.device import sharding
from jax_impl.training.checkpoint import export
from jax_impl.training.train import train
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset
from tokenizer.disk.atomic import write_json


class Corpus(NamedTuple):
    """folders: its sources. weight: how often an epoch shows a song. held_out: share of the songs."""

    folders: tuple[str, ...]
    weight: float
    held_out: float


CORPORA = {
    "games": Corpus(("easyrpg", "freedoom", "simutrans", "cc0"), 2.0, 0.08),
    "scores": Corpus(("orchestra", "quartets"), 0.5, 0.08),
    "lieder": Corpus(("lieder",), 0.3, 0.05),
    "groove": Corpus(("groove",), 0.15, 0.05),
}
APART = ("simutrans", 24)  # so many files of this folder are not looked at: to be tuned to
MIXTURE, RUN, HELD_OUT, WEIGHTS = "mixture", "run", "held_out.json", "model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("midi", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--init-from", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    work = arguments.work
    make_datasets(arguments.midi, work)
    config = presets.shipped(work / MIXTURE, work / RUN, arguments.steps, arguments.init_from, arguments.seed)
    sharding.split_cores(config)
    if not train(config).signal:
        export(work / RUN, work / WEIGHTS, "fp16", overwrite=True)


def make_datasets(midi: Path, work: Path) -> None:
    """The corpora, their mixture, and the list of what is held out."""
    apart = files_apart(midi)
    held_out = {"apart": [f"{APART[0]}/{path.name}" for path in apart]}
    for name, corpus in CORPORA.items():
        linked = link(midi, corpus.folders, {path.resolve() for path in apart}, work / "midi" / name)
        folder = work / name
        prepare([linked], folder, PrepareConfig(validation_fraction=corpus.held_out, duplicates="transposed"))
        songs = Dataset(folder)["validation"]
        named = ((songs.hash(number), songs.source(number)) for number in range(len(songs)))
        held_out[name] = {f"{music:016x}": source.removeprefix(f"{name}/") for music, source in named}
    (work / MIXTURE).mkdir(exist_ok=True)
    weights = {f"../{name}": corpus.weight for name, corpus in CORPORA.items()}
    write_json(work / MIXTURE / "mixture.json", {"datasets": weights})
    write_json(work / HELD_OUT, held_out, indent=1)


def files_apart(midi: Path) -> list[Path]:
    """Of one folder, by their content."""
    folder, count = APART
    files = sorted((midi / folder).rglob("*.mid"), key=lambda path: hashlib.sha256(path.read_bytes()).digest())
    return sorted(files[:count])


def link(midi: Path, folders: tuple[str, ...], apart: set[Path], linked: Path) -> Path:
    """A folder of links to all files of these folders but for some."""
    for folder in folders:
        for path in sorted((midi / folder).rglob("*.mid")):
            place = linked / path.relative_to(midi)
            if path.resolve() not in apart and not os.path.lexists(place):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path.resolve())
    return linked


if __name__ == "__main__":
    main()
