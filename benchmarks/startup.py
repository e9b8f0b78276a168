"""Seconds from a command to what it is for, of whole processes: a song of `generate`, the first step of `train`.

    python benchmarks/startup.py --other ../before

"first": with no compiled program kept, as on a new machine; "later": again, --repeats times. Models of random weights,
16 bars in 1024 tokens. --other: another checkout, measured in turn with this one. Writes
benchmarks/results/startup.json.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import write_report

from jax_impl.device.program_cache import VARIABLE
from tokenizer.music import midi
from tokenizer.music.composer import compose

HERE = Path(__file__).resolve().parents[1]
SONG = ("--bars", "16", "--max-length", "1024", "--overwrite")
TRAIN = ("--steps", "1", "--max-seq-len", "1024", "--batch-size", "1", "--log-every", "1", "--num-workers", "0")
SONGS = 40


def start(root: Path, cache: Path, *words: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(root), VARIABLE: str(cache)}
    command = [sys.executable, "-m", "jax_impl.cli", *words]
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def whole(root: Path, cache: Path, *words: str) -> float:
    """Seconds of a command."""
    begin = time.perf_counter()
    process = start(root, cache, *words)
    process.communicate()
    assert process.returncode == 0, words
    return time.perf_counter() - begin


def to_first_step(root: Path, cache: Path, *words: str) -> float:
    """Seconds until `train` tells of its first step."""
    begin, seconds = time.perf_counter(), None
    process = start(root, cache, *words)
    for line in process.stdout:
        if seconds is None and line.startswith(b"step 1:"):
            seconds = time.perf_counter() - begin
    assert process.wait() == 0 and seconds is not None, words
    return seconds


def trained(folder: Path, size: str) -> Path:
    """A run whose model has made one step."""
    run = folder / f"run-{size}"
    whole(HERE, folder / "programs", *train(folder, run, size))
    return run


def train(folder: Path, run: Path, size: str) -> list[str]:
    return ["train", "--data-dir", str(folder / "songs"), "--output-dir", str(run), "--model-size", size, *TRAIN]


def measure(root: Path, folder: Path, sizes: list[str], repeats: int) -> dict:
    """Of each case the seconds of the first time and of the later ones."""
    cases = {}
    for size in sizes:
        words = ["generate", str(folder / f"run-{size}"), "-o", str(folder / "song.mid"), *SONG]
        cases[f"{size}, one song"] = (whole, words)
        if size == sizes[0]:
            cases[f"{size}, eight songs"] = (whole, [*words, "--num-samples", "8"])
            cases[f"{size}, one song, no picture"] = (whole, [*words, "--no-picture"])
            cases[f"{size}, first step of train"] = (to_first_step, None)
    found = {}
    for name, (clock, words) in cases.items():
        with tempfile.TemporaryDirectory() as cache:
            seconds = []
            for number in range(repeats + 1):
                of_train = train(folder, folder / f"new-{time.monotonic_ns()}", sizes[0])
                seconds.append(round(clock(root, Path(cache), *(words or of_train)), 2))
                print(f"{root.name}: {name}, {'later' if number else 'first'}: {seconds[-1]} s", flush=True)
        first, *later = seconds
        found[name] = {"first": first, "later": later, "later_median": round(statistics.median(later), 2)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny", "small"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--other", type=Path, help="another checkout")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "midi").mkdir()
        for seed in range(SONGS):
            midi.write(compose(seed), folder / "midi" / f"{seed:02}.mid")
        whole(HERE, folder / "programs", "prepare", str(folder / "midi"), str(folder / "songs"))
        for size in args.sizes:
            trained(folder, size)
        results = {"load_average": os.getloadavg()[0]}
        if args.other:
            results["other"] = measure(args.other.resolve(), folder, args.sizes, args.repeats)
        results["this"] = measure(HERE, folder, args.sizes, args.repeats)
    write_report("startup", results)


if __name__ == "__main__":
    main()
