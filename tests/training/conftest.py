"""What the tests of training share: songs, programs, and a run that was never interrupted."""

import functools
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jax_impl.training import train
from tests.runs import MODEL, config, write_dataset


@pytest.fixture(scope="package")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "songs")


# What no compiled program depends on
ELSEWHERE = dict(data_dir=Path(), output_dir=Path(), resume_from=None)
PACE = dict(log_every=1, validate_every=1, eval_every=0, checkpoint_every=1, keep_last=1)


@pytest.fixture(scope="package", autouse=True)
def traced_once():
    """Runs of equal settings in one process give JAX the same functions, so that it traces and compiles them once: that
    takes most of the time of so small a run. Runs in other processes trace theirs anew.
    """
    make_once = functools.cache(train.make_step)

    def make_step(model, config, total_steps):
        return make_once(model, replace(config, **ELSEWHERE, **PACE), total_steps)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train, "make_step", make_step)
        patched.setattr(train, "abstract_model", functools.cache(train.abstract_model))
        patched.setattr(train, "functools", SimpleNamespace(partial=functools.cache(functools.partial)))
        yield


@pytest.fixture(scope="package")
def uninterrupted(dataset, tmp_path_factory) -> Path:
    """The run that the interrupted ones must equal."""
    run = tmp_path_factory.mktemp("uninterrupted")
    assert train.train(config(dataset, run), MODEL) == train.Result(step=8, total_steps=8, signal=None)
    return run
