"""What reading, alignment and the grid changed, as a row of a dataset keeps it; and the sums over many songs, in
numbers and in words: the same for the files that `check` looks at and for a dataset that `prepare` makes.
"""

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np

from configs import CheckConfig
from tokenizer.grid.align import Aligned
from tokenizer.grid.changes import Changes
from tokenizer.music.midi import Reading

SUMMED = ("notes", "notes_out", "doubles", "merged", "moved", "moved_ms_sum", "cut", "cut_seconds", "sounding_seconds")
ALIGNED = {  # of songs by what was done to their time: Aligned.kind, or one of the last two
    "beats": "whose beats were found",
    "meter": "whose measures were found",
    "shift": "that lay beside their beats",
    "pickup": "whose pickup is filled up",
    "off_grid": "whose beats are a guess (--align keep)",
    "none": "as they were",
    "off": "in their files' own time (--align off)",
    "unknown": "of which it is not known",
}


def told_of(changes: Changes, reading: Reading, aligned: Aligned | None) -> dict:
    """All of Changes and of Reading but the score, and of Aligned (None: not asked for) what was done, in types that
    JSON has.
    """
    of_reading = {"repairs": list(reading.repairs), "partly_read": reading.partly_read, "pedalled": reading.pedalled}
    return asdict(changes) | {"meters": list(changes.meters)} | of_reading | {"aligned": done_of(aligned)}


def done_of(aligned: Aligned | None) -> dict:
    """kind, and of what was aligned the figures of Aligned."""
    if aligned is None:
        return {"kind": "off"}
    return {
        "kind": aligned.kind,
        "shift_beats": round(float(aligned.shift_beats), 4),
        "confidence": round(float(aligned.confidence), 3),
        "moved_ms": round(float(aligned.moved_ms), 3),
    }


def to_json(changes: Changes, reading: Reading, aligned: Aligned | None) -> str:
    return json.dumps(told_of(changes, reading, aligned), ensure_ascii=False)


def sum_up(songs: Iterable[dict], config: CheckConfig) -> dict:
    """Over what is told of songs; {} stands for one of which nothing is known, and what one does not tell counts as 0.

    songs: of which something is known. aligned: of these by what was done to their time (see ALIGNED), the most
    frequent first. repaired, pedalled: songs. repairs: songs by kind of repair, likewise. silent: songs with more than
    config.silent_bars silent bars in a row. seconds, seconds_out: of all; seconds_off_median, seconds_off_worst: by how
    much a song lasts longer or shorter, as a share of its length. The rest: see Changes.
    """
    sums, kinds, aligned = Counter({name: 0 for name in SUMMED}), Counter(), Counter()
    seconds, seconds_out = array("d"), array("d")  # eight bytes a song, of which there may be millions
    count = repaired = pedalled = silent = 0
    for told in filter(None, songs):
        repairs = told.get("repairs", [])
        count += 1
        aligned[told.get("aligned", {}).get("kind", "unknown")] += 1
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
        "aligned": _most_first(aligned),
        "repaired": repaired,
        "repairs": _most_first(kinds),
        "pedalled": pedalled,
        "silent": silent,
        **{name: round(sums[name], 3) for name in SUMMED},
        "seconds": round(float(before.sum()), 3),
        "seconds_out": round(float(after.sum()), 3),
        "seconds_off_median": round(float(np.median(off)), 6),
        "seconds_off_worst": round(float(off.max()), 6),
    }


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


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
        *_alignment(sums.get("aligned", {})),
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


def alignment(done: dict) -> str | None:
    """What was done to the time of one song, in words; None where it is as it was, or nothing is known. done: what is
    told as "aligned".
    """
    kind = done.get("kind")
    if kind in (None, "none", "off"):
        return None
    shift, confidence = round(done["shift_beats"], 2), f"confidence {done['confidence']:.2f}"
    begins = f"; it begins {_beats(shift)} {'later' if shift > 0 else 'earlier'} than in the file" if shift else ""
    late = round(shift) - shift  # whole beats leave notes where beats are
    side = "after" if late > 0 else "before"
    return {
        "pickup": f"its first measure is short: filled up with {_beats(shift)} of silence in front",
        "shift": f"its notes lie {_beats(late)} {side} the file's beats: moved there{begins}",
        "meter": f"the file's measures are not the music's: others were found ({confidence}){begins}",
        "beats": f"it was played freely: its beats were found ({confidence}), the tempo map follows them{begins}",
        "off_grid": f"its beats are not heard well enough ({confidence}): the best guess, as --align keep wants it",
    }[kind]


def _beats(number: float) -> str:
    shown = f"{abs(number):.2f}".rstrip("0").rstrip(".")
    return f"{shown} beat{'' if shown == '1' else 's'}"


def _alignment(songs: dict[str, int]) -> list[str]:
    """One line, or none. songs: by kind."""
    found = [(songs[kind], words) for kind, words in ALIGNED.items() if songs.get(kind)]
    if not found:
        return []
    (count, words), *others = found
    said = [f"{count_of(count, 'song')} {words}", *(f"{count:,} {words}" for count, words in others)]
    return [f"aligned: {', '.join(said)}"]


def count_of(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
