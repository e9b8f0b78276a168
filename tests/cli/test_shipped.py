"""The model that comes with the program: used where no run is named, and nothing that is written says where it lies."""

import json
import re
import shutil
import tomllib

import pytest

import jax_impl
from configs import Constraints, SampleConfig
from jax_impl import shipped
from jax_impl.sampling.stream import stream
from jax_impl.training.found import find
from tests import ROOT
from tests.runs import write_dataset
from tokenizer.music import midi

SHORT = ("--max-length", 60, "--no-picture")  # one program for all


@pytest.fixture(scope="module", autouse=True)
def kept(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HID_CACHE", str(tmp_path_factory.mktemp("kept")))
        yield


def test_it_comes_with_the_package_and_knows_nothing_of_where_it_was_trained():
    of_packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    there = of_packages["package-data"]["jax_impl.shipped"]
    assert there == [shipped.MODEL.name, "SOURCES.md", "held_out.json"]
    assert all(shipped.MODEL.with_name(name).stat().st_size for name in there)
    record = find(None, "best").record
    assert record.has_seen_fills, "so that it can do all that generate can"
    assert record.train["data_dir"] is record.train["output_dir"] is None
    assert shipped.MODEL.stat().st_size < 10e6


def test_a_song_without_a_run_is_by_it_and_made_again_without_one(run, tmp_path):
    status, out, error = run("generate", "-o", tmp_path / "x.mid", *SHORT)
    assert (status, error) == (0, "") and f"({shipped.NAME})" in out
    content = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert json.loads(content)["run"] is None and str(ROOT) not in content and "safetensors" not in content
    assert run("generate", "-o", tmp_path / "y.mid", "--again", tmp_path / "x.json", "--no-picture")[0] == 0
    assert run("generate", shipped.MODEL, "-o", tmp_path / "z.mid", *SHORT)[0] == 0, "a path will do too"
    for name in ("y", "z"):
        assert (tmp_path / f"{name}.mid").read_bytes() == (tmp_path / "x.mid").read_bytes()
        assert json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["run"] is None
    status, _, error = run("generate", "-o", tmp_path / "a.mid", "--checkpoint", 5, *SHORT)
    assert status == 2 and error.startswith(f"error: {shipped.NAME}: no checkpoint of step 5")


def test_without_a_run_a_song_is_made_again_by_the_one_that_its_json_names(run, tmp_path):
    shutil.copy(shipped.MODEL, other := tmp_path / "other.safetensors")
    assert run("generate", other, "-o", tmp_path / "x.mid", *SHORT)[0] == 0
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["run"] == str(other)
    again = ("generate", "-o", tmp_path / "y.mid", "--again", tmp_path / "x.json", "--no-picture", "--overwrite")
    assert run(*again)[0] == 0
    other.unlink()
    status, _, error = run(*again)
    assert status == 2 and f"{other}: no such file" in error


def test_python_needs_no_run_either():
    wanted, sampler = Constraints(bars=1, instruments="bass"), SampleConfig(max_length=60)
    (song,) = jax_impl.generate(constraints=wanted, sampler=sampler)
    (content,) = jax_impl.generate_files(constraints=wanted, sampler=sampler)
    assert midi.to_bytes(song, "song")[0] == content
    bars = stream(constraints=wanted, sampler=sampler)
    assert [bar.program for bar in bars] == [33] and bars.sample.score() == song


def test_it_is_evaluated_with_a_dataset_that_is_named_into_the_folder_where_one_stands(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in shipped.MODEL.parent.iterdir())
    status, _, error = run("evaluate", "--samples", 0)
    assert status == 2 and "does not say what it was trained on; name a dataset with --data-dir" in error
    assert not list(tmp_path.iterdir())
    songs = write_dataset(tmp_path / "songs", songs=16)
    status, out, error = run("evaluate", "--samples", 0, "--data-dir", songs)
    assert (status, error) == (0, "") and shipped.NAME in out and "\nevaluation: report.json" in out
    for name in ("report.json", "report.html"):
        content = (tmp_path / "evaluation" / name).read_text(encoding="utf-8")
        assert shipped.NAME in content and str(ROOT) not in content
    assert sorted(path.name for path in shipped.MODEL.parent.iterdir()) == before


@pytest.mark.parametrize("verb", ["generate", "evaluate", "demo"])
def test_no_help_says_where_it_lies(run, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "500")
    status, out, _ = run(verb, "--help")
    assert status == 0 and str(ROOT) not in out and shipped.NAME in re.sub(r"[│\s]+", " ", out)
