"""Worker processes: they end with whoever started them, and there are as many as this process may use cores."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs import InputError
from tests import ROOT
from tokenizer.dataset import workers

MARK = "HID_TEST_MARK"
PROGRAM = "import time; from tokenizer.dataset.workers import run; list(run(time.sleep, [1000] * 4, 2, 'local'))"


def marked(mark: str) -> list[str]:
    """Processes that have inherited this mark; one that has ended has no environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [path.parent.name] if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0") else []
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_process_that_started_it(number):
    moments = random.Random(number)
    most = 0
    for attempt in range(5):
        mark = f"{os.getpid()}-{number}-{attempt}"
        environment = os.environ | {MARK: mark, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(marked(mark)) < (4 if attempt == 0 else moments.choice([1, 2, 3, 4])):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        most = max(most, len(marked(mark)))
        process.send_signal(number)
        process.wait()
        try:
            give_up = time.monotonic() + 60
            while (left := marked(mark)) and time.monotonic() < give_up:
                time.sleep(0.02)
            assert not left
        finally:
            for pid in left:
                os.kill(int(pid), signal.SIGKILL)
    assert most == 4, "the process, what tracks its resources, and two workers"


def test_where_no_worker_can_be_started_that_is_told(monkeypatch):
    """It was a broken pipe, which the command line took for a reader who had seen enough: nothing, and status 0."""

    def broken(*_, **__):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", broken)
    with pytest.raises(InputError, match=r"no worker process can be started .*Broken pipe.*--workers 1"):
        list(workers.run(abs, [1, 2, 3], 2, "local"))


# ---------------------------------------------------------------- cores


@pytest.mark.parametrize(
    ("contents", "cores"),
    [
        ({}, 16),
        ({"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/step/cpu.max": "max 100000\n"}, 16),
        ({"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/step/cpu.max": "400000 100000\n"}, 4),
        ({"proc/self/cgroup": "0::/job/step\n", "sys/fs/cgroup/job/cpu.max": "250000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/elsewhere/in/the/host\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 16),
        (
            {
                "proc/self/cgroup": "3:memory:/x\n2:cpu,cpuacct:/docker/abc\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "50000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "2:cpuacct,cpu:/docker/abc\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "2:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            16,
        ),
    ],
)
def test_cores_are_those_that_a_container_gives(tmp_path, monkeypatch, contents, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert workers.cores(tmp_path) == cores


def test_cores_are_those_that_a_process_is_bound_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 7})
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    assert workers.cores(tmp_path) == 2
