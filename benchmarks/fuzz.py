"""Does any broken MIDI file crash, hang or swell the reader?

    python benchmarks/fuzz.py --songs ../shared/data/midi --files 10000

Breaks the songs by seeds (tests/tokenizer/hostile.py) and tokenizes each broken file as prepare does. A file must give
a song or one line that says why not, in less than 5 s and with less than 1 GB of memory. Writes
benchmarks/results/fuzz.json.
"""

import argparse
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from report import write_report
from tqdm import tqdm

from configs import PrepareConfig
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.prepare import tokenize
from tokenizer.dataset.songs import StoredSong

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.tokenizer.hostile import break_file, whole_monsters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    parser.add_argument("--files", type=int, default=10_000, help="how many broken files")
    arguments = parser.parse_args()
    songs = [Path(path).read_bytes() for _, path in find_midi([arguments.songs])[0]]
    kinds, reasons, slowest = Counter(), Counter(), (0.0, "")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "broken.mid"

        def broken() -> Iterator[tuple[str, bytes]]:
            yield from whole_monsters().items()
            for seed in range(arguments.files):
                yield break_file(songs[seed % len(songs)], seed)

        for name, raw in tqdm(broken(), total=arguments.files + len(whole_monsters())):
            path.write_bytes(raw)
            start = time.process_time()
            result, _ = tokenize(str(path), "broken.mid", PrepareConfig())  # anything but an answer ends the run here
            slowest = max(slowest, (time.process_time() - start, name))
            kinds[name] += 1
            reasons[
                "a song"
                if isinstance(result, StoredSong)
                else re.sub(r"-?\d+", "N", result.split(" (")[0].split(":")[0])
            ] += 1
    write_report(
        "fuzz",
        {
            "files": sum(kinds.values()),
            "crashes": 0,
            "minutes": round((time.perf_counter() - started) / 60, 1),
            "slowest_cpu_seconds": round(slowest[0], 2),
            "slowest": slowest[1],
            "largest_memory_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            "answers": dict(reasons.most_common()),
            "damages": dict(kinds.most_common(12)),
        },
    )


if __name__ == "__main__":
    main()
