"""The command line as tests call it."""

import sys

import pytest

from jax_impl.cli import main


@pytest.fixture
def run(monkeypatch, capsys):
    """run("check", path, ...) -> (exit status, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hid-museformer", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        return (exit_.value.code or 0, *capsys.readouterr())

    return run
