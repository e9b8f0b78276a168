"""Plants faults in a copy of the program, one at a time, and runs the tests that should notice: each must fail.

    python benchmarks/mutations.py [--only tokenizer/grid]

The faults are in benchmarks/faults.py. One that no test notices is a hole in the tests: the exit status is 1 then.
Writes benchmarks/results/mutations.json.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import FAULTS, Fault
from report import write_report
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
SECONDS = 120  # of one test: a program that hangs is noticed too


def copy_of_program(folder: Path) -> Path:
    """The program as it is here, beside the real songs where there are any."""
    tree = folder / "program"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in map(os.fsdecode, listed.split(b"\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    if (beside := ROOT.parent / "shared").exists():
        (folder / "shared").symlink_to(beside)
    return tree


def first_failure(tree: Path, tests: tuple[str, ...]) -> str:
    """The first test that fails, or does not end; empty where all pass. No process of theirs is left."""
    # "thread" also ends what waits outside of Python
    options = ["-x", "-q", "-n0", "-p", "no:cacheprovider", f"--timeout={SECONDS}", "--timeout-method=thread"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        done = subprocess.Popen(command, cwd=tree, env=environment, stdout=said, stderr=said, start_new_session=True)
        done.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(done.pid, signal.SIGKILL)
        said.seek(0)
        output = said.read()
    if done.returncode and "+ Timeout +" in output:
        return f"{' '.join(tests)}: does not end"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    if bool(done.returncode) != bool(failed):
        raise SystemExit(f"{' '.join(command)}\n{output}")
    return failed[1] if failed else ""


def plant(tree: Path, fault: Fault) -> str:
    """Changes the file; returns what it was."""
    path = tree / fault.file
    before = path.read_text(encoding="utf-8")
    if before.count(fault.old) != 1:
        raise SystemExit(f"{fault.file}: {fault.old!r} is there {before.count(fault.old)} times; name one place")
    path.write_text(before.replace(fault.old, fault.new), encoding="utf-8")
    return before


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="faults of files that begin so; nothing is written then")
    only = parser.parse_args().only
    chosen, results = [fault for fault in FAULTS if fault.file.startswith(only)], []
    with tempfile.TemporaryDirectory() as folder, tqdm(chosen, unit="fault", disable=None) as faults:
        tree = copy_of_program(Path(folder))
        for fault in faults:
            before, began = plant(tree, fault), time.monotonic()
            failed = first_failure(tree, fault.tests)
            (tree / fault.file).write_text(before, encoding="utf-8")
            seconds = round(time.monotonic() - began, 1)
            results.append({"file": fault.file, "fault": fault.what, "noticed_by": failed, "seconds": seconds})
            faults.write(f"{fault.file}: {fault.what}: {failed or 'NOT NOTICED'}")
    noticed = sum(bool(result["noticed_by"]) for result in results)
    print(f"{noticed} of {len(results)} faults are noticed")
    if not only:
        write_report("mutations", {"noticed": noticed, "faults": results}, show=False)
    return 0 if noticed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
