"""Shared fixtures, and the hypothesis profile: the same examples every time, so that a failure can be found again.

Derandomized draws depend on the test, but also on constants that Hypothesis finds in whichever modules of the project
happen to be loaded; it is told that there are none (test_hypothesis.py shows that it listens).
"""

import os
import shutil
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.songs import real_songs

providers._get_local_constants = Constants
hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("fixed")


def pytest_configure(config: pytest.Config) -> None:
    """What was compiled once serves all tests of a session: its worker processes and those that tests start inherit the
    environment. Compiling takes most of the time, and programs of planted faults are programs of their own.
    """
    if not hasattr(config, "workerinput"):
        config.compiled = tempfile.mkdtemp(prefix="hid-compiled-")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.compiled
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"  # single operations are quicker compiled


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "compiled"):
        shutil.rmtree(config.compiled, ignore_errors=True)


@pytest.fixture(scope="session")
def songs(tmp_path_factory) -> list[Path]:
    """Real MIDI files where there are any, else songs of the built-in composer."""
    if files := real_songs():
        return list(files)
    from tokenizer.music import midi
    from tokenizer.music.composer import compose

    folder = tmp_path_factory.mktemp("songs")
    for seed in range(20):
        midi.write(compose(seed), folder / f"{seed:02}.mid")
    return sorted(folder.iterdir())
