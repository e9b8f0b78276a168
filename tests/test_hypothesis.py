"""Hypothesis draws the same examples for a test whatever else was imported: a failure in the suite is one alone."""

import subprocess
import sys

from tests import ROOT

PROGRAM = """
import sys
import tests.conftest
from hypothesis import given, strategies

drawn = []

@given(strategies.lists(strategies.integers(0, 10**6) | strategies.text()))
def draw(values):
    drawn.append(values)

if sys.argv[1] == "with the project":
    import jax_impl.model.museformer, tokenizer.dataset.prepare, configs
draw()
print(len(drawn), drawn)
"""


def drawn(*arguments: str) -> str:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout


def test_draws_do_not_depend_on_the_modules_that_are_loaded():
    alone = drawn("alone")
    assert alone.startswith("100 ") and drawn("with the project") == alone
