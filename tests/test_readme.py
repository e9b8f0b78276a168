"""The README's Python programs run as they stand, one after another, but for less work."""

import re
import shutil

import numpy as np
import pytest

import tokenizer
from configs import PrepareConfig
from jax_impl.training.checkpoint import load_model
from tests import ROOT
from tokenizer.dataset.prepare import prepare
from tokenizer.music import midi
from tokenizer.music.composer import compose

LESS = {  # of each program's own words, what stands there for the test
    'MODEL_SIZES["tiny"]': 'replace(MODEL_SIZES["tiny"], layers=1)',
    "max_seq_len=1024, steps=1000": "max_seq_len=256, batch_size=1, steps=2, warmup_steps=1",
    "bars=8": "bars=1",
    "num_samples=2": "num_samples=2, max_length=250",
}


def programs() -> list[str]:
    """The README's blocks of Python, with less work."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for old, new in LESS.items():
        assert sum(block.count(old) for block in blocks) == 1, old
        blocks = [block.replace(old, new) for block in blocks]
    return blocks


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a musician: the dataset `songs`, and song.mid."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "midi").mkdir()
    for seed in range(4):
        midi.write(compose(seed), folder / "midi" / f"{seed}.mid")
    prepare([folder / "midi"], folder / "songs", PrepareConfig(workers=1))
    shutil.copy(folder / "midi" / "0.mid", folder / "song.mid")
    return folder


def test_the_programs_of_the_readme_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    found = {}
    for program in programs():
        assert len([line for line in program.splitlines() if line and "import" not in line]) <= 5
        names = {"__name__": "program"}
        exec(compile(program, "README.md", "exec"), names)
        found |= names
    assert found["batch"].tokens.shape == (4, 1024)
    rule = load_model("run", "latest")[0].config.mask_rule
    assert (rule.near_bars, rule.far_offsets) == (1, (2, 4, 8))
    assert found["logits"].shape == (len(found["tokens"].ids), 724) and np.isfinite(found["logits"]).all()
    assert len(found["songs"]) == 2 and tokenizer.snap(tokenizer.read("new.mid")) == tokenizer.snap(found["songs"][0])
    back = tokenizer.read("back.mid")
    assert tokenizer.snap(back) == tokenizer.decode(found["tokens"].ids) and back.tempos == found["score"].tempos
