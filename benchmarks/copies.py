"""What it takes to say what a song has of training songs: the index, and a song against it.

    ./hid prepare ../shared/data/midi songs && python benchmarks/copies.py songs

Times are of the processor (one core), so that they hold on a busy machine. At 450 000 songs they are reckoned: the
index in bytes a note; its making from the time of a note and of one look at a symbol, of which there are as many as
pieces to sort; a song from its steps of binary search, of which there is one more each time that the index is doubled,
each taking what reading 64 bytes at random from GIGABYTES of memory takes. Where the index lies on a disk and has not
been read lately, a step is also a page or two from there: `pages` says how many. Writes benchmarks/results/copies.json.
"""

import argparse
import math
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from report import write_report

from jax_impl.evaluation import copies_search
from jax_impl.evaluation.copies import Index, compare, open_index
from jax_impl.evaluation.copies_notes import SYMBOL, lines
from jax_impl.evaluation.copies_search import AT_ONCE, BYTES, DEPTH
from tokenizer.dataset.songs import Dataset
from tokenizer.tokens.crop import crop

MANY_SONGS, NOTES_A_SONG = 450_000, 5000
BARS = 16  # of a short song
GIGABYTES = 1
PAGE = 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    dataset = Dataset(parser.parse_args().dataset)
    folder = Path(tempfile.mkdtemp(prefix="hid-copies-"))
    try:
        measured, index = made(dataset, folder)
        measured |= asked(dataset, index)
        whole = [dataset["validation"][number] for number in range(len(dataset["validation"]))]
        found = compare(whole[::2], whole[1::2], index)
        yardstick = {name: found[name] for name in ("bars", "of_samples", "held_out")}
        write_report("copies", {"measured": measured, "reckoned": reckoned(measured, index), "held out": yardstick})
    finally:
        shutil.rmtree(folder)


def made(dataset: Dataset, folder: Path) -> tuple[dict, Index]:
    began = time.process_time()
    index = open_index(dataset, progress=False, folder=folder)
    made_in = time.process_time() - began
    began = time.process_time()
    open_index(dataset, progress=False, folder=folder)
    opened_in = time.process_time() - began
    notes = sum(len(held.places.order) for held in index._held)
    size = sum(path.stat().st_size for path in folder.iterdir())
    figures = {"songs": index.songs, "notes": notes, "seconds to make": round(made_in, 2)}
    return figures | {"milliseconds to open": round(1e3 * opened_in, 1), "bytes": size}, index


def asked(dataset: Dataset, index: Index) -> dict:
    """Of the songs that are held out, and of BARS bars of each."""
    songs = [dataset["validation"][number] for number in range(len(dataset["validation"]))]
    short = [crop(song, 0, BARS) for song in songs]
    figures = {}
    for name, some in (("a whole song", songs), (f"{BARS} bars", short)):
        times, notes, search = [], [], []
        for song in some:
            began = time.process_time()
            index.copies(song)
            times.append(time.process_time() - began)
            parts = lines(song)
            began = time.process_time()
            for part, held in zip(parts, index._held, strict=True):
                held.places.longest(part.symbols)
            search.append(time.process_time() - began)
            notes.append(sum(len(part.symbols) for part in parts))
        quarters = [round(1e3 * float(value), 2) for value in np.percentile(times, [25, 50, 75, 100])]
        figures[name] = {
            "notes, median": int(np.median(notes)),
            "milliseconds: quartiles, most": quarters,
            "of that searching, median": round(1e3 * float(np.median(search)), 2),
        }
    return figures


def reckoned(measured: dict, index: Index) -> dict:
    notes = MANY_SONGS * NOTES_A_SONG
    doubled = math.log2(notes / measured["notes"])
    step = seconds_a_step()
    look = seconds_a_look(index)
    pieces = 2 * notes / AT_ONCE  # each is counted in at most twice as many looks
    figures = {
        "songs": MANY_SONGS,
        "notes": notes,
        "gigabytes": round(notes * measured["bytes"] / measured["notes"] / 1e9, 1),
        "hours to make": round(
            (notes * measured["seconds to make"] / measured["notes"] + notes * look * pieces) / 3600, 1
        ),
        "steps of the search more": round(doubled, 1),
        "nanoseconds a step": round(1e9 * step),
    }
    for name in ("a whole song", f"{BARS} bars"):
        of_song = measured[name]
        median = of_song["milliseconds: quartiles, most"][1] + 1e3 * of_song["notes, median"] * doubled * step
        steps = math.log2(notes / 1000)  # of a first symbol that is one in 1000
        figures[name] = {
            "milliseconds, median": round(median, 1),
            "kilobytes read": round(of_song["notes, median"] * (steps + 2) * (4 + BYTES) / 1e3),
            "pages, none of them shared": round(of_song["notes, median"] * (steps + 2 + steps - math.log2(PAGE / 4))),
        }
    return figures


def seconds_a_step() -> float:
    """Of the search for one place: a place of the order, and DEPTH symbols there, at random in GIGABYTES of memory."""
    symbols = np.ones(GIGABYTES * 10**9 // SYMBOL.itemsize, SYMBOL)
    windows, times = copies_search.windows(symbols), []
    random = np.random.default_rng(0)
    for _ in range(20):
        at = random.integers(0, len(windows), 2000)
        began = time.process_time()
        symbols[at].astype(np.int64)
        rows = copies_search._rows(windows, at).view(f"S{BYTES}")[:, 0]
        np.less(rows, rows)
        times.append((time.process_time() - began) / len(at))
    return float(np.median(times))


def seconds_a_look(index: Index) -> float:
    """At one symbol, for those that begin with given ones."""
    symbols, times = index._held[0].places.symbols, []
    for _ in range(5):
        began = time.process_time()
        for _ in copies_search._places(symbols, (int(symbols[0]),)):
            pass
        times.append((time.process_time() - began) / (len(symbols) - DEPTH))
    return float(np.median(times))


if __name__ == "__main__":
    main()
