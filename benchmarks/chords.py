"""How often the chord token of a bar agrees with people: root, and root with major or minor third, weighted by time.

    python benchmarks/chords.py --songs ../shared/data/midi

compares with POP909's annotation (pop909/NNN.mid, pop909_chords/NNN.txt: start and end in seconds, Harte label) and
with the bound, the best that one label a bar can reach: for each bar the label that agrees longest. Writes
benchmarks/results/chords.json.
"""

import argparse
import re
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from report import write_report

from tokenizer.grid.chords import TONES, bar_chords
from tokenizer.grid.meter import TICKS_PER_BEAT, lay_bars
from tokenizer.grid.quantize import quantize, source_time
from tokenizer.music import midi
from tokenizer.music.score import Score
from tokenizer.vocabulary import QUALITIES

NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
MINOR = {"min", "min7", "min9", "min6", "minmaj7", "min11", "min13", "dim", "dim7", "hdim7"}
NEITHER = {"sus2", "sus4", "5", "1"}


def harte(label: str) -> tuple[int, str] | None:
    """(root, third) of a Harte label, third "maj", "min" or "" where the chord has none; None for N and X."""
    match = re.match(r"([A-G])([#b]*)(?::([a-z0-9]*))?", label)
    if not match or label[0] in "NX":
        return None
    root = (NATURALS[match[1]] + match[2].count("#") - match[2].count("b")) % 12
    quality = match[3] or "maj"
    third = "min" if quality in MINOR else "" if quality.startswith("sus") or quality in NEITHER else "maj"
    return root, third


def own(chord: int) -> tuple[int, str] | None:
    """The same of our chord index."""
    if chord == 0:
        return None
    tones = TONES[QUALITIES[(chord - 1) % len(QUALITIES)]]
    return (chord - 1) // len(QUALITIES), "maj" if 4 in tones else "min" if 3 in tones else ""


def bar_seconds(score: Score) -> np.ndarray:
    """Bar lines of the snapped song in the seconds of the original performance."""
    last = max(int(track.notes["onset_ticks"].max()) for track in score.tracks)
    lines = (
        source_time(lay_bars(score, last).bars.start_ticks, score.ticks_per_beat, lay_bars(score, last))
        / TICKS_PER_BEAT
    )
    ticks = np.array([tempo.tick for tempo in score.tempos])
    rate = np.array([tempo.microseconds_per_beat for tempo in score.tempos]) / 1e6 / score.ticks_per_beat
    at_change = np.concatenate([[0], np.cumsum(np.diff(ticks) * rate[:-1])])
    index = np.searchsorted(ticks, lines, side="right") - 1
    return at_change[index] + (lines - ticks[index]) * rate[index]


def agreement(midi_path: Path, chord_path: Path) -> dict[str, float]:
    """Seconds of a song: total, agreed and reachable, for the root and for root and third."""
    score = midi.read(midi_path)
    song = quantize(score)
    started = time.perf_counter()
    chords = bar_chords(song.to_score(), song.bars.start_ticks)
    figures = defaultdict(float, milliseconds=1e3 * (time.perf_counter() - started))
    lines = bar_seconds(score)
    segments = [
        (float(a), float(b), harte(c))
        for a, b, c in (
            line.split()[:3] for line in chord_path.read_text(encoding="utf-8").splitlines() if line.strip()
        )
    ]
    for bar, chord in enumerate(chords.tolist()):
        time_of = {"root": defaultdict(float), "majmin": defaultdict(float)}
        for start, end, label in segments:
            seconds = min(end, lines[bar + 1]) - max(start, lines[bar])
            if seconds > 0 and label is not None:
                time_of["root"][label[0]] += seconds
                if label[1]:
                    time_of["majmin"][label] += seconds
        guess = own(chord)
        for name, answer in (("root", guess and guess[0]), ("majmin", guess)):
            figures[f"{name}_total"] += sum(time_of[name].values())
            figures[f"{name}_agreed"] += time_of[name].get(answer, 0.0)
            figures[f"{name}_bound"] += max(time_of[name].values(), default=0.0)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--songs", type=Path, default=Path("../shared/data/midi"), help="folder that holds pop909 and pop909_chords"
    )
    songs = parser.parse_args().songs
    sums: dict[str, dict[str, float]] = {"tuned_on": defaultdict(float), "held_out": defaultdict(float)}
    paths = sorted((songs / "pop909").glob("*.mid"))
    for number, path in enumerate(paths):
        half = sums["tuned_on" if number % 2 else "held_out"]
        for name, value in agreement(path, songs / "pop909_chords" / f"{path.stem}.txt").items():
            half[name] += value
    sums["all"] = {name: sums["tuned_on"][name] + sums["held_out"][name] for name in sums["held_out"]}
    results = {"songs": len(paths), "milliseconds_per_song": sums["all"]["milliseconds"] / len(paths)}
    for half, figures in sums.items():
        for name in ("root", "majmin"):
            agreed, bound = (figures[f"{name}_{part}"] / figures[f"{name}_total"] for part in ("agreed", "bound"))
            results[f"{half}_{name}"] = {
                "agreement": round(agreed, 4),
                "bound": round(bound, 4),
                "of_bound": round(agreed / bound, 4),
            }
    write_report("chords", results)


if __name__ == "__main__":
    main()
