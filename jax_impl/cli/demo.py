"""The whole chain in minutes: MIDI files to a dataset, a trained checkpoint, and a new song,
with the pictures that show it.
"""

import json
import os
import shutil
import time
from pathlib import Path

from tqdm import tqdm

from configs import Constraints, InputError, PrepareConfig, presets
from jax_impl.device import device
from jax_impl.sampling import pianoroll, sample
from jax_impl.training import metrics, train
from jax_impl.training.checkpoint import load_model
from tokenizer.dataset.files import MANIFEST
from tokenizer.dataset.prepare import prepare
from tokenizer.music import midi
from tokenizer.music.composer import compose

DATASET, CHECKPOINT, SUMMARY = "dataset", "checkpoint", "summary.json"


def demo(midi_dir: Path | None, out: Path) -> int:
    """Makes the folder `out`: midi (composed songs, if none are given), dataset, checkpoint (the run), song.mid,
    pianoroll.png, loss.png and summary.json. Started again after an interruption it goes on. Returns the exit status.
    Raises InputError.
    """
    began = time.monotonic()
    if midi_dir is None:
        midi_dir = out / "midi"
        _compose(midi_dir, presets.DEMO_SONGS)
    config = presets.demo(out / DATASET, out / CHECKPOINT)
    if (
        config.data_dir / MANIFEST
    ).exists():  # of an earlier demo; training refuses to go on if the songs are others now
        shutil.rmtree(config.data_dir)
    prepare([midi_dir], config.data_dir, PrepareConfig())
    result = train.train(config, train.model_config(config))
    if result.signal:
        return 128 + result.signal
    shutil.copyfile(config.output_dir / train.PICTURE_FILE, out / train.PICTURE_FILE)

    model, record = load_model(config.output_dir, "best")
    with tqdm(total=presets.DEMO_SAMPLE.max_length, desc="sampling", unit="token", disable=None) as bar:
        sampler = sample.Sampler(model, presets.DEMO_SAMPLE, device.sampling_compute(), None, Constraints())
        (song,) = sampler.samples(lambda length: bar.update(length - bar.n))
    midi.write(song.score(), out / "song.mid")
    pianoroll.piano_roll(song.score(), out / "pianoroll.png", "a new song")

    validated = [line for line in metrics.read(config.output_dir / metrics.FILE) if line["kind"] == "validation"]
    best = next(line for line in validated if line["step"] == record.step)
    summary = {
        "validation_loss": best["loss"],
        "unigram_loss": best["unigram"],
        "uniform_loss": best["uniform"],
        "step": record.step,
        "song_tokens": len(song.ids),
        "song_finished": song.finished,
        "seconds": round(time.monotonic() - began, 1),
    }
    _write(out / SUMMARY, json.dumps(summary, indent=1) + "\n")
    print(
        f"\nvalidation loss {best['loss']:.3f} nats per token; guessing by frequency (unigram) {best['unigram']:.3f}, "
        f"guessing blindly (uniform) {best['uniform']:.3f}\n{out}: song.mid ({len(song.ids)} tokens), "
        f"pianoroll.png, loss.png, {SUMMARY} "
        f"after {summary['seconds']:.0f} s\nanother song: hid-museformer generate {config.output_dir} -o "
        "another.mid --seed 1"
    )
    return 0


def _compose(folder: Path, songs: int) -> None:
    """Songs 0 to songs - 1 of the built-in composer as MIDI files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {folder.parent}: cannot be written ({error.strerror})") from error
    for seed in tqdm(range(songs), desc="composing", unit="song", disable=None):
        midi.write(compose(seed), folder / f"{seed:03}.mid")


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
