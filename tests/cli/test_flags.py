"""Words that no verb has: a line that says what was meant, of this verb alone, before anything else is looked at."""

import os
import re
import subprocess
import sys

import pytest

from jax_impl.cli import flags
from jax_impl.cli.program import VERBS
from tests import ROOT


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["genrate", "run"], "there is no verb genrate; did you mean generate?"),
        (["import_torhc"], "there is no verb import_torhc; did you mean import-torch"),
        (["xyz"], "there is no verb xyz; there are demo, prepare, "),
        (["generate", "run", "--temprature", 1], "no flag --temprature; did you mean --temperature or --chord-temp"),
        (["generate", "run", "--temprature=1"], "no flag --temprature=1; did you mean --temperature or --chord-temp"),
        (["generate", "run", "--temp", 1], "did you mean --temperature or --tempo?"),
        (["generate", "--learning-rate", 1], "generate has no flag --learning-rate; it has --help, "),
        (["generate", "run", "-stream"], "generate has no flag -stream; did you mean --stream?"),
        (["train", "--lerning-rate", 1], "train has no flag --lerning-rate; did you mean --learning-rate"),
        (["check", "--work", 3], "check has no flag --work; did you mean --workers?"),
        (["generate", "run", "-o", "-dash.mid"], "a file name that begins with - is written ./-dash.mid"),
        (["check", "-dash.mid"], "a file name that begins with - is written ./-dash.mid"),
    ],
)
def test_a_wrong_word_is_answered_in_a_line_with_what_was_meant(run, words, answer):
    status, out, error = run(*words)
    assert (status, out) == (2, "")
    assert error.startswith("error: ") and answer in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["generate", "run", "--bars", "2.5"], "--bars must be a whole number, got '2.5'"),
        (["generate", "run", "--bars=1_000"], "--bars must be a whole number, got '1_000'"),
        (["generate", "run", "--bars", "٣"], "--bars must be a whole number, got '٣'"),
        (["generate", "run", "--tempo", "fast"], "--tempo must be a number, got 'fast'"),
        (["decode", "songs", "--split", "foo"], "--split must be one of train, validation, test, got 'foo'"),
        (
            ["generate", "run", "--bars"],
            "Missing value for argument '--bars'. Expected 1 values; see hid-museformer gen",
        ),
        (["export", "run"], "Missing from hid-museformer export: FILE"),
        (["generate", "run", "other"], "Unrecognized options: other; see hid-museformer generate --help"),
        (["--verison"], "there is no flag --verison; did you mean --version?"),
    ],
)
def test_what_cannot_be_parsed_is_answered_in_a_line(run, words, answer):
    status, out, error = run(*words)
    assert (status, out) == (2, "")
    assert error.startswith("error: ") and answer in error and error.count("\n") == 1


def test_the_flags_of_other_verbs_are_not_named(run):
    _, _, error = run("generate", "run", "--qqq")
    named = set(re.findall(r"--[\w-]+", error))
    assert {"--temperature", "--out", "--chords", "--continue"} < named
    assert not named & {"--data-dir", "--workers", "--split", "--from", "--run", "--config"}


def test_numbers_values_and_other_spellings_of_flags_pass():
    verb = {verb.__name__: verb for verb in VERBS}["generate"]
    words = "run -o x.mid --transpose -3 --tempo -1e5 --top_p=0.5 --no-picture --continue a.mid --min-p -inf -o -"
    flags.refuse_unknown_flags("generate", verb, words.split())


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_the_flags_that_are_known_are_those_of_the_verb_s_help(run, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = run(verb.__name__.replace("_", "-"), "--help")
    assert status == 0
    columns = re.findall(r"^[│ ] (--?[a-z].*?)(?:  |$)", out, re.MULTILINE)  # in a frame, where there is a terminal
    shown = {flag for column in columns for flag in re.findall(r"(?<![\w-])--?[a-z][\w-]*", column)}
    assert shown == set(flags.flags(verb))


def test_the_version_is_told_without_loading_jax():
    program = (
        "import sys; from jax_impl.cli import main; sys.argv = ['hid-museformer', '--version']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'jax', 'flax', 'pyarrow', 'matplotlib'} & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"hid-museformer \d+\.\d+\.\d+\n", done.stdout)
