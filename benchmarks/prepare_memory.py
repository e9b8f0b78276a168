"""How much memory does prepare take, and what of it grows with the number of files?

    python benchmarks/prepare_memory.py --songs ../shared/data/midi --files 1000 2000 4000

Makes that many different files of the songs (each with a track of one more note), prepares them with two workers, and watches the memory
that no file stands behind: of the process itself, and of its largest worker. Writes benchmarks/results/prepare_memory.json.
"""

import argparse
import multiprocessing
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
from hostile import END, track
from report import write_report

from configs import PrepareConfig
from tokenizer.dataset import read_manifest
from tokenizer.prepare import find_midi, prepare

AT_SCALE = 450_000


def one_more_note(raw: bytes, number: int) -> bytes:
    """The file with a track more, which plays another note for each number."""
    note = bytes([0, 0x90, 1 + number % 127, 1 + number // 127 % 127, 96, 0x80, 1 + number % 127, 0])
    tracks = struct.unpack(">H", raw[10:12])[0]
    return raw[:8] + struct.pack(">HH", 1, tracks + 1) + raw[12:] + track(b"\x00\xc0\x7f" + note + END)


def anonymous_kilobytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def watch(folder: Path, out: Path) -> dict:
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
    return {"songs": songs, "seconds": round(seconds, 1), "process_MB": round(most / 1e3, 1), "worker_MB": round(most_of_worker / 1e3, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 2000, 4000], help="how many files")
    arguments = parser.parse_args()
    songs = [Path(path).read_bytes() for _, path in find_midi([arguments.songs])[0]]
    results = {}
    for count in arguments.files:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "midi"
            for number in range(count):
                path = folder / f"{number % 16:x}" / f"{number:032x}.mid"  # names as long as those of large collections
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(one_more_note(songs[number % len(songs)], number))
            results[f"{count} files"] = watch(folder, Path(temporary) / "songs")
    grows = float(np.polyfit(arguments.files, [result["process_MB"] for result in results.values()], 1)[0])
    results["bytes_a_file"] = round(grows * 1e6)
    results[f"process_MB at {AT_SCALE} files, if it grows on like that"] = round(
        results[f"{count} files"]["process_MB"] + grows * (AT_SCALE - count)
    )
    write_report("prepare_memory", results)


if __name__ == "__main__":
    main()
