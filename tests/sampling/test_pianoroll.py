"""Pictures of songs are written whole, for songs of all kinds."""

import matplotlib.image
import numpy as np
import pytest

from jax_impl.sampling.pianoroll import piano_roll
from tests.scores import score_of
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS


@pytest.mark.parametrize(
    "score",
    [
        compose(1),
        score_of(),
        score_of((DRUMS, [(0, 120, 36, 100)])),
        score_of((0, [(300 * 1920, 480, 60, 80)]), (0, [(0, 480, 60, 80)])),
    ],
    ids=["composed", "empty", "drums alone", "300 bars"],
)
def test_a_piano_roll_shows_something_and_leaves_nothing_else(tmp_path, score):
    piano_roll(score, tmp_path / "roll.png")
    assert [path.name for path in tmp_path.iterdir()] == ["roll.png"]
    picture = matplotlib.image.imread(tmp_path / "roll.png")
    assert picture.shape[1] >= 900
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20
