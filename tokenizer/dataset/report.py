"""What a dataset holds, as numbers (report.json) and as one picture (report.png).
Written by gather.
"""

from pathlib import Path

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import shards_of
from tokenizer.dataset.shards import open_batch
from tokenizer.dataset.told import ALIGNED
from tokenizer.disk.atomic import atomic, write_json
from tokenizer.music import instruments
from tokenizer.vocabulary import SIXTEENTH, Class

FILES = ("report.json", "report.png")
CONTEXTS = (2048, 8192, 16384, 24576)  # tokens of a row that lengths are compared with
BARS = 16  # at most, of each kind that is counted
BARS_PER_DECADE = 30  # of lengths
LONGEST = 32  # characters of a label
MOVED_IN_TIME = ("beats", "meter", "shift", "pickup", "off_grid")  # kinds of Aligned


def write_report(folder: Path, manifest: dict) -> dict:
    """Reads the sizes of the songs in every shard, one at a time."""
    counts = sum(np.array(part["token_counts"]) for part in manifest["splits"].values())
    lengths, seconds = [np.zeros(0, np.int64)], 0.0
    for _, entry in shards_of(manifest):
        batch = open_batch(folder / entry["file"])
        lengths.append(np.diff(batch.column("ids").offsets.to_numpy()))
        seconds += float(batch.column("seconds").to_numpy().sum(dtype=np.float64))
    report = summarize(counts, np.concatenate(lengths), seconds, manifest["rejected"], manifest["changes"])
    numbers, picture = FILES
    write_json(folder / numbers, report, indent=1)
    with atomic(folder / picture) as temporary:
        draw(report, np.concatenate(lengths), temporary)
    return report


def summarize(counts: np.ndarray, lengths: np.ndarray, seconds: float, rejected: dict[str, int], changes: dict) -> dict:
    """counts: int64[724] of each token; lengths: int64[songs] tokens of each song; changes: told.sum_up of them."""
    of_class = [counts[np.maximum(tokens, 0)] * (tokens >= 0) for tokens in vocab.TOKEN]  # by class and value
    notes, tokens = int(of_class[Class.PITCH].sum()), int(lengths.sum())
    chords = of_class[Class.CHORD]
    qualities = {"none": int(chords[0])}
    qualities |= {
        name: int(chords[1 + number :: len(vocab.QUALITIES)].sum()) for number, name in enumerate(vocab.QUALITIES)
    }
    tempi = {f"{bpm} bpm": int(of_class[Class.TEMPO][bin_]) for bin_, bpm in enumerate(vocab.TEMPOS_BPM)}
    programs = {instruments.name(program): int(count) for program, count in enumerate(of_class[Class.TRACK])}
    positions, durations = of_class[Class.POSITION], of_class[Class.DURATION]
    return {
        "songs": len(lengths),
        "hours": round(seconds / 3600, 2),
        "notes": notes,
        "tokens": tokens,
        "tokens_per_note": round(tokens / max(notes, 1), 3),
        "median_tokens": int(np.median(lengths)),
        "longest_tokens": int(lengths.max()),
        "share_of_songs_that_fit": {str(context): round(float((lengths <= context).mean()), 4) for context in CONTEXTS},
        "tracks_by_instrument": _most(programs),
        "meters_written": _most(
            {f"{n}/{d}": int(of_class[Class.SIGNATURE][i]) for i, (n, d) in enumerate(vocab.SIGNATURES)}
        ),
        "positions_beside_sixteenths": _share(positions, np.arange(len(positions)) % SIXTEENTH != 0),
        "durations_beside_sixteenths": _share(durations, np.arange(len(durations)) % SIXTEENTH != 0),
        "tempi_written": {name: count for name, count in tempi.items() if count},
        "chords_of_bars": _most(qualities),
        "duplicates": rejected.get("duplicate", 0),
        "rejected": rejected,
        "changes": changes,
    }


