"""What `hid-museformer parity` says of sound and of broken programs."""

import pytest

from configs import MASK_RULES, InputError, ModelConfig
from parity_tests import report
from parity_tests.compare import Line
from parity_tests.pairs import magnified

CONFIG = ModelConfig(
    layers=2, width=64, ffn=96, max_bars=16, mask_rule=MASK_RULES["v121"], vocab_size=643
)  # as in test_convert.py


@pytest.fixture
def little(monkeypatch):
    """Models that take seconds."""
    monkeypatch.setattr(report, "models", lambda checkpoint, size: [("a model", magnified(CONFIG), CONFIG)])


def test_a_sound_program_gives_a_short_table_and_a_picture(little, tmp_path, capsys):
    assert report.parity(None, "tiny", tmp_path / "masks.png")
    said = capsys.readouterr().out
    assert "a model, 2 rows of 512 tokens" in said and "all agree" in said and len(said.splitlines()) < 15
    assert [path.name for path in tmp_path.iterdir()] == ["masks-bar.png"]


def test_a_broken_program_is_named_by_the_first_thing_that_differs(little, monkeypatch, capsys):
    """That broken programs are found, test_model.py shows."""
    lines = [
        Line("mask of summarize", 0.0, 0.0, budget=0.0),
        Line("embedding of regular", 1e-7, 1e-7, budget=3e-7),
        Line("stream of summary after layer 1", 1e-5, 1e-7, budget=3e-7),
        Line("logits", float("nan"), 1e-7, budget=3e-7),
    ]
    monkeypatch.setattr(report, "compare", lambda *_: lines)
    assert not report.parity(None, "tiny", None)
    assert "2 of 4 differ, first: stream of summary after layer 1" in capsys.readouterr().out


@pytest.mark.parametrize(("checkpoint", "size"), [(None, None), ("run", "tiny")])
def test_one_thing_to_compare_must_be_named(checkpoint, size):
    with pytest.raises(InputError, match="either --checkpoint RUN or --size SIZE"):
        report.parity(checkpoint, size, None)


def test_a_picture_that_cannot_be_written_is_an_input_error(little, tmp_path):
    with pytest.raises(InputError, match=r"nowhere.masks-bar\.png: cannot be written"):
        report.parity(None, "tiny", tmp_path / "nowhere" / "masks.png")


def test_a_picture_is_not_drawn_over_what_is_there(little, tmp_path, monkeypatch):
    (tmp_path / "masks-span.png").touch()
    with pytest.raises(InputError, match=r"masks-span\.png: exists already.*--overwrite"):
        report.parity(None, "tiny", tmp_path / "masks.png")
    with pytest.raises(InputError, match="is a folder"):
        report.parity(None, "tiny", tmp_path)
