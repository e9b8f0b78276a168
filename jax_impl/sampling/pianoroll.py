"""A picture of a song: notes of all tracks over bars, drums below, chords on top. `generate` and `demo` draw it;
matplotlib is loaded then.
"""

import functools
import importlib
import os
import textwrap
import threading
from collections.abc import Sequence

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.disk.atomic import atomic
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.quantize import quantize
from tokenizer.music import instruments
from tokenizer.music.score import DRUMS, Score, Tempo, Track

DPI = 110  # dots an inch
# Sizes in inches
BAR, NARROWEST, WIDEST = 0.42, 9.0, 26.0
PITCHES, DRUM_ROW, DRUM_MARGIN = 4.2, 0.14, 0.15
NAME, NAME_ROW = 2.2, 0.19  # of the legend
CHARACTER = 0.057  # of chords and bar numbers; where they have no room, fewer are written
BESIDE = 0.6  # of the axes
TITLE_CHARACTERS = 12  # an inch
GREYISH = 0.1  # difference of the parts of a color that might be taken for GIVEN
GIVEN = (0.55, 0.55, 0.55)  # color of notes that a user gave, where others are new
ANEW = (1.0, 0.96, 0.85)  # behind bars that were written anew
FEWEST_PITCHES = 24  # that the axis shows, so that notes of a small range are not slabs

FIRST_DRUM = 35
DRUM_NAMES = (
    "Acoustic Bass Drum|Bass Drum|Side Stick|Snare|Hand Clap|Electric Snare|Low Floor Tom|Closed Hi-Hat|"
    "High Floor Tom|Pedal Hi-Hat|Low Tom|Open Hi-Hat|Low-Mid Tom|Hi-Mid Tom|Crash|High Tom|Ride|Chinese Cymbal|"
    "Ride Bell|Tambourine|Splash|Cowbell|Crash 2|Vibraslap|Ride 2|High Bongo|Low Bongo|Mute High Conga|"
    "Open High Conga|Low Conga|High Timbale|Low Timbale|High Agogo|Low Agogo|Cabasa|Maracas|Short Whistle|"
    "Long Whistle|Short Guiro|Long Guiro|Claves|High Wood Block|Low Wood Block|Mute Cuica|Open Cuica|"
    "Mute Triangle|Open Triangle"
).split("|")


@functools.cache
def load_ahead() -> None:
    """Loads matplotlib meanwhile, once."""
    threading.Thread(target=importlib.import_module, args=["matplotlib.figure"], daemon=True).start()


def piano_roll(
    score: Score,
    path: str | os.PathLike,
    title: str = "",
    chords: Sequence[str] | None = None,
    new: Sequence[Track] | None = None,
    anew: tuple[int, int] | None = None,
) -> None:
    """Draws the score, snapped, as a PNG file. Darker is louder. chords: names for the bars, by default those that are
    heard. new: the notes of each track of the score that nobody gave; all others are grey. anew: the first of the bars
    that were written anew, from 0, and one past the last; they are shaded.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.image import imsave

    canvas = FigureCanvasAgg(draw(score, title, chords, new, anew))
    canvas.draw()  # once, where savefig draws twice for the layout
    with atomic(path) as temporary:
        imsave(temporary, canvas.buffer_rgba(), format="png", dpi=DPI)


def draw(
    score: Score,
    title: str = "",
    chords: Sequence[str] | None = None,
    new: Sequence[Track] | None = None,
    anew: tuple[int, int] | None = None,
):
    """The matplotlib Figure: the axes of pitches, unless there are drums alone, above those of drums, if there are
    any.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    fresh = [of_track for of_track, track in zip(new or (), score.tracks, strict=bool(new)) if len(track.notes)]
    song, tempo = quantize(score), score.tempos[0]
    score, starts = song.to_score(), song.bars.start_ticks
    lines = np.append(starts[:-1][song.bars.part == 0], starts[-1])  # of what people call bars
    if chords is None:
        chords = [vocab.NAMES[token] for token in vocab.TOKEN[vocab.Class.CHORD][bar_chords(score, lines)]]
    drums = np.unique(np.concatenate([t.notes["pitch"] for t in score.tracks if t.program == DRUMS] or [[]]))
    has_drums, has_pitches = len(drums) > 0, len(drums) == 0 or any(t.program != DRUMS for t in score.tracks)

    width = float(np.clip(BAR * len(song.bars), NARROWEST, WIDEST))
    columns = int(width / NAME)
    heights = [PITCHES] * has_pitches + [DRUM_MARGIN + DRUM_ROW * len(drums)] * has_drums
    legend_height = NAME_ROW * -(-len(score.tracks) // columns)
    figure = Figure(figsize=(width, sum(heights) + legend_height + 1.3), dpi=DPI, layout="constrained")
    axes = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])
    colors, legend = _colors(len(score.tracks)), {"given": Patch(color=GIVEN)} if new else {}
    for index, (track, color) in enumerate(zip(score.tracks, colors, strict=True)):
        is_drums = track.program == DRUMS
        is_new = np.isin(_names(track.notes), _names(fresh[index].notes)) if new else np.ones(len(track.notes), bool)
        for notes, shade in ((track.notes[~is_new], GIVEN), (track.notes[is_new], color)):
            rows = np.searchsorted(drums, notes["pitch"]) if is_drums else notes["pitch"]
            _notes(axes[-1 if is_drums else 0], notes, rows, shade)
        name = instruments.name(track.program)
        if is_new.any():
            legend[name if name not in legend else f"{name} ({index + 1})"] = Patch(color=color)
    if has_pitches:
        _pitch_axis(axes[0], [track.notes["pitch"] for track in score.tracks if track.program != DRUMS])
    if has_drums:
        _drum_axis(axes[-1], drums)
    _bars(axes, lines, width, chords)
    for axis in axes if anew else ():
        axis.axvspan(*lines[np.minimum(anew, len(lines) - 1)], color=ANEW, zorder=-1)
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    figure.suptitle(textwrap.fill(title or _describe(score, tempo), int(TITLE_CHARACTERS * width)), fontsize=10)
    return figure


