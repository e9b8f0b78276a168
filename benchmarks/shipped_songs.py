"""Songs of the model that comes with the program, to be heard and looked at: four of each kind of task, given songs
being ones that no training saw.

    PYTHONPATH=.:benchmarks python benchmarks/shipped_songs.py MIDI --work FOLDER --seed 0

MIDI, FOLDER: as of shipped_model.py. What is there afterwards: benchmarks/results/samples/KIND-N.mid and .png, and of
the first of each kind KIND-1.wav (mono, 14.7 kHz, its first 30 seconds). None is chosen: they are those of the seed.
"""

import argparse
import json
import shutil
import tempfile
import wave
from pathlib import Path

import numpy as np
from report import RESULTS

from configs import Constraints, SampleConfig
from jax_impl import shipped
from jax_impl.sampling import compose, outputs, sound
from tokenizer.music import instruments, midi
from tokenizer.music.score import DRUMS

SAMPLES = RESULTS / "samples"
EACH, SECONDS, COARSER = 4, 30, 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("midi", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    given = songs_held_out(arguments.midi, arguments.work)
    shutil.rmtree(SAMPLES, ignore_errors=True)
    SAMPLES.mkdir(parents=True)
    for number, song in enumerate(given[:EACH], start=1):
        for kind, wanted in asked(song).items():
            write(kind, number, wanted, None if kind == "fresh" else song, arguments.seed)


def songs_held_out(folder: Path, work: Path) -> list[Path]:
    """Game songs with drums and at least two pitched tracks, in the order of their content."""
    held_out = json.loads((work / "held_out.json").read_text(encoding="utf-8"))["games"]
    songs = [folder / name for _, name in sorted(held_out.items())]
    return [song for song in songs if len(pitched(song)) >= 2 and has_drums(song) and midi.read(song).tracks]


def pitched(song: Path) -> list[int]:
    """Programs of its pitched tracks, of that with most notes first."""
    tracks = [track for track in midi.read(song).tracks if track.program != DRUMS]
    return [track.program for track in sorted(tracks, key=lambda track: -len(track.notes))]


def has_drums(song: Path) -> bool:
    return any(track.program == DRUMS for track in midi.read(song).tracks)


def asked(song: Path) -> dict[str, Constraints]:
    first = instruments.name(pitched(song)[0])
    return {
        "fresh": Constraints(bars=16),
        "continued": Constraints(keep_bars=8, bars=16),
        "accompanied": Constraints(add="strings"),
        "filled": Constraints(fill=f"{first}:5-8"),
    }


def write(kind: str, number: int, wanted: Constraints, song: Path | None, seed: int) -> None:
    path = SAMPLES / f"{kind}-{number}.mid"
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / path.name
        formats = outputs.Formats(True, sound.find_soundfont() if number == 1 else None)
        request = compose.Request(shipped.MODEL, SampleConfig(seed=seed + number), wanted, song)
        compose.write_songs(request, written, formats, overwrite=False)
        shutil.copy(written, path)
        shutil.copy(written.with_suffix(".png"), path.with_suffix(".png"))
        if number == 1:
            shorten(written.with_suffix(".wav"), path.with_suffix(".wav"))


def shorten(long: Path, short: Path) -> None:
    with wave.open(str(long)) as file:
        rate, channels = file.getframerate(), file.getnchannels()
        frames = np.frombuffer(file.readframes(SECONDS * rate), "<i2").reshape(-1, channels).mean(axis=1)
    frames = frames[: len(frames) // COARSER * COARSER].reshape(-1, COARSER).mean(axis=1)
    with wave.open(str(short), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate // COARSER)
        file.writeframes(frames.astype("<i2").tobytes())


if __name__ == "__main__":
    main()
