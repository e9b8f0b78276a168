"""The loss curves of a run as a picture."""

from pathlib import Path

from matplotlib.figure import Figure

from jax_impl.training import metrics
from tokenizer.disk.atomic import atomic

TRAIN_COLOR, VALIDATION_COLOR, BASELINE_COLOR = "#9db8d9", "#c0392b", "#777777"


def draw(metrics_path: Path, png: Path) -> None:
    """Training and validation loss over steps, beside the losses of a uniform and a unigram guess where they were
    measured.
    """
    records = metrics.read(metrics_path)
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([r["step"] for r in train], [r["loss"] for r in train], color=TRAIN_COLOR, label="training")
    axes.plot(
        [r["step"] for r in validation],
        [r["loss"] for r in validation],
        "o-",
        color=VALIDATION_COLOR,
        label="validation",
    )
    for name in ("uniform", "unigram"):
        if validation:
            axes.axhline(validation[-1][name], color=BASELINE_COLOR, linewidth=1, linestyle="--")
            axes.annotate(
                f"{name} guess", (1, validation[-1][name]), xycoords=("axes fraction", "data"), ha="right", va="bottom"
            )
    axes.set(xlabel="optimizer step", ylabel="loss, nats per token", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    with atomic(png) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
