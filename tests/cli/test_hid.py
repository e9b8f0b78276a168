"""The script `hid`: found through links, and its tests named from wherever the command is given."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import ROOT

SAYS = """#!/bin/sh
if [ "$1" = -c ]; then echo 1 && exit; fi # asked for a version
for argument in "$@"; do
    if [ "$last" = --target ]; then mkdir -p "$argument"; fi # as an installation does
    last=$argument
done
echo "$PWD: $0 $*"
"""


@pytest.fixture
def house(tmp_path):
    """A program of which nothing is installed: its Python says what it is asked."""
    folder = tmp_path / "a house é"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_one.py").touch()
    shutil.copy(ROOT / "hid", folder / "hid")
    (folder / "pyproject.toml").touch()
    for name in ("python", "hid-museformer"):
        (folder / ".venv" / "bin" / name).write_text(SAYS, encoding="utf-8")
        (folder / ".venv" / "bin" / name).chmod(0o755)
    return folder


def said(program: Path, *arguments: str, cwd: Path) -> str:
    """The last line."""
    done = subprocess.run([program, *arguments], cwd=cwd, check=True, capture_output=True, encoding="utf-8")
    return done.stdout.splitlines()[-1]


def test_a_link_to_a_link_finds_the_program(house, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "second").symlink_to("../a house é/hid")
    (tmp_path / "first").symlink_to(tmp_path / "bin" / "second")
    expected = f"{tmp_path}: {house}/.venv/bin/hid-museformer check a b"
    assert said(tmp_path / "first", "check", "a b", cwd=tmp_path) == expected


def test_tests_are_named_from_where_the_command_is_given(house):
    begin = f"-m pytest -c {house}/pyproject.toml --rootdir {house} -n auto --maxprocesses 4 --dist worksteal"
    python = f"{house}/.venv/bin/python"
    assert said(house / "hid", "test", "-k", "x", cwd=house / "tests") == f"{house}: {python} {begin} -k x"
    one = "test_one.py::test_it"
    assert said(house / "hid", "test", one, cwd=house / "tests") == f"{house / 'tests'}: {python} {begin} {one}"
