"""A report as one picture: features of sampled songs beside those of real ones, losses by kind, structure, copies."""

import textwrap
from pathlib import Path
from typing import Any

from jax_impl.evaluation import report as words
from jax_impl.evaluation.report import label, number

DPI = 100
SIZE, SMALL = (15, 10), (8, 5)  # inches: with samples, of the losses alone
REAL, MODEL, WRONG, GUESS, OTHER = "#b9c4cf", "#1d5fb8", "#b3261e", "#1c1e21", "#8a9199"
GUESSES = {"bigram": GUESS, "unigram": OTHER}
COLUMNS = (1.09, 1.22, 1.37)  # right ends of the numbers beside bars that are 1 wide
TITLE = 150  # characters a line


def draw(report: dict, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.image import imsave

    canvas = FigureCanvasAgg(figure(report))
    canvas.draw()  # once, where savefig draws twice for the layout
    imsave(path, canvas.buffer_rgba(), format="png", dpi=DPI, metadata={"Software": None})


def figure(report: dict) -> Any:
    """The matplotlib Figure: of four axes, or of the losses alone where nothing was sampled."""
    from matplotlib.figure import Figure

    has_samples = "samples" in report
    drawn = Figure(figsize=SIZE if has_samples else SMALL, dpi=DPI, layout="constrained")
    if has_samples:
        grid = drawn.add_gridspec(3, 2, width_ratios=(1.25, 1))
        _features(drawn.add_subplot(grid[:, 0]), report)
        losses = drawn.add_subplot(grid[0, 1])
        _structure(drawn.add_subplot(grid[1, 1]), report["features"]["similarity"])
        _copies(drawn.add_subplot(grid[2, 1]), report["copies"])
    else:
        losses = drawn.add_subplot()
    _losses(losses, report["losses"])
    title = textwrap.wrap(words.title(report), TITLE if has_samples else TITLE // 2)
    if has_samples:
        rate = number(report["errors"]["per_1000_tokens"])
        title.append(f"without the grammar {rate} of 1000 tokens are wrong")
    drawn.suptitle(plain("\n".join(title)))
    return drawn


def plain(text: str) -> str:
    """For matplotlib, to which a dollar begins mathematics."""
    return text.replace("$", r"\$")


def _features(axis: Any, report: dict) -> None:
    """A row for each, on an axis of its own: the interval of real songs in grey, that of sampled ones upon it."""
    features, wrong = report["features"]["features"], words.outside(report)
    names = [*wrong, *words.inside(report), *words.unjudged(report)]
    for row, name in enumerate(names):
        one, other = features[name]["samples"], features[name]["real"]
        low, high = words.span([sides for sides in (one, other) if sides["mean"] is not None])
        for sides, color, height in ((other, REAL, 0.7), (one, WRONG if name in wrong else MODEL, 0.3)):
            if sides["mean"] is not None:
                width = max((sides["high"] - sides["low"]) / (high - low), 0.006)
                axis.barh(row, width, height, (sides["low"] - low) / (high - low), color=color)
        texts = (number(one["mean"]), number(other["mean"]), number(features[name]["overlap"]))
        for text, place in zip(texts, COLUMNS, strict=True):
            axis.text(place, row, text, ha="right", va="center", fontsize=9)
    for text, place in zip(("samples", "real", "overlap"), COLUMNS, strict=True):
        axis.text(place, -0.9, text, ha="right", va="center", fontsize=9, color="#5b6168")
    axis.set_yticks(range(len(names)), list(map(label, names)))
    for name, tick in zip(names, axis.get_yticklabels(), strict=True):
        tick.set_color(WRONG if name in wrong else "black")
    axis.set(xlim=(0, COLUMNS[-1] + 0.02), ylim=(len(names) - 0.4, -1.4), xticks=[])
    axis.set_title(f"features: {len(wrong)} of {len(names)} not as in real songs (red)", fontsize=11)
    axis.set_xlabel("means with 95 % intervals; grey: real songs, narrow: sampled ones", fontsize=9)
    axis.spines[:].set_visible(False)


def _losses(axis: Any, losses: dict) -> None:
    kinds, not_learned = losses["by_kind"], words.not_learned(losses)
    rows = range(len(kinds))
    colors = [WRONG if name in not_learned else MODEL for name in kinds]
    axis.barh(rows, [kind["as_sampled"] for kind in kinds.values()], 0.6, color=colors)
    for name, color in GUESSES.items():
        for row, kind in zip(rows, kinds.values(), strict=True):
            axis.plot([kind[name]] * 2, [row - 0.38, row + 0.38], color=color, linewidth=2.5)
    axis.set_yticks(rows, [f"{label(name)} ({kind['share']:.0%})" for name, kind in kinds.items()])
    axis.invert_yaxis()
    axis.legend(handles=axis.lines[:: len(kinds)], labels=[f"guess: {name}" for name in GUESSES], fontsize=9)
    told = ", ".join(f"{name} {losses[name][words.AS_SAMPLED]:.3f}" for name in GUESSES)
    axis.set_title(f"loss, nats a token: {losses[words.AS_SAMPLED]:.3f} ({told})", fontsize=11)
    axis.set_xlabel("nats; in brackets the share of the whole loss; red: no better than guessed", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)


def _structure(axis: Any, similarity: dict) -> None:
    from matplotlib.ticker import MaxNLocator

    distances = similarity["distances"]
    axis.plot(distances, similarity["real"], color=OTHER, linewidth=2, label="real songs")
    axis.plot(distances, similarity["samples"], "--", color=MODEL, linewidth=2, label="sampled ones")
    axis.legend(fontsize=9)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    floor = "" if similarity["floor"] is None else f"; real among themselves {similarity['floor']:.3f}"
    axis.set_title(f"how alike bars are: error {number(similarity['error'])}{floor}", fontsize=11)
    axis.set_xlabel("bars apart", fontsize=9)
    top = max([*similarity["real"], *similarity["samples"], 0.01])
    axis.set_ylim(-0.03 * top, 1.1 * top)  # a curve at 0 is seen beside the axis
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _copies(axis: Any, copies: dict) -> None:
    """The middle half of the longest passages of each set of songs, their median (line), the longest of all (dot)."""
    from matplotlib.ticker import MaxNLocator

    rows = [
        (f"{side}{part}", color, copies[key][name])
        for part, name in (("", "longest"), (", drums", "longest_drums"))
        for side, color, key in (("sampled", MODEL, "of_samples"), ("real", REAL, "held_out"))
        if copies[key][name]["songs"]
    ]
    for row, (_, color, lengths) in enumerate(rows):
        low, high = lengths["quartile_1"], lengths["quartile_3"]
        axis.barh(row, max(high - low, 0.1), 0.6, low, color=color)
        axis.plot([lengths["median"]] * 2, [row - 0.38, row + 0.38], color=GUESS, linewidth=2.5)
        axis.plot(lengths["max"], row, "o", color=GUESS, markersize=5)
    axis.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title(f"longest passage known from {copies['training_songs']:,} training songs", fontsize=11)
    axis.set_xlabel("notes; bar: half of the songs, line: median, dot: longest of all", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
