"""What the tests of training share: songs, and a run that was never interrupted."""

from pathlib import Path

import pytest

from jax_impl.training import train
from tests.runs import MODEL, config, write_dataset


@pytest.fixture(scope="package")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "songs")


@pytest.fixture(scope="package")
def uninterrupted(dataset, tmp_path_factory) -> Path:
    """The run that the interrupted ones must equal."""
    run = tmp_path_factory.mktemp("uninterrupted")
    assert train.train(config(dataset, run), MODEL) == train.Result(step=8, total_steps=8, signal=None)
    return run
