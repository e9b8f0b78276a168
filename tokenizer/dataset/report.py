"""What a dataset holds, as numbers (report.json) and as one picture (report.png).
Written by gather.
"""

from pathlib import Path

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import shards_of
from tokenizer.dataset.shards import open_batch
from tokenizer.disk.atomic import atomic, write_json
from tokenizer.music import instruments

FILES = ("report.json", "report.png")
CONTEXTS = (2048, 8192, 16384, 24576)  # tokens of a row that lengths are compared with
BARS = 16  # at most, of each kind that is counted


def write_report(folder: Path, manifest: dict) -> dict:
    """Reads the sizes of the songs in every shard, one at a time."""
    counts = sum(np.array(part["token_counts"]) for part in manifest["splits"].values())
    lengths, seconds = [np.zeros(0, np.int64)], 0.0
    for _, entry in shards_of(manifest):
        batch = open_batch(folder / entry["file"])
        lengths.append(np.diff(batch.column("ids").offsets.to_numpy()))
        seconds += float(batch.column("seconds").to_numpy().sum(dtype=np.float64))
    report = summarize(counts, np.concatenate(lengths), seconds, manifest["rejected"])
    numbers, picture = FILES
    write_json(folder / numbers, report, indent=1)
    with atomic(folder / picture) as temporary:
        draw(report, np.concatenate(lengths), temporary)
    return report


def summarize(counts: np.ndarray, lengths: np.ndarray, seconds: float, rejected: dict[str, int]) -> dict:
    """counts: int64[643] of each token; lengths: int64[songs] tokens of each song."""
    notes, tokens = int(counts[vocab.PITCH : vocab.TRACK].sum()), int(lengths.sum())
    chords = counts[vocab.CHORD : vocab.POSITION]
    qualities = {"none": int(chords[0])}
    qualities |= {
        name: int(chords[1 + number :: len(vocab.QUALITIES)].sum()) for number, name in enumerate(vocab.QUALITIES)
    }
    tempi = {f"{bpm} bpm": int(counts[vocab.TEMPO + bin_]) for bin_, bpm in enumerate(vocab.TEMPOS_BPM)}
    programs = {
        instruments.name(vocab.token_program(vocab.TRACK + i)): int(counts[vocab.TRACK + i])
        for i in range(vocab.N_TRACKS)
    }
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
            {f"{n}/{d}": int(counts[vocab.SIGNATURE + i]) for i, (n, d) in enumerate(vocab.SIGNATURES)}
        ),
        "tempi_written": {name: count for name, count in tempi.items() if count},
        "chords_of_bars": _most(qualities),
        "duplicates": rejected.get("duplicate", 0),
        "rejected": rejected,
    }


def _most(counts: dict[str, int]) -> dict[str, int]:
    """Those that occur, the most frequent first."""
    return dict(sorted(((name, count) for name, count in counts.items() if count), key=lambda item: -item[1]))


def draw(report: dict, lengths: np.ndarray, path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(14, 9), layout="constrained")
    axes = figure.subplots(2, 3)
    axes[0, 0].hist(lengths, bins=np.geomspace(max(lengths.min(), 1), lengths.max() + 1, 40), color="tab:blue")
    axes[0, 0].set(xscale="log", title="length of songs", xlabel="tokens", ylabel="songs")
    axes[0, 0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[0, 0].xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes[0, 0].xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].yaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylim(top=1.5 * axes[0, 0].get_ylim()[1])  # room above the bars for what fits
    for context in CONTEXTS:
        share = report["share_of_songs_that_fit"][str(context)]
        place = {"xycoords": ("data", "axes fraction"), "ha": "right", "va": "top"}
        axes[0, 0].axvline(context, color="black", linewidth=0.8, linestyle=":")
        axes[0, 0].annotate(f"{context}: {share:.0%} fit", (context, 0.98), rotation=90, **place)
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
    _bars(axes[1, 2], {"kept": report["songs"]} | report["rejected"])
    axes[1, 2].set(title="files", xlabel="files")
    figure.suptitle(
        f"{report['songs']:,} songs, {report['hours']:,} hours, {report['notes']:,} notes, {report['tokens']:,} tokens"
    )
    figure.savefig(path, dpi=80, metadata={"Software": None})


def _bars(axis, counts: dict[str, int]) -> None:
    """The first of these, with their numbers, from the top down."""
    shown = list(counts.items())[:BARS][::-1]
    bars = axis.barh([label[:40] for label, _ in shown], [count for _, count in shown], color="tab:blue")
    axis.bar_label(bars, [f"{count:,}" for _, count in shown], padding=3, fontsize=8)
    axis.set_ylim(len(shown) - BARS - 0.5, len(shown) - 0.5)  # few bars are not thicker than many
    axis.margins(x=0.2)
