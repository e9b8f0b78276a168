"""How exact and how fast the tokenizer is on your files, on one core.

    python benchmarks/tokenizing.py --songs ../shared/data/midi

Milliseconds a file of each stage of prepare, tokens per note, bytes per token on disk, how many files come back exactly
(through their tokens, and through a MIDI file written and read again), and by folder what the grid changes of the music
(verdicts, and told.sum_up). Writes benchmarks/results/tokenizing.json.
"""

import argparse
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import mido
from mido.midifiles.meta import KeySignatureError
from report import write_report

from configs import CheckConfig, PrepareConfig
from tokenizer.dataset.check import FileCheck, check
from tokenizer.dataset.find import find_midi
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import to_row
from tokenizer.dataset.told import sum_up
from tokenizer.grid.align import align
from tokenizer.music import midi
from tokenizer.tokens.encode import encode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    folder = parser.parse_args().songs
    files = [Path(path) for _, path in find_midi([folder])[0]]
    seconds = {"read": 0.0, "align": 0.0, "snap_and_encode": 0.0, "row_and_hashes": 0.0, "mido_alone": 0.0}
    for path in files:
        times = [time.perf_counter()]
        score = midi.read(path)
        times.append(time.perf_counter())
        score = align(score).score
        times.append(time.perf_counter())
        tokens = encode(score)
        times.append(time.perf_counter())
        to_row(tokens, path.name)
        times.append(time.perf_counter())
        with suppress(KeySignatureError):  # some keys it refuses
            mido.MidiFile(path, clip=True)
        times.append(time.perf_counter())
        for name, elapsed in zip(seconds, map(float.__sub__, times[1:], times), strict=True):
            seconds[name] += elapsed
    with tempfile.TemporaryDirectory() as temporary:
        start = time.perf_counter()
        manifest = prepare([folder], Path(temporary) / "songs", PrepareConfig(workers=1))
        seconds["prepare_in_all"] = time.perf_counter() - start
    checks = [check(path, CheckConfig()) for path in files]
    shards = [shard for part in manifest["splits"].values() for shard in part["shards"]]
    tokens = sum(shard["tokens"] for shard in shards)
    write_report(
        "tokenizing",
        {
            "files": len(files),
            "exact": sum(result.exact for result in checks),
            "notes": sum(result.told.get("notes_out", 0) for result in checks),
            "tokens": sum(result.tokens for result in checks),
            "tokens_per_note": round(
                sum(result.tokens for result in checks) / sum(result.told.get("notes_out", 0) for result in checks), 3
            ),
            "bytes_per_token": round(sum(shard["bytes"] for shard in shards) / tokens, 2),
            "by_folder": _by_folder(folder, checks),
            "milliseconds_per_file": {name: round(1e3 * value / len(files), 2) for name, value in seconds.items()},
        },
    )


def _by_folder(folder: Path, checks: list[FileCheck]) -> dict[str, dict]:
    """What check prints at its end, of the files below each folder in `folder`."""
    groups: dict[str, list[FileCheck]] = {}
    for result in checks:
        groups.setdefault(result.path.relative_to(folder).parts[0], []).append(result)
    return {
        name: {"verdicts": Counter(result.verdict for result in group)}
        | sum_up((result.told for result in group), CheckConfig())
        for name, group in sorted(groups.items())
    }


if __name__ == "__main__":
    main()
