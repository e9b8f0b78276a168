"""A picture of a song: notes of all tracks over bars, drums below, chords on top. For outputs.py and the demo."""

import os
from collections.abc import Sequence

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from tokenizer import vocabulary as vocab
from tokenizer.disk.atomic import atomic
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import GridSong
from tokenizer.music import instruments
from tokenizer.music.score import DRUMS, Score

MOST_LABELS = 64  # chords and bar numbers written; of longer songs every second, fourth, ...
INCHES_PER_NAME = 2.2  # of the legend
INCHES_PER_BAR, SMALLEST, LARGEST = 0.42, 9.0, 26.0


def piano_roll(score: Score, path: str | os.PathLike, title: str = "", chords: Sequence[str] | None = None) -> None:
    """Draws the score, snapped, as a PNG file. Darker is louder. chords: names for the bars, by default those that are
    heard.
    """
    song = quantize(score)
    score, lines = song.to_score(), song.bars.start_ticks
    width = float(np.clip(INCHES_PER_BAR * len(song.bars), SMALLEST, LARGEST))
    has_drums = any(track.program == DRUMS for track in score.tracks)
    ratios = {"height_ratios": (4, 1)} if has_drums else {}
    figure, axes = plt.subplots(
        1 + has_drums, 1, figsize=(width, 6.5 if has_drums else 5), sharex=True, gridspec_kw=ratios, squeeze=False
    )
    axes = axes[:, 0]
    colors = plt.get_cmap("tab10" if len(score.tracks) <= 10 else "tab20")
    legend = {}
    for index, track in enumerate(score.tracks):
        notes, color = track.notes, colors(index % colors.N)[:3]
        shades = [(*color, 0.35 + 0.65 * velocity / 127) for velocity in notes["velocity"]]
        axis = axes[-1] if track.program == DRUMS else axes[0]
        axis.barh(notes["pitch"], notes["duration_ticks"], left=notes["onset_ticks"], height=0.9, color=shades)
        name = instruments.name(track.program)
        legend[name if name not in legend else f"{name} ({index + 1})"] = Patch(color=color)
    for axis in axes:
        axis.margins(y=0.05)
    _bar_lines(axes, song, lines)
    if chords is None:
        chords = [vocab.NAMES[vocab.CHORD + chord] for chord in bar_chords(score, lines)]
    _chord_names(axes[0], chords[: len(song.bars)], lines)
    axes[0].set_ylabel("MIDI pitch")
    if has_drums:
        axes[-1].set_ylabel("drums")
    axes[-1].set_xlabel("bar")
    columns = max(1, int(width / INCHES_PER_NAME))
    figure.legend(legend.values(), legend.keys(), loc="lower center", ncols=columns, fontsize=8, frameon=False)
    figure.suptitle(title or _describe(score), fontsize=10)
    figure.tight_layout(rect=(0, 0.02 + 0.035 * -(-len(legend) // columns), 1, 1))
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def _bar_lines(axes, song: GridSong, lines: np.ndarray) -> None:
    every = -(-len(song.bars) // MOST_LABELS)
    for axis in axes:
        axis.set_xlim(0, int(lines[-1]))
        for line in lines[:-1]:
            axis.axvline(line, color="0.85", linewidth=0.6, zorder=0)
    axes[-1].set_xticks(lines[:-1:every], [str(bar + 1) for bar in range(0, len(song.bars), every)], fontsize=7)


def _chord_names(axis, names: Sequence[str], lines: np.ndarray) -> None:
    every = -(-len(names) // MOST_LABELS)
    for bar in range(0, len(names), every):
        middle = (lines[bar] + lines[bar + 1]) / 2
        axis.text(
            middle,
            1.01,
            names[bar],
            transform=axis.get_xaxis_transform(),
            ha="center",
            fontsize=6,
            rotation=45 if every > 1 else 0,
        )


def _describe(score: Score) -> str:
    notes = sum(len(track.notes) for track in score.tracks)
    signature, tempo = score.signatures[0], score.tempos[0]
    return (
        f"{len(score.tracks)} tracks, {notes} notes, {signature.numerator}/{signature.denominator}, {tempo.bpm:.0f} BPM"
    )
