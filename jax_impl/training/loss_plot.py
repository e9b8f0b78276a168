"""The loss curves of a run as a picture."""

from pathlib import Path
from typing import Any

from jax_impl.training import metrics
from jax_impl.training.by_kind import KINDS
from tokenizer.disk.atomic import atomic

TRAIN_COLOR, VALIDATION_COLOR, BASELINE_COLOR = "#9db8d9", "#c0392b", "#777777"
KIND_COLORS = dict(
    zip(KINDS, ("#8c510a", "#d8973c", "#1b9e77", "#7b3fa0", "#2b7bba", "#d64f8c", "#14213d"), strict=True)
)
MOST_POINTS = 50  # that are marked one by one


def draw(metrics_path: Path, png: Path) -> None:
    """Training and validation loss over steps, beside the losses of a uniform and a unigram guess and by kind of token
    where they were measured.
    """
    from matplotlib.figure import Figure  # long to import: not before the first step
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    records = metrics.read(metrics_path)
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    by_kind = [record for record in validation if record.get("by_kind")]
    figure = Figure(figsize=(10.5 if by_kind else 8, 5), layout="constrained")
    axes = figure.add_subplot()
    _draw_kinds(figure, axes, by_kind)
    for kind, label, color in ((train, "training", TRAIN_COLOR), (validation, "validation", VALIDATION_COLOR)):
        marker = "." if len(kind) <= MOST_POINTS else ""  # of one record there is no line
        steps, losses = [r["step"] for r in kind], [r["loss"] for r in kind]
        axes.plot(steps, losses, marker=marker, markersize=9, color=color, label=label)
    for name in ("uniform", "unigram"):
        if validation:
            loss = validation[-1][name]
            axes.axhline(loss, color=BASELINE_COLOR, linewidth=1, linestyle="--")
            place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            above_lines = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
            axes.annotate(f"{name} guess", (0.99, loss), bbox=above_lines, **place)
    axes.set(
        xlabel="optimizer step", ylabel="loss, nats per token", xlim=(0, None), ylim=(0, 1.05 * axes.get_ylim()[1])
    )
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10), integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(png) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _draw_kinds(figure: Any, axes: Any, records: list[dict]) -> None:
    """A thin line of each kind of token, named beside the axes in the order in which they end."""
    if not records:
        return
    marker = "." if len(records) <= MOST_POINTS else ""
    last, lines = {}, {}
    for name, color in KIND_COLORS.items():
        there = [(record["step"], record["by_kind"][name]) for record in records if name in record["by_kind"]]
        if there:
            last[name] = there[-1][1]
            (lines[name],) = axes.plot(*zip(*there, strict=True), marker=marker, markersize=4, linewidth=1, color=color)
    order = sorted(last, key=last.__getitem__, reverse=True)
    figure.legend(
        [lines[name] for name in order],
        [f"{name} {last[name]:.2f}" for name in order],
        title="validation, by kind of token",
        loc="outside right upper",
        frameon=False,
    )
