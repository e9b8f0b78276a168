"""`demo --train`, the whole chain in minutes: MIDI files to a dataset, a trained checkpoint, and a new song,
with the pictures that show it.
"""

import shlex
import shutil
import time
from pathlib import Path

from tqdm import tqdm

from configs import InputError, PrepareConfig, presets
from jax_impl.cli.demo_folder import MADE_BY, SUMMARY, claimed, summary_of
from jax_impl.sampling import pianoroll, sample
from jax_impl.sampling.task import task_of_record
from jax_impl.training import metrics, train
from jax_impl.training.found import find
from tokenizer.dataset.prepare import prepare
from tokenizer.disk.atomic import (
    WriteError,
    atomic,
    atomic_together,
    file_digest,
    is_as_written,
    move_aside,
    refuse_to_replace,
    write_json,
)
from tokenizer.music import midi
from tokenizer.music.composer import compose

DATASET, CHECKPOINT = "dataset", "checkpoint"
SONG, PIANO_ROLL, LOSS = WRITTEN = "song.mid", "pianoroll.png", train.PICTURE_FILE
LOSSES = {"validation": "loss", "unigram": "unigram", "uniform": "uniform"}  # in the summary, in metrics.jsonl


def train_demo(midi_dir: Path | None, out: Path, overwrite: bool) -> int:
    """Makes the folder `out`: midi (composed songs, if none are given), dataset, checkpoint (the run), song.mid,
    pianoroll.png, loss.png and summary.json. Started again after an interruption it goes on. Returns the exit status.
    overwrite: take a folder that no demo made, and begin anew, an earlier dataset and run moved aside.
    Raises InputError.
    """
    if midi_dir is not None and not midi_dir.exists():
        raise InputError(f"--midi {midi_dir}: no such file or folder")
    with claimed(out, overwrite):
        _make_room(out, overwrite)
        return _demo(midi_dir, out, overwrite)


def _make_room(out: Path, overwrite: bool) -> None:
    """Moves an earlier dataset and run aside, where that is asked for. Raises InputError where a file is in the way."""
    if overwrite:
        for name in (DATASET, CHECKPOINT):
            if (out / name).exists():
                print(f"{out / name}: moved to {move_aside(out / name, 'old')}")
    noted = summary_of(out)["files"]
    for name in WRITTEN:
        ours = is_as_written(out / name, noted.get(name))
        refuse_to_replace(out / name, flag="--out", overwrite=overwrite, ours=ours)


def _demo(midi_dir: Path | None, out: Path, overwrite: bool) -> int:
    began = time.monotonic()
    if midi_dir is None:
        midi_dir = out / "midi"
        _compose(midi_dir, presets.DEMO_SONGS, overwrite)
    config = presets.demo(out / DATASET, out / CHECKPOINT)
    prepare([midi_dir], config.data_dir, PrepareConfig())
    result = train.train(config)
    if result.signal:
        return 128 + result.signal
    found = find(config.output_dir, "best")
    record = found.record
    with tqdm(total=presets.DEMO_SAMPLE.max_length, desc="sampling", unit="token", disable=None) as bar:
        task = task_of_record(record, presets.DEMO_SAMPLE, presets.DEMO_SONG)
        sampler = sample.Sampler(found, task)
        (song,) = sampler.samples(lambda length, _: bar.update(length - bar.n))
    validated = [line for line in metrics.read(config.output_dir / metrics.FILE) if line["kind"] == "validation"]
    best = next((line for line in validated if line["step"] == record.step), None)
    summary = {"made_by": MADE_BY}
    if best:
        summary |= {f"{name}_loss": best[key] for name, key in LOSSES.items()}
    summary |= {"step": record.step, "song_tokens": len(song.ids), "song_finished": song.finished}
    summary |= {"seconds": round(time.monotonic() - began, 1)}
    with atomic_together([out / name for name in (SUMMARY, *WRITTEN)]) as (summary_file, *written):
        notice = midi.write(song.score(), written[0])
        pianoroll.piano_roll(song.score(), written[1], "a new song")
        shutil.copyfile(config.output_dir / LOSS, written[2])
        files = summary_of(out)["files"]  # of the songs without training too
        files |= {name: file_digest(file) for name, file in zip(WRITTEN, written, strict=True)}
        write_json(summary_file, summary | {"files": files}, indent=1)
    if notice:
        print(f"notice: {out / SONG}: {notice}")
    if best:
        print(
            f"\nvalidation loss {best['loss']:.3f} nats per token; guessing by frequency (unigram) "
            f"{best['unigram']:.3f}, guessing blindly (uniform) {best['uniform']:.3f}"
        )
    print(
        f"{out}: {SONG} ({len(song.ids)} tokens), {PIANO_ROLL}, {LOSS}, {SUMMARY} after {summary['seconds']:.0f} s\n"
        f"another song: hid-museformer generate {shlex.quote(str(config.output_dir))} -o another.mid --seed 1 "
        f"--instruments {presets.DEMO_SONG.instruments} --bars {presets.DEMO_SONG.bars}"
    )
    return 0


def _compose(folder: Path, songs: int, overwrite: bool) -> None:
    """Songs 0 to songs - 1 of the built-in composer as MIDI files. Raises InputError where others have their names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(folder, error) from error
    for seed in tqdm(range(songs), desc="composing", unit="song", disable=None):
        path = folder / f"{seed:03}.mid"
        with atomic(path) as temporary:
            midi.write(compose(seed), temporary)
            refuse_to_replace(path, flag="--out", overwrite=overwrite, ours=is_as_written(path, file_digest(temporary)))
