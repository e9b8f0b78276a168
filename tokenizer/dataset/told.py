"""What reading and the grid changed, as a row of a dataset keeps it; and the sums over many songs, in numbers and in
words: the same for the files that `check` looks at and for a dataset that `prepare` makes.
"""

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from configs import CheckConfig
from tokenizer.grid.changes import Changes
from tokenizer.music.midi import Reading

SUMMED = ("notes", "notes_out", "doubles", "merged", "moved", "moved_ms_sum", "cut", "cut_seconds", "sounding_seconds")


def told_of(changes: Changes, reading: Reading) -> dict:
    """All of Changes and of Reading but the score, in types that JSON has."""
    of_reading = {"repairs": list(reading.repairs), "partly_read": reading.partly_read, "pedalled": reading.pedalled}
    return asdict(changes) | {"meters": list(changes.meters)} | of_reading


def to_json(changes: Changes, reading: Reading) -> str:
    return json.dumps(told_of(changes, reading), ensure_ascii=False)


def sum_up(songs: Iterable[dict], config: CheckConfig) -> dict:
    """Over what is told of songs; {} stands for one of which nothing is known, and what one does not tell counts as 0.

    songs: of which something is known. repaired, pedalled: songs. repairs: songs by kind of repair, the most frequent
    first. silent: songs with more than config.silent_bars silent bars in a row. seconds, seconds_out: of all;
    seconds_off_median, seconds_off_worst: by how much a song lasts longer or shorter, as a share of its length. The
    rest: see Changes.
    """
    sums, kinds = Counter({name: 0 for name in SUMMED}), Counter()
    seconds, seconds_out = array("d"), array("d")  # eight bytes a song, of which there may be millions
    count = repaired = pedalled = silent = 0
    for told in filter(None, songs):
        repairs = told.get("repairs", [])
        count += 1
        repaired += bool(repairs)
        pedalled += told.get("pedalled", 0) > 0
        silent += told.get("silent_bars", 0) > config.silent_bars
        kinds.update({kind_of_repair(repair) for repair in repairs})
        seconds.append(told.get("seconds", 0.0))
        seconds_out.append(told.get("seconds_out", 0.0))
        for name in SUMMED:
            sums[name] += told.get(name, 0)
    before, after = (np.array(lengths) if count else np.zeros(1) for lengths in (seconds, seconds_out))
    off = np.abs(after - before) / np.maximum(before, 1e-3)
    return {
        "songs": count,
        "repaired": repaired,
        "repairs": dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0]))),
        "pedalled": pedalled,
        "silent": silent,
        **{name: round(sums[name], 3) for name in SUMMED},
        "seconds": round(float(before.sum()), 3),
        "seconds_out": round(float(after.sum()), 3),
        "seconds_off_median": round(float(np.median(off)), 6),
        "seconds_off_worst": round(float(off.max()), 6),
    }


def kind_of_repair(repair: str) -> str:
    """Without its numbers, which differ from file to file, and whether they are one or many."""
    kind = re.sub(r"\d+", "N", repair)
    kind = re.sub(r"\bN (data byte|byte|track)\b", r"N \1s", kind)
    return kind.replace("N is there", "N are there")


def in_words(sums: dict, config: CheckConfig) -> list[str]:
    """A line for each sum that says something; none where nothing is known."""
    if not sums.get("songs"):
        return []
    notes = max(sums["notes"], 1)
    lines = [
        f"{count_of(sums['notes'], 'note')} read, {sums['notes_out']:,} on the grid: {sums['doubles']:,} were there "
        f"twice, {sums['merged']:,} ({sums['merged'] / notes:.2%}) met another strike of their pitch",
        f"{count_of(sums['moved'], 'note')} ({sums['moved'] / notes:.1%}) moved by more than {config.moved_ms:g} ms; "
        f"{sums['moved_ms_sum'] / notes:.1f} ms in the mean",
        f"{sums['seconds']:,.0f} seconds read, {sums['seconds_out']:,.0f} on the grid; a song is "
        f"{sums['seconds_off_median']:.2%} off in the median, {sums['seconds_off_worst']:.2%} at worst",
    ]
    if sums["cut"]:
        lost = sums["cut_seconds"] / max(sums["sounding_seconds"], 1e-3)
        cut = count_of(sums["cut"], "note")
        lines.append(f"{cut} ending a thirty-second early or more; {lost:.2%} of all sounding time lost")
    if sums["pedalled"]:
        lines.append(f"{count_of(sums['pedalled'], 'song')} in which notes ring on under the sustain pedal")
    if sums["silent"]:
        lines.append(
            f"{count_of(sums['silent'], 'song')} with more than {config.silent_bars} silent bars in a row; "
            "--max-silent-bars of prepare leaves them out"
        )
    if sums["repaired"]:
        lines.append(f"{count_of(sums['repaired'], 'file')} with faults, read all the same; --strict leaves them out:")
        lines += [f"  {count:6} {kind}" for kind, count in list(sums["repairs"].items())[:8]]
    return lines


def count_of(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
