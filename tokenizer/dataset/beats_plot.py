"""A picture of what alignment did: the first bars of a song over the beats of its file, and over those that were found.

    as in the file   |  .  .  .  |  .  .  .  |       thick lines: where measures begin
    aligned        |  .  .  .  |  .  .  .  |         thin ones: beats

Both are on one axis of seconds, 0 where the file begins, so that the notes of both stand one above the other. `check
--plot` draws it; matplotlib is loaded then.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokenizer.dataset.told import alignment, done_of
from tokenizer.disk.atomic import atomic
from tokenizer.grid.align import Aligned
from tokenizer.grid.meter import TICKS_PER_BEAT, Layout
from tokenizer.grid.quantize import layout_of, source_time
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music import instruments
from tokenizer.music.score import DRUMS, Score
from tokenizer.vocabulary import SIGNATURES

MEASURES = 16  # that are drawn, from the one before the first note on, where there is one
WIDTH, PITCHES, LEGEND_ROW = 17.0, 3.4, 0.2  # inches, of the picture, of the notes once, of a row of the legend
NAMES_A_ROW = 7  # of instruments
NUMBER = 0.3  # inches that the number of a bar needs
CHARACTERS = 190  # of a line of text
FEWEST_PITCHES = 18  # that the axis shows, so that notes of a small range are no slabs
NARROWEST = 0.002  # of the width, so that a stroke of a drum is seen
DRUM_GAP = 2  # rows between drums and the lowest pitch


def draw(score: Score, aligned: Aligned, title: str, path: Path) -> None:
    """Writes a PNG file, whole or not at all. score: as read, with a note at least. Raises ScoreTooLong, WriteError."""
    drawn = figure(score, aligned, title)
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a name: a box stands for it
        drawn.savefig(temporary, format="png", dpi=100, metadata={"Software": None})


def figure(score: Score, aligned: Aligned, title: str):
    """The matplotlib Figure of two axes, the file's and the aligned score's. Raises ScoreTooLong."""
    from matplotlib.figure import Figure

    programs = list(dict.fromkeys(track.program for track in score.tracks if len(track.notes)))
    colors = dict(zip(programs, _colors(len(programs)), strict=True))
    rows = -(-len(programs) // NAMES_A_ROW)
    drawn = Figure(figsize=(WIDTH, 2 * PITCHES + LEGEND_ROW * rows + 1.6), layout="constrained")
    axes = drawn.subplots(2, 1, sharex=True, sharey=True)
    begins = _begin(aligned)
    window = _window(aligned.score, begins)
    done = alignment(done_of(aligned)) or "as in the file"
    for axis, music, begin, said in (
        (axes[0], score, 0.0, "as in the file"),
        (axes[1], aligned.score, begins, f"aligned: {done}"),
    ):
        _draw_notes(axis, music, begin, window, colors)
        bars, beats = _lines(music)
        _draw_beats(axis, bars - begin, beats - begin, window)
        axis.set_title(said[:CHARACTERS], loc="left", fontsize=9, pad=16)
    axes[0].set_xlim(*window)
    _name_rows(axes, score)
    axes[1].set_xlabel("seconds from the beginning of the file")
    _legend(drawn, colors)
    drawn.suptitle(title if len(title) <= CHARACTERS else f"…{title[1 - CHARACTERS :]}", fontsize=10, parse_math=False)
    return drawn


# ---------------------------------------------------------------- time


def _begin(aligned: Aligned) -> float:
    """Seconds of the aligned score at which the file begins."""
    tick = np.zeros(1, np.int64) if aligned.time is None else aligned.time.there(np.zeros(1, np.int64))
    return float(_seconds(aligned.score, tick)[0])


def _seconds(score: Score, ticks: np.ndarray) -> np.ndarray:
    return seconds_at(score.tempos, score.ticks_per_beat, ticks)


def _lines(score: Score) -> tuple[np.ndarray, np.ndarray]:
    """Seconds at which measures begin, the last one's end included, and at which beats do that lie inside of them."""
    layout = layout_of(score)
    begins = np.flatnonzero(layout.bars.part == 0)
    starts = np.append(layout.bars.start_ticks[begins], layout.bars.start_ticks[-1])
    inside = [np.zeros(0, np.int64)]
    for start, signature in zip(starts[:-1].tolist(), layout.bars.signature[begins].tolist(), strict=True):
        inside.append(start + _beats_of(*SIGNATURES[signature]))
    return _from_grid(score, layout, starts), _from_grid(score, layout, np.concatenate(inside))


