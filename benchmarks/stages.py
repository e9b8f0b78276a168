"""Programs one after another, each under a limit of seconds and in a process group of its own: one that crashes, hangs
or runs out of time costs only what it had not yet found. Nothing of the project is imported here.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GRACE_SECONDS = 2.0  # from SIGTERM to SIGKILL


def environment(*first: Path, **variables: str) -> dict[str, str]:
    """Of a program of the benchmarks, whether the project is installed or not. first: folders that go before it."""
    paths = [*map(str, first), str(ROOT), str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"} | variables


def run(
    command: Sequence[str],
    seconds: float,
    environment: dict[str, str],
    log: Path | None = None,
    grace: float = GRACE_SECONDS,
    meanwhile: Callable[[], object] = lambda: None,
) -> str:
    """How it ended: "done in 3 s", "died after 3 s with status 1", "stopped after 3 s, its share of the time". The time
    to end in is part of the seconds; it has it too when this program is being ended. log: file that gets its output,
    else this process's own. meanwhile: called all the while.
    """
    begin, late = time.monotonic(), False
    spent = lambda: time.monotonic() - begin
    try:
        with open(log or os.devnull, "ab") as file:
            output = {"stdout": file, "stderr": subprocess.STDOUT} if log else {}
            process = subprocess.Popen(
                command, env=environment, cwd=ROOT, process_group=0, preexec_fn=_end_with_parent, **output
            )
    except OSError as error:
        return f"died at once: {error}"
    try:
        while process.poll() is None and spent() < seconds:
            if not late and spent() > seconds - grace:
                late = True
                process.send_signal(signal.SIGTERM)  # to it alone: it ends its own children
            time.sleep(0.2)
            meanwhile()
        late |= process.poll() is None
    finally:
        if process.poll() is None and not late:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace)
        _kill(process)
    meanwhile()
    if late:
        return f"stopped after {spent():.0f} s, its share of the time"
    ended = f"{spent():.0f} s"
    return f"done in {ended}" if process.returncode == 0 else f"died after {ended} with status {process.returncode}"


def _end_with_parent() -> None:
    """In a child on Linux: it is killed when this program is gone, even by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _kill(process: subprocess.Popen) -> None:
    """The whole group; of a process that has ended, what it left running."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:  # a driver holds it
        print(f"process {process.pid} does not end", file=sys.stderr)


def tell(findings: Path, *place: str, value: object) -> None:
    """Adds a finding, for the report's place results[place[0]][place[1]]..., to a file that outlives this process."""
    with findings.open("a", encoding="utf-8") as file:
        file.write(json.dumps([place, value]) + "\n")


def told(findings: Path) -> dict:
    """All findings of the file, each at its place."""
    results: dict = {}
    for line in findings.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # else it is being written
            (*path, name), value = json.loads(line)
            place = results
            for step in path:
                place = place.setdefault(step, {})
            place[name] = value
    return results


def attempt(findings: Path, *place: str, measure: Callable[[], object]) -> None:
    """Tells what measure() returns, if anything; or that it failed, and how, for the next measurement may not."""
    try:
        value = measure()
    except (
        Exception
    ) as error:  # out of memory, a kernel that does not compile: whatever it is, it belongs in the report
        value = " / ".join(place) + f": {type(error).__name__}: {' '.join(str(error).split())[:500]}"
        place = "failed", f"{time.time():.3f}"
        print(value, flush=True)
    if value is not None:
        tell(findings, *place, value=value)