def _aligned(changes: dict) -> dict[str, int]:
    """Of the songs that are kept those whose time is another than in their files, by what was done."""
    songs = changes.get("aligned", {})
    return {f"  {ALIGNED[kind]}": songs[kind] for kind in MOVED_IN_TIME if kind in songs}


def _share(counts: np.ndarray, where: np.ndarray) -> float:
    """How much of all that is counted lies there."""
    return round(float(counts[where].sum() / max(counts.sum(), 1)), 4)


def _most(counts: dict[str, int]) -> dict[str, int]:
    """Those that occur, the most frequent first."""
    return dict(sorted(((name, count) for name, count in counts.items() if count), key=lambda item: -item[1]))


def draw(report: dict, lengths: np.ndarray, path: Path) -> None:
    figure(report, lengths).savefig(path, dpi=80, metadata={"Software": None})


def figure(report: dict, lengths: np.ndarray):
    """The matplotlib Figure of six axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    drawn = Figure(figsize=(14, 9), layout="constrained")
    axes = drawn.subplots(2, 3)
    _lengths(axes[0, 0], lengths, report["share_of_songs_that_fit"])
    bars = (
        ("tracks_by_instrument", "tracks"),
        ("chords_of_bars", "bars of all tracks"),
        ("meters_written", "times written"),
    )
    for axis, (name, unit) in zip((axes[0, 1], axes[0, 2], axes[1, 0]), bars, strict=True):
        _bars(axis, report[name])
        axis.set(title=name.replace("_", " "), xlabel=unit)
    tempi = {int(name.split()[0]): count for name, count in report["tempi_written"].items()}
    axes[1, 1].bar(list(tempi), list(tempi.values()), 2.5, color="tab:blue")
    axes[1, 1].set(title="tempi written", xlabel="beats a minute", ylabel="times written")
    for axis in (axes[0, 0], axes[1, 1]):
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    _bars(axes[1, 2], {"kept": report["songs"]} | _aligned(report["changes"]) | report["rejected"])
    axes[1, 2].set(title="files", xlabel="files")
    songs = "1 song" if report["songs"] == 1 else f"{report['songs']:,} songs"
    drawn.suptitle(f"{songs}, {report['hours']:,} hours, {report['notes']:,} notes, {report['tokens']:,} tokens")
    return drawn


def _lengths(axis, lengths: np.ndarray, share_that_fits: dict[str, float]) -> None:
    """How many songs are how long, each bar some percent longer than the one before it; dotted, rows that they fit."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    decades = np.log10([lengths.min(), lengths.max()])
    first, last = np.floor(decades * BARS_PER_DECADE).astype(int)
    axis.hist(lengths, bins=10 ** (np.arange(first, last + 2) / BARS_PER_DECADE), color="tab:blue")
    for context in CONTEXTS:
        axis.axvline(context, color="black", linewidth=0.8, linestyle=":")
    fit = ", ".join(f"{context}: {share:.0%}" for context, share in share_that_fits.items())
    axis.set(
        xscale="log", title="length of songs", ylabel="songs", xlabel=f"tokens; songs that fit rows (dotted) of\n{fit}"
    )
    begin, end = np.log10(axis.get_xlim())
    written = (1, 2, 5) if end - begin < 1.3 else (1, 3) if end - begin < 2.5 else (1,)
    axis.xaxis.set_major_locator(LogLocator(subs=written))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def _bars(axis, counts: dict[str, int]) -> None:
    """The first of these from the top down, with their numbers, which need no axis."""
    shown = list(counts.items())[:BARS][::-1]
    labels = [label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…" for label, _ in shown]
    bars = axis.barh(range(len(shown)), [count for _, count in shown], color="tab:blue")
    axis.bar_label(bars, [f"{count:,}" for _, count in shown], padding=3, fontsize=8)
    axis.set_yticks(range(len(shown)), labels)
    axis.set_xticks([])
    axis.set_ylim(len(shown) - BARS - 0.5, len(shown) - 0.5)  # few bars are not thicker than many
    axis.set_xlim(0, 1.35 * max([1, *counts.values()]))  # room for the numbers
