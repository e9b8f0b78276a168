"""How many tokens a bar takes, of a track by its instrument and of a whole song: what tokenizer/tokens/room.py holds.

    python benchmarks/tokens_per_bar.py --songs ../shared/data/midi

Of each group of instruments (as in HID order) what half and what nine in ten of its tracks take at most, every folder
of songs counting alike: else a thousand songs for voice and piano would say how dense a game's piano is. Writes
benchmarks/results/tokens_per_bar.json.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from report import write_report

from tokenizer.music import midi
from tokenizer.tokens.encode import encode
from tokenizer.tokens.room import GROUPS, group
from tokenizer.vocabulary import CLASS, VALUE, Class

FEWEST_TRACKS = 5  # of an instrument group in a folder, for the folder to say something about it


def densities(ids: np.ndarray) -> list[tuple[str, float]]:
    """(group, tokens a bar) of each track, and ("song", tokens a bar) of them all."""
    starts = np.flatnonzero(CLASS[ids] == Class.TRACK)
    found, most_bars = [], 1
    for start, end in zip(starts, np.append(starts[1:], len(ids) - 1), strict=True):
        section = ids[start + 2 : end]
        bars = int(np.sum(CLASS[section] == Class.CHORD))
        most_bars = max(most_bars, bars)
        found.append((group(int(VALUE[ids[start]])), len(section) / bars))
    return [*found, ("song", len(ids) / most_bars)]


def percentiles(folders: list[list[float]]) -> dict[str, float]:
    """Of all values together, every folder weighing 1."""
    values = np.concatenate(folders)
    weights = np.concatenate([np.full(len(folder), 1 / len(folder)) for folder in folders]) / len(folders)
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    at = lambda share: round(float(values[order][np.searchsorted(reached, share)]), 1)
    return {"median": at(0.5), "nine_in_ten": at(0.9)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, required=True, help="a folder with a folder for each source of songs")
    args = parser.parse_args()
    by_group: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    songs = 0
    for path in sorted(args.songs.rglob("*")):
        if path.suffix.lower() not in (".mid", ".midi"):
            continue
        try:
            ids = encode(midi.read(path)).ids
        except midi.MidiError:
            continue
        songs += 1
        for name, density in densities(ids):
            by_group[name][path.relative_to(args.songs).parts[0]].append(density)
    results = {"songs": songs}
    for name in (*GROUPS, "song"):
        folders = [values for values in by_group[name].values() if len(values) >= FEWEST_TRACKS]
        results[name] = {"tracks": sum(map(len, folders)), "folders": len(folders)} | percentiles(folders)
    write_report("tokens_per_bar", results)


if __name__ == "__main__":
    main()
