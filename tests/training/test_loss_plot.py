"""The picture of a run's losses, from its first record on."""

import json

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jax_impl.training import loss_plot


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
