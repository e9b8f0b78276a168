"""The script `hid`: found through links, and its tests named from wherever the command is given."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

SAYS = """#!/bin/sh
case "$1 $2" in
    "-c "*"find_spec('"*) # asked for a module
        module=${2#*find_spec(?} && module=${module%%?)*}
        case " $LACKS " in *" $module "*) exit 1 ;; *) exit 0 ;; esac ;;
    "-c "*) echo 1 && exit ;; # asked for a version
    *" pip") echo "$*" >>"$0.calls" ;;
esac
case "$*" in *download.pytorch.org*) exit ${UNREACHABLE:-0} ;; esac
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


def installed(program: Path, verb: str, cwd: Path, **environment: str) -> tuple[str, list[str]]:
    """What is said on the way, and what pip was asked, of `VERB` where the modules LACKS are missing."""
    done = subprocess.run(
        [program, verb], cwd=cwd, check=True, capture_output=True, encoding="utf-8", env=os.environ | environment
    )
    calls = program.with_name(".venv") / "bin" / "python.calls"
    return done.stderr, calls.read_text(encoding="utf-8").splitlines()


def with_gpu(folder: Path, says: str) -> str:
    """A PATH on which nvidia-smi is this shell command."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n", encoding="utf-8")
    (folder / "nvidia-smi").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def gpu(tmp_path):
    return with_gpu(tmp_path / "gpu", "echo 'CUDA Version: 12.4'")


@pytest.fixture
def no_gpu(tmp_path):
    return with_gpu(tmp_path / "no gpu", "exit 1")


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyPI's PyTorch has no CUDA")


@needs_linux
def test_without_a_gpu_pytorch_comes_without_cuda(house, no_gpu):
    shutil.copy(ROOT / "pyproject.toml", house)
    said_, calls = installed(house / "hid", "import-torch", house, LACKS="jax torch", PATH=no_gpu)
    assert "about 450 MB to download" in said_ and "3000" not in said_
    first, second = calls
    assert first.endswith("--index-url https://download.pytorch.org/whl/cpu torch==2.13.0") and "--no-deps" in first
    assert second.endswith(f"-e {house}[torch]")


@needs_linux
def test_where_pytorchs_builds_cannot_be_reached_the_gigabytes_are_said_first(house, no_gpu):
    said_, calls = installed(house / "hid", "parity", house, LACKS="torch", UNREACHABLE="1", PATH=no_gpu)
    assert "about 200 MB to download" in said_ and "up to 3000 MB more" in said_
    assert calls[-1].endswith(f"-e {house}[torch]")


def test_gigabytes_of_cuda_are_said(house, gpu):
    said_, calls = installed(house / "hid", "train", house, LACKS="jax jax_cuda12_plugin", PATH=gpu)
    assert "about 3350 MB to download" in said_
    assert calls == [f"-m pip install --quiet --disable-pip-version-check -e {house}[cuda12]"]
    said_, calls = installed(house / "hid", "export-torch", house, LACKS="torch", PATH=gpu)
    assert "about 1500 MB to download" in said_ and "download.pytorch.org" not in calls[-2]


def test_what_is_there_is_not_downloaded_again(house, no_gpu):
    said_, calls = installed(house / "hid", "parity", house, LACKS="", PATH=no_gpu)
    assert "MB" not in said_ and len(calls) == 1
    said_, calls = installed(house / "hid", "parity", house, LACKS="", PATH=no_gpu)
    assert said_ == "" and len(calls) == 1
