"""The verb `serve`: what it says, what it refuses, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib

import pytest

from jax_impl.cli import serving as verb
from jax_impl.page import server
from tests import ROOT
from tests.page.served import Address, serving


@pytest.fixture
def serve(run_dir):
    """Starts it as a user does; its process and address."""
    started = []

    def start(*words: str) -> tuple[subprocess.Popen, Address]:
        command = [sys.executable, "-m", "jax_impl.cli", "serve", str(run_dir), "--no-browser", "--port", "0", *words]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)
        started.append(process)
        line = ""
        while process.poll() is None and "Ctrl-C" not in line:
            line += process.stdout.readline()
        return process, Address(int(re.search(r":(\d+)/", line)[1]))

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_ends_it_in_a_word_also_while_a_song_is_written(serve, times):
    process, address = serve()
    asked = {"action": "new", "bars": 50, "instruments": "drums,bass,piano,guitar,flute"}
    events = address.events(asked)
    assert next(events)[0] in ("queued", "begun")
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    try:
        told = [data.get("error") for name, data in events if name == "failed"]
        assert times == 2 or told == ["the server was ended; your song is safe in this browser"]
    except OSError:
        assert times == 2, "a second Ctrl-C does not wait"
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error == "stopped\n"


def test_who_connects_and_asks_nothing_is_sent_away(run_dir, monkeypatch):
    monkeypatch.setattr(server, "TO_ASK", 0.2)
    with serving(run_dir) as address, socket.create_connection(("127.0.0.1", address.port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")  # and no end of the head
        assert connection.recv(100) == b""
        assert address.get("/api/server").status == 200


def test_on_a_network_the_link_has_a_token(serve):
    _, address = serve("--host", "0.0.0.0")
    assert address.get("/").status == 401


def test_what_cannot_be_is_said_in_a_line(run, run_dir):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, said in (
            (("--port", port), f"--host 127.0.0.1 --port {port}: cannot be listened on"),
            (("--port", 70000), "--port 70000"),
            (("--host", "no.such.host.invalid"), "cannot be listened on"),
        ):
            status, _, error = run("serve", run_dir, "--no-browser", *words)
            assert status == 2 and said in error and error.count("\n") == 1
    status, _, error = run("serve", run_dir / "nothing", "--no-browser")
    assert status == 2 and "nothing" in error


def test_without_the_extra_it_says_what_to_install(run, run_dir, monkeypatch):
    monkeypatch.setattr(verb, "NEEDED", ("starlette", "no_such_package"))
    status, _, error = run("serve", run_dir)
    assert status == 2 and "hid-museformer[page]" in error
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {re.split("[>=<]", package)[0] for package in extras["page"]}
    assert named == {"starlette", "uvicorn"}
    assert {"sound", "page", "live", "test"} <= extras.keys()
