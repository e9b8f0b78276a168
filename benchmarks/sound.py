"""Seconds in which three minutes of music become sound with the extra `sound` alone, without FluidSynth.

    python benchmarks/sound.py

Songs of the built-in composer, one after another. Writes benchmarks/results/sound.json.
"""

import os
import statistics
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
from report import write_report

from jax_impl.sampling import sound
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import Score, Track

SECONDS, REPEATS = 180, 5


def long_song() -> Score:
    """A composed song again and again."""
    score = compose(0)
    beat = score.tempos[0].microseconds_per_beat / 1e6
    bar = 4 * score.ticks_per_beat
    last = max(int(track.notes["onset_ticks"].max()) for track in score.tracks)
    length = (last // bar + 1) * bar
    times = int(SECONDS / (length / score.ticks_per_beat * beat)) + 1

    def repeated(track: Track) -> Track:
        notes = np.concatenate([track.notes] * times)
        notes["onset_ticks"] += np.repeat(np.arange(times) * length, len(track.notes)).astype(
            notes.dtype["onset_ticks"]
        )
        return Track(track.program, notes)

    return Score(score.ticks_per_beat, tuple(map(repeated, score.tracks)), score.tempos[:1], score.signatures[:1])


def main() -> None:
    soundfont, seconds = sound.packaged(), []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        midi.write(long_song(), path / "song.mid")
        song = (path / "song.mid").read_bytes()
        for _ in range(REPEATS):
            begin = time.perf_counter()
            sound._midirenderer(song, path / "song.wav", soundfont)
            seconds.append(round(time.perf_counter() - begin, 2))
        with wave.open(str(path / "song.wav")) as file:
            length = file.getnframes() / file.getframerate()
    results = {"seconds_of_music": round(length, 1), "seconds": seconds, "median": statistics.median(seconds)}
    write_report("sound", results | {"load_average": os.getloadavg()[0]})


if __name__ == "__main__":
    main()
