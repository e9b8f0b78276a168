"""Shared fixtures, and the hypothesis profile: the same examples every time, so that a failure can be found again.

Derandomized draws depend on the test, but also on constants that Hypothesis finds in whichever modules of the project
happen to be loaded; it is told that there are none (test_hypothesis.py shows that it listens).
"""

import gc
import os
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.songs import real_songs

OPTIMIZATION = "--xla_backend_optimization_level"
# Of the two ways to write fused loops the older is compiled in half the time; the option is a name that XLA may forget
FAST_TO_COMPILE = (
    f"{OPTIMIZATION}=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)
providers._get_local_constants = Constants
hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("fixed")


def pytest_configure(config: pytest.Config) -> None:
    """Compiling takes most of the time. What was compiled once serves all tests of a session: its worker processes and
    those that tests start inherit the environment. And machine code is not optimized, which saves three quarters; tests
    that compare programs bit by bit ask for optimized code, and XLA_FLAGS can for all of them.
    """
    if not hasattr(config, "workerinput") and not hasattr(config, "compiled"):
        # Killed processes may still write to it when it goes.
        config.compiled = tempfile.TemporaryDirectory(prefix="hid-compiled-", ignore_cleanup_errors=True)
        config.add_cleanup(config.compiled.cleanup)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = config.compiled.name
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        if OPTIMIZATION not in (flags := os.environ.get("XLA_FLAGS", "")):
            os.environ["XLA_FLAGS"] = f"{flags} {FAST_TO_COMPILE}"


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the collector, which tracing programs calls often, need not look at it again."""
    gc.collect()
    gc.freeze()


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
