"""How well a small model learns songs, in nats per note: to compare one tokenizer with another.

    PYTHONPATH=. python benchmarks/nats_per_note.py --songs ../shared/data/midi/easyrpg

Losses per token say nothing of two tokenizers, whose tokens are not the same. Here all that a model must be told of a
window of a song counts, every token from the first after BOS, and is divided by the notes of its MIDI file, which no
tokenizer changes. Every eighth file is held out. A model of size tiny is trained on the others (flags below), then
reads the held out ones in windows of 32 quarter notes that begin with a measure. --align auto reads all of them by the
beats of their music, off by the file's own. Writes a report, a sampled song and its picture to
benchmarks/results/nats_per_note_NAME.json, .mid and .png. The same script runs on another revision of the project, with
PYTHONPATH naming it: so a tokenizer is compared with the one before it.
"""

import argparse
import itertools
import shutil
import tempfile
from pathlib import Path

import numpy as np
from report import write_report
from tqdm import tqdm

import tokenizer
from configs import Constraints, PrepareConfig, SampleConfig, TrainConfig
from jax_impl import generate, score_logits, train
from jax_impl.sampling.pianoroll import draw
from jax_impl.training.checkpoint import load_model
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.prepare import prepare
from tokenizer.grid.song import GridSong
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import grid_song

WINDOW = 32 * 480  # ticks of the grid
HELD_OUT = 8  # every eighth file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, nargs="+", required=True, help="folders of MIDI files")
    parser.add_argument("--name", default="now", help="of what is compared")
    parser.add_argument("--align", choices=("auto", "off"), default="auto", help="where songs have their beats")
    parser.add_argument("--steps", type=int, default=2000, help="optimizer steps, of 1024 tokens each")
    arguments = parser.parse_args()
    config = PrepareConfig(validation_fraction=0.0, align=arguments.align)
    files = [Path(path) for _, path in find_midi(arguments.songs)[0]]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "midi").mkdir()
        for number, path in enumerate(files):
            if number % HELD_OUT:
                shutil.copy(path, work / "midi" / f"{number}.mid")
        manifest = prepare([work / "midi"], work / "songs", config)
        flags = dict(model_size="tiny", max_seq_len=1024, batch_size=1, learning_rate=3e-3, warmup_steps=50)
        flags |= dict(dropout=0.0, num_workers=0, steps=arguments.steps, checkpoint_every=arguments.steps)
        train(TrainConfig(work / "songs", work / "run", **flags))
        model = load_model(work / "run", "latest")[0]
        told = [nats_and_notes(model, path, config) for path in tqdm(files[::HELD_OUT], desc="held out")]
        sampler = SampleConfig(seed=1, temperature=0.9, top_p=0.95)
        (song, *_) = generate(work / "run", constraints=Constraints(bars=8), sampler=sampler)
    nats, tokens, notes = np.sum(told, axis=0)
    results = {
        "training": flags | {"files": manifest["splits"]["train"]["songs"]},
        "held_out": {"files": len(told), "notes": int(notes), "tokens": int(tokens)},
        "nats_per_token": round(nats / tokens, 4),
        "tokens_per_note": round(tokens / notes, 4),
        "nats_per_note": round(nats / notes, 4),
    }
    path = write_report(f"nats_per_note_{arguments.name}", results)
    tokenizer.write(song, path.with_suffix(".mid"))
    draw(song, f"nats per note: {arguments.name}").savefig(path.with_suffix(".png"), dpi=110)


def nats_and_notes(model, path: Path, config: PrepareConfig) -> tuple[float, int, int]:
    """What the windows of a file cost, their tokens, and the notes of the file."""
    score = tokenizer.read(path)
    if config.align == "auto":
        score = tokenizer.align(score).score
    tokens = tokenizer.encode(score)
    edges = [*window_edges(grid_song(tokens)[0]), int(tokens.bar.max()) + 1]
    nats, count = 0.0, 0
    for first, end in itertools.pairwise(edges):
        window = crop(tokens, first, end - first)
        logits = score_logits(model, window)[1].astype(np.float64)[:-1]
        wanted = window.ids[1:]
        likelihood = logits[np.arange(len(wanted)), wanted] - np.logaddexp.reduce(logits, axis=1)
        nats, count = nats - float(likelihood.sum()), count + len(wanted)
    return nats, count, sum(len(track.notes) for track in score.tracks)


def window_edges(song: GridSong) -> list[int]:
    """Bars at which windows begin: the first measure at or after each multiple of WINDOW."""
    lines = song.bars.start_ticks[:-1]
    begins = np.flatnonzero(getattr(song.bars, "part", np.zeros(len(lines))) == 0)
    at = np.searchsorted(lines[begins], np.arange(0, lines[-1] + 1, WINDOW))
    return np.unique(begins[at[at < len(begins)]]).tolist()


if __name__ == "__main__":
    main()