def _names(notes: np.ndarray) -> np.ndarray:
    """int64[N]: a number for each note, by onset and pitch."""
    return notes["onset_ticks"] * vocab.N_PITCHES + notes["pitch"]


def _colors(tracks: int) -> list[tuple[float, float, float]]:
    """One for each track."""
    from matplotlib import colormaps
    from matplotlib.colors import hsv_to_rgb

    for colors in (colormaps["tab10"].colors, colormaps["tab20"].colors):
        vivid = [color for color in colors if np.ptp(color) > GREYISH]
        if tracks <= len(vivid):
            return vivid[:tracks]
    return [tuple(hsv_to_rgb((n / tracks, (0.9, 0.55)[n % 2], (0.6, 0.9)[n % 2]))) for n in range(tracks)]


def _notes(axis, notes: np.ndarray, rows: np.ndarray, color: tuple[float, float, float]) -> None:
    """A rectangle for each note; rows: int[N], where each is drawn."""
    from matplotlib.collections import PolyCollection

    left, right = notes["onset_ticks"], notes["onset_ticks"] + notes["duration_ticks"]
    bottom, top = rows - 0.45, rows + 0.45
    corners = np.stack([left, bottom, left, top, right, top, right, bottom], axis=-1).reshape(-1, 4, 2)
    shades = [(*color, 0.35 + 0.65 * velocity / 127) for velocity in notes["velocity"]]
    axis.add_collection(PolyCollection(corners, facecolors=shades))


def _pitch_axis(axis, pitches: list[np.ndarray]) -> None:
    from matplotlib.ticker import MaxNLocator

    every = np.concatenate([*pitches, [60] * (not pitches)])
    missing = max(0, FEWEST_PITCHES - int(np.ptp(every)))
    axis.set_ylim(every.min() - 1 - missing / 2, every.max() + 1 + missing / 2)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, steps=(1, 2, 5, 10)))
    axis.set_ylabel("MIDI pitch")


def _drum_axis(axis, drums: np.ndarray) -> None:
    """A row for each drum that is struck, with its General MIDI name, or its pitch where it has none."""
    named = range(FIRST_DRUM, FIRST_DRUM + len(DRUM_NAMES))
    names = [DRUM_NAMES[drum - FIRST_DRUM] if drum in named else str(drum) for drum in drums.tolist()]
    axis.set_yticks(range(len(drums)), names, fontsize=6)
    axis.set_ylim(-0.8, len(drums) - 0.2)
    axis.set_ylabel("drums")


def _bars(axes: list, lines: np.ndarray, width: float, chords: Sequence[str]) -> None:
    """Lines and numbers of bars, with chords above: of all bars, or of every second, fourth, ... if there are many, but
    none of bars that are too short.
    """
    room = CHARACTER * max([4, *map(len, chords)])
    inches = lines / lines[-1] * (width - BESIDE)
    step = 1
    while room * (len(lines) - 1) > step * inches[-1]:
        step *= 2
    labelled = [0]
    for bar in range(step, len(lines) - 1, step):
        if inches[bar] - inches[labelled[-1]] >= room:
            labelled.append(bar)
    for axis in axes:
        axis.set_xlim(0, int(lines[-1]))
        axis.vlines(lines[:-1:step], 0, 1, color="0.85", linewidth=0.6, zorder=0, transform=axis.get_xaxis_transform())
    axes[-1].set_xticks(lines[labelled], [str(bar + 1) for bar in labelled], fontsize=7)
    axes[-1].set_xlabel("bar")
    above = axes[0].get_xaxis_transform()
    for bar, chord in enumerate(chords[: len(lines) - 1]):
        if bar in labelled:
            axes[0].text((lines[bar] + lines[bar + 1]) / 2, 1.01, chord, transform=above, ha="center", fontsize=6)


def _describe(score: Score, tempo: Tempo) -> str:
    counts = [(len(score.tracks), "track"), (sum(len(track.notes) for track in score.tracks), "note")]
    said = [f"{count} {name}{'s' * (count != 1)}" for count, name in counts]
    signature = score.signatures[0]
    return ", ".join([*said, f"{signature.numerator}/{signature.denominator}", f"{tempo.bpm:.0f} BPM"])
