"""benchmarks/gpu_day.py, rehearsed: a GPU that is there for minutes is not the place to find its faults."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import psutil
import pytest

from configs import PrepareConfig
from jax_impl.training.checkpoint import load_model
from tests import ROOT
from tokenizer.dataset.prepare import prepare
from tokenizer.music import midi
from tokenizer.music.composer import compose

DAY = ROOT / "benchmarks" / "gpu_day.py"


def run_python(folder, *arguments) -> subprocess.CompletedProcess:
    """Where the project is not installed: it is found beside the script, not by PYTHONPATH."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"TMPDIR": str(folder)}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=variables, capture_output=True, encoding="utf-8"
    )


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    """What --prepare makes, but for the wheels: six composed songs."""
    folder = tmp_path_factory.mktemp("carried")
    (folder / "midi").mkdir()
    for seed in range(6):
        midi.write(compose(seed), folder / "midi" / f"{seed}.mid")
    prepare([folder / "midi"], folder / "songs", PrepareConfig(workers=1))
    with tarfile.open(folder / "songs.tar.gz", "w:gz") as tar:
        tar.add(folder / "songs", "songs")
    make_rows = "import pathlib, attention_rows; attention_rows.load(pathlib.Path('rows.npz'), None, [256], 4)"
    program = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks')!r}]; {make_rows}"
    assert run_python(folder, "-c", program).returncode == 0
    return folder


def findings_of(folder) -> list[tuple[list[str], object]]:
    lines = (folder / "findings.jsonl").read_text(encoding="utf-8").splitlines()
    return [(place, value) for place, value in map(json.loads, lines)]


def test_a_rehearsal_times_trains_and_brings_a_model_back(carried, tmp_path):
    out = tmp_path / "out"
    names = "machine", "ours", "train", "bring back"
    ran = run_python(tmp_path, DAY, "--out", out, "--carried", carried, "--rehearse", "--only", *names)
    found = findings_of(out)
    ended = {place[1]: value for place, value in found if place[0] == "stages"}
    assert list(ended) == list(names), ran.stdout + ran.stderr
    assert "died" in ended.pop("machine")  # it is no Hopper GPU
    assert all(how.startswith("done") for how in ended.values()), (out / "log").read_text(encoding="utf-8")
    timed = [place for place, _ in found if place[0] == "timings" and place[-1] == "forward and backward"]
    assert [place[1:4] for place in timed] == [
        [rule, "256", call] for rule in ("span", "v121") for call in ("update", "summarize")
    ]
    files = [path for path in out.iterdir() if path.is_file()]
    assert len(files) <= 8 and max(path.stat().st_size for path in files) < 16 << 20
    whole = b"".join(path.read_bytes() for path in sorted(out.glob("run.tar.gz.*")))
    (tmp_path / "run.tar.gz").write_bytes(whole)
    with tarfile.open(tmp_path / "run.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    _, record = load_model(tmp_path / "run", "latest")  # its checksums are right
    assert record.step == 6


def test_a_stage_that_hangs_or_crashes_costs_only_its_time(tmp_path):
    hangs = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print("heard", child.pid, flush=True)
time.sleep(1000)
"""
    program = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import stages
for command, seconds in (({hangs!r}, 10), ("import os; os.abort()", 60), ("print('well')", 60)):
    print(stages.run([sys.executable, "-c", command], seconds, stages.environment(), Path("log"), grace=1))
print(stages.run(["no-such-program"], 5, stages.environment(), Path("log")))
"""
    ends = run_python(tmp_path, "-c", program).stdout.splitlines()
    for end, begins in zip(ends, ("stopped after 10 s", "died after", "done in", "died at once"), strict=True):
        assert end.startswith(begins)
    log = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert log[0].startswith("heard") and log[-1] == "well"
    while runs(int(log[0].split()[1])):  # it was killed, which takes its time
        time.sleep(0.1)


def test_what_a_killed_command_began_ends_with_it(tmp_path):
    waits = "import os, time; print(os.getpid(), flush=True); time.sleep(1000)"
    program = f"""
import sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import stages
stages.run([sys.executable, "-c", {waits!r}], 1000, stages.environment())
"""
    for number in (signal.SIGKILL, signal.SIGTERM):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, encoding="utf-8") as process:
            child = int(process.stdout.readline())
            assert runs(child)
            process.send_signal(number)
        while runs(child):
            time.sleep(0.1)


def test_what_cannot_be_is_told_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").touch()
    (tmp_path / "variants" / "misspelt").mkdir(parents=True)
    for arguments, words in {
        ("--prepare", "--songs", "empty", "--carried", "carried"): "empty holds no MIDI file that can be read",
        ("--prepare", "--songs", "nothing", "--carried", "carried"): "nothing: no such file or folder",
        ("--out", "a file", "--rehearse"): "File exists",
        ("--out", "out", "--seconds", "nan"): "--seconds nan: 24 at least",
        ("--out", "out", "--only", "trian"): "there is no stage 'trian'; there are machine, forward,",
        ("--out", "out", "--second", "--variants", "variants"): "misspelt holds no jax_impl",
    }.items():
        ran = run_python(tmp_path, DAY, *arguments)
        assert ran.returncode and words in ran.stderr.splitlines()[-1], ran.stderr
        assert "Traceback" not in ran.stderr
    assert not list(tmp_path.glob("carried/rows*"))


def runs(number: int) -> bool:
    """Whether there is a process of this number that has not ended."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
