"""The loss curves of a run as a picture."""

from pathlib import Path

from jax_impl.training import metrics
from tokenizer.disk.atomic import atomic

TRAIN_COLOR, VALIDATION_COLOR, BASELINE_COLOR = "#9db8d9", "#c0392b", "#777777"
MOST_POINTS = 50  # that are marked one by one


def draw(metrics_path: Path, png: Path) -> None:
    """Training and validation loss over steps, beside the losses of a uniform and a unigram guess where they were
    measured.
    """
    from matplotlib.figure import Figure  # long to import: not before the first step
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    records = metrics.read(metrics_path)
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for kind, label, color in ((train, "training", TRAIN_COLOR), (validation, "validation", VALIDATION_COLOR)):
        marker = "." if len(kind) <= MOST_POINTS else ""  # of one record there is no line
        steps, losses = [r["step"] for r in kind], [r["loss"] for r in kind]
        axes.plot(steps, losses, marker=marker, markersize=9, color=color, label=label)
    for name in ("uniform", "unigram"):
        if validation:
            loss = validation[-1][name]
            axes.axhline(loss, color=BASELINE_COLOR, linewidth=1, linestyle="--")
            place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            axes.annotate(f"{name} guess", (0.99, loss), **place)
    axes.set(
        xlabel="optimizer step", ylabel="loss, nats per token", xlim=(0, None), ylim=(0, 1.05 * axes.get_ylim()[1])
    )
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10), integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(png) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