def _beats_of(numerator: int, denominator: int) -> np.ndarray:
    """Ticks of the grid from the begin of a measure to its beats but the first: dotted quarters of 6/8, 9/8, 12/8."""
    is_compound = denominator == 8 and numerator > 3 and numerator % 3 == 0
    count = numerator // 3 if is_compound else numerator
    return np.arange(1, count) * (4 * TICKS_PER_BEAT * numerator // denominator // count)


def _from_grid(score: Score, layout: Layout, ticks: np.ndarray) -> np.ndarray:
    return _seconds(score, source_time(ticks, score.ticks_per_beat, layout) / TICKS_PER_BEAT)


def _window(score: Score, begins: float) -> tuple[float, float]:
    """From when to when is drawn, in seconds of the file: some measures of the aligned score, and a little air."""
    lines, _ = _lines(score)
    first = min(int(track.notes["onset_ticks"].min()) for track in score.tracks if len(track.notes))
    bar = int(np.searchsorted(lines, _seconds(score, np.array([first]))[0] + 1e-6, side="right")) - 1
    bar = max(bar - 1, 0)
    begin, end = lines[bar] - begins, lines[min(bar + MEASURES, len(lines) - 1)] - begins
    air = (end - begin) / 100
    return float(begin - air), float(end + air)


# ---------------------------------------------------------------- drawing


def _draw_notes(axis, score: Score, begins: float, window: tuple[float, float], colors: dict[int, tuple]) -> None:
    """A bar for each note that sounds in the window, with a dark edge where it begins."""
    from matplotlib.collections import PolyCollection

    drums, lowest = _drums(score), _lowest(score)
    least = NARROWEST * (window[1] - window[0])
    for track in score.tracks:
        onset = _seconds(score, track.notes["onset_ticks"]) - begins
        end = _seconds(score, track.notes["onset_ticks"] + track.notes["duration_ticks"]) - begins
        end = np.maximum(end, onset + least)
        is_seen = (end > window[0]) & (onset < window[1])
        row = track.notes["pitch"].astype(float)
        if track.program == DRUMS:
            row = lowest - DRUM_GAP - len(drums) + np.searchsorted(drums, track.notes["pitch"])
        left, right, row = onset[is_seen], end[is_seen], row[is_seen]
        bottom, top = row - 0.42, row + 0.42
        corners = np.stack([left, bottom, left, top, right, top, right, bottom], axis=-1).reshape(-1, 4, 2)
        axis.add_collection(PolyCollection(corners, facecolors=colors.get(track.program), alpha=0.7))
        axis.vlines(left, bottom, top, color="black", linewidth=0.8, zorder=3)


def _draw_beats(axis, bars: np.ndarray, beats: np.ndarray, window: tuple[float, float]) -> None:
    """Thick and thin lines, and numbers of measures where there is room."""
    across = axis.get_xaxis_transform()
    axis.vlines(_inside(beats, window), 0, 1, color="0.6", linewidth=0.5, zorder=0, transform=across)
    axis.vlines(_inside(bars, window), 0, 1, color="0.25", linewidth=1.6, zorder=0, transform=across)
    room = NUMBER * (window[1] - window[0]) / WIDTH
    last = -np.inf
    for number, second in enumerate(bars[:-1].tolist(), 1):
        if window[0] <= second <= window[1] and second - last >= room:
            axis.text(second, 1.01, str(number), transform=across, ha="center", fontsize=7)
            last = second


def _inside(seconds: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    return seconds[(seconds >= window[0]) & (seconds <= window[1])]


def _name_rows(axes, score: Score) -> None:
    """Pitches in octaves of C, and drums below them."""
    drums, lowest, highest = _drums(score), _lowest(score), _highest(score)
    bottom = lowest - DRUM_GAP - len(drums) if len(drums) else lowest
    missing = max(0, FEWEST_PITCHES - (highest - bottom)) / 2
    octaves = [pitch for pitch in range(0, 128, 12) if lowest <= pitch <= highest] or [lowest]
    places, names = list(octaves), [f"C{pitch // 12 - 1}" if pitch % 12 == 0 else str(pitch) for pitch in octaves]
    if len(drums):
        places.append(bottom + (len(drums) - 1) / 2)
        names.append("drums")
    for axis in axes:
        axis.set_yticks(places, names, fontsize=8)
        axis.set_ylim(bottom - 1 - missing, highest + 1 + missing)


def _drums(score: Score) -> np.ndarray:
    """The drums that are struck, from low to high."""
    return np.unique(np.concatenate([t.notes["pitch"] for t in score.tracks if t.program == DRUMS] or [[]]))


def _pitches(score: Score) -> np.ndarray:
    """Of all other tracks; one where there are none."""
    struck = [track.notes["pitch"] for track in score.tracks if track.program != DRUMS and len(track.notes)]
    return np.concatenate(struck or [[60]])


def _lowest(score: Score) -> int:
    return int(_pitches(score).min())


def _highest(score: Score) -> int:
    return int(_pitches(score).max())


def _colors(count: int) -> Sequence[tuple]:
    """One for each instrument."""
    from matplotlib import colormaps

    if count <= 20:
        return colormaps["tab10" if count <= 10 else "tab20"].colors[:count]
    return [colormaps["hsv"](number / count) for number in range(count)]


def _legend(drawn, colors: dict[int, tuple]) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=color, alpha=0.7) for color in colors.values()]
    names = [instruments.name(program) for program in colors]
    drawn.legend(patches, names, loc="outside lower center", ncols=NAMES_A_ROW, fontsize=8, frameon=False)
