"""Shared fixtures, and the hypothesis profile: the same examples every time, so that a failure can be found again.

Derandomized draws depend on the test, but also on constants that Hypothesis finds in whichever modules of the project
happen to be loaded; it is told that there are none (test_hypothesis.py shows that it listens).
"""

from pathlib import Path

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from tests.songs import real_songs

providers._get_local_constants = Constants
hypothesis.settings.register_profile("fixed", derandomize=True, database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("fixed")


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
