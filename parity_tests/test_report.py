"""What `hid-museformer parity` says of sound and of broken programs."""

from dataclasses import replace

import pytest

from configs import MASK_RULES, InputError, ModelConfig
from jax_impl.model import museformer as jax_module
from parity_tests import report
from parity_tests.pairs import magnified

CONFIG = ModelConfig(layers=2, width=64, ffn=64)


@pytest.fixture
def little(monkeypatch):
    """Models that take seconds."""
    config = replace(CONFIG, mask_rule=MASK_RULES["span"])
    monkeypatch.setattr(report, "models", lambda checkpoint, size: [("a model", magnified(config), config)])


def test_a_sound_program_gives_a_short_table_and_a_picture(little, tmp_path, capsys):
    assert report.parity(None, "tiny", tmp_path / "masks.png")
    said = capsys.readouterr().out
    assert "a model, 2 rows of 512 tokens" in said and "all agree" in said and len(said.splitlines()) < 15
    assert [path.name for path in tmp_path.iterdir()] == ["masks-span.png"]


def test_a_broken_program_is_named_by_the_first_thing_that_differs(little, monkeypatch, capsys):
    rotate = jax_module.rotate
    monkeypatch.setattr(jax_module, "rotate", lambda x, rotation: rotate(x, (rotation[0], -rotation[1])))
    assert not report.parity(None, "tiny", None)
    assert "first: stream of summary after layer 1" in capsys.readouterr().out


@pytest.mark.parametrize(("checkpoint", "size"), [(None, None), ("run", "tiny")])
def test_one_thing_to_compare_must_be_named(checkpoint, size):
    with pytest.raises(InputError, match="either --checkpoint RUN or --size SIZE"):
        report.parity(checkpoint, size, None)


def test_a_picture_that_cannot_be_written_is_an_input_error(little, tmp_path):
    with pytest.raises(InputError, match=r"nowhere.masks-span\.png: cannot be written"):
        report.parity(None, "tiny", tmp_path / "nowhere" / "masks.png")
