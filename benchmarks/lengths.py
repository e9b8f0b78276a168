"""How long the songs are that a small model writes when nobody says, beside those that it learned from.

    PYTHONPATH=. python benchmarks/lengths.py --songs ../shared/data/midi/easyrpg ../shared/data/midi/freedoom

A model of size tiny is trained on windows of 1024 tokens (flags below), a few bars of most songs. What it then writes
is counted in bars (whole measures), of the song and of its shortest track. Writes
benchmarks/results/lengths_NAME.json. The same script runs on another revision of the project, with PYTHONPATH naming
it: so one is compared with the one before it.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from report import write_report

import tokenizer
from configs import Constraints, PrepareConfig, SampleConfig, TrainConfig
from jax_impl import generate, train
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset
from tokenizer.grid.song import GridSong
from tokenizer.tokens.encode import grid_song


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, nargs="+", required=True, help="folders of MIDI files")
    parser.add_argument("--name", default="after", help="of what is compared")
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps, of 1024 tokens each")
    parser.add_argument("--samples", type=int, default=24)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        prepare(arguments.songs, work / "songs", PrepareConfig())
        flags = dict(model_size="tiny", max_seq_len=1024, batch_size=1, learning_rate=3e-3, warmup_steps=50)
        flags |= dict(dropout=0.0, num_workers=0, steps=arguments.steps, checkpoint_every=arguments.steps)
        train(TrainConfig(work / "songs", work / "run", **flags))
        sampler = SampleConfig(num_samples=arguments.samples, temperature=0.9, top_p=0.95)
        songs = generate(work / "run", constraints=Constraints(), sampler=sampler)
        written = [grid_song(tokenizer.encode(song))[0] for song in songs]
        real = [grid_song(song)[0] for song in Dataset(work / "songs")["train"]]
    results = {"training": flags, "written": told(written), "learned_from": told(real)}
    write_report(f"lengths_{arguments.name}", results)


def told(songs: list[GridSong]) -> dict:
    """Quartiles of the bars of songs and of their shortest tracks, and of how many tracks they have."""
    sounding = [song for song in songs if song.tracks]
    shortest = [min(int(song.bars.measure[track.notes["bar"][-1]]) + 1 for track in song.tracks) for song in sounding]
    return {
        "songs": len(songs),
        "bars": quartiles([song.bars.n_measures for song in songs]),
        "bars_of_the_shortest_track": quartiles(shortest),
        "tracks": quartiles([len(song.tracks) for song in songs]),
    }


def quartiles(values: list[int]) -> list[float]:
    return np.percentile(values, [25, 50, 75]).round(1).tolist()


if __name__ == "__main__":
    main()
