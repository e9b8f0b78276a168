"""How much memory does prepare take, and what of it grows with the number of files?

    python benchmarks/prepare_memory.py --songs ../shared/data/midi

Prepares 2000 different files of the songs (each with a track of one more note) with two workers, and watches the memory
that no file stands behind: of the process itself, and of its largest worker. Then many files of one note each, which
tell what a file costs whatever it holds. Writes benchmarks/results/prepare_memory.json.
"""

import argparse
import multiprocessing
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from report import write_report

from configs import PrepareConfig
from tokenizer.dataset.files import read_manifest
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.prepare import prepare

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.tokenizer.hostile import END, HEADER, number, track

FEW, MANY = 4_000, 36_000


def one_more_note(raw: bytes, number: int) -> bytes:
    """The file with a track more, which plays another note for each number."""
    note = bytes([0, 0x90, 1 + number % 127, 1 + number // 127 % 127, 96, 0x80, 1 + number % 127, 0])
    tracks = struct.unpack(">H", raw[10:12])[0]
    return raw[:8] + struct.pack(">HH", 1, tracks + 1) + raw[12:] + track(b"\x00\xc0\x7f" + note + END)


def one_note(count: int) -> bytes:
    """A file that plays another note for each count below 238 080."""
    pitch, velocity, steps = 1 + count % 120, 4 + count // 120 % 31 * 4, 1 + count // 3720 % 64
    return HEADER + track(bytes([0, 0x90, pitch, velocity]) + number(120 * steps) + bytes([0x80, pitch, 0]) + END)


def anonymous_kilobytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def children(process: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
        ]
    except OSError:
        return []


def watch(files: Iterator[bytes], temporary: Path) -> dict:
    folder, out = temporary / "midi", temporary / "songs"
    for name, content in enumerate(files):
        path = folder / f"{name % 16:x}" / f"{name:032x}.mid"  # names as long as those of large collections
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    config = PrepareConfig(workers=2)
    process = multiprocessing.get_context("spawn").Process(target=prepare, args=([folder], out, config))
    start, most, most_of_worker = time.perf_counter(), 0, 0
    process.start()
    while process.is_alive():
        most = max(most, anonymous_kilobytes(process.pid))
        most_of_worker = max([most_of_worker, *map(anonymous_kilobytes, children(process.pid))])
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    songs = sum(split["songs"] for split in read_manifest(out)["splits"].values())
    return {
        "songs": songs,
        "seconds": round(seconds, 1),
        "process_MB": round(most / 1e3, 1),
        "worker_MB": round(most_of_worker / 1e3, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    songs = [Path(path).read_bytes() for _, path in find_midi([parser.parse_args().songs])[0]]
    results = {}
    for name, files in (
        ("2000 songs", (one_more_note(songs[i % len(songs)], i) for i in range(2000))),
        (f"{FEW} files of one note", map(one_note, range(FEW))),
        (f"{MANY} files of one note", map(one_note, range(MANY))),
    ):
        with tempfile.TemporaryDirectory() as temporary:
            results[name] = watch(files, Path(temporary))
    (_, few), (_, many) = list(results.items())[1:]
    megabytes_a_file = (many["process_MB"] - few["process_MB"]) / (MANY - FEW)
    results["process, bytes a file"] = round(megabytes_a_file * 1e6)
    results["process_MB of 450000 files, if it grows on like that"] = round(
        many["process_MB"] + megabytes_a_file * (450_000 - MANY)
    )
    write_report("prepare_memory", results)


if __name__ == "__main__":
    main()
