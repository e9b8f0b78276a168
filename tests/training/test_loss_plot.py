"""The picture of a run's losses, from its first record on."""

import json

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jax_impl.training import loss_plot
from jax_impl.training.by_kind import KINDS


@pytest.mark.parametrize("records", [1, 2, 500])
def test_losses_are_seen_from_the_first_record_on(tmp_path, records):
    train = [{"kind": "train", "step": 20 + n, "loss": 5.0} for n in range(records)]
    validation = {"kind": "validation", "step": 20, "loss": 3.0, "uniform": 6.5, "unigram": 4.2}
    lines = [json.dumps(record) for record in (*train, validation)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    loss_plot.draw(tmp_path / "metrics.jsonl", tmp_path / "loss.png")
    picture = matplotlib.image.imread(tmp_path / "loss.png")[:, :, :3]
    curves = picture[:480]  # without the legend
    for color in (loss_plot.TRAIN_COLOR, loss_plot.VALIDATION_COLOR):
        assert np.isclose(curves, to_rgb(color), atol=0.01).all(-1).any()


def test_kinds_of_tokens_have_a_line_each_and_a_name_beside_the_axes(tmp_path):
    """Also where only some validations were by kind, or some kinds had no target."""
    train = [{"kind": "train", "step": 10 * n, "loss": 5.0} for n in range(1, 5)]
    validation = [
        {"kind": "validation", "step": 10 * n, "loss": 4.5, "uniform": 6.5, "unigram": 6.2, "by_kind": {}}
        for n in range(1, 5)
    ]
    of_kinds = {name: 0.5 + 0.5 * n for n, name in enumerate(KINDS)}
    validation[1]["by_kind"] = {name: of_kinds[name] for name in KINDS if name != "pitch"}
    validation[3]["by_kind"] = of_kinds
    del validation[0]["by_kind"]
    lines = [json.dumps(record) for record in (*train, *validation)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    loss_plot.draw(tmp_path / "metrics.jsonl", tmp_path / "loss.png")
    picture = matplotlib.image.imread(tmp_path / "loss.png")[:, :, :3]
    axes, beside = picture[:, :950], picture[:, 960:]
    for color in loss_plot.KIND_COLORS.values():
        for part in (axes, beside):
            assert np.isclose(part, to_rgb(color), atol=0.02).all(-1).any(), color
