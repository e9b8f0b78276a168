"""Do other readers hear what ours hears? pip install symusic first.

    python benchmarks/readers.py --songs ../shared/data/midi

Notes (program, onset, duration, pitch, velocity) of every song, of files that are odd in one way each, and of songs
broken by seeds (tests/tokenizer/hostile.py), by our reader and by symusic. Ours ignores the sustain pedal here, which
symusic does not know. Writes benchmarks/results/readers.json.
"""

import argparse
import struct
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import symusic
from report import write_report
from tqdm import tqdm

from tokenizer.dataset.find import find_midi
from tokenizer.music import midi
from tokenizer.music.score import DRUMS

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.tokenizer.hostile import break_file

END = b"\x00\xff\x2f\x00"
NOTE = b"\x00\x90\x3c\x40\x10\x80\x3c\x00"


def file(*tracks: bytes, kind: int = 1, division: int = 480) -> bytes:
    chunks = b"".join(b"MTrk" + struct.pack(">L", len(track)) + track for track in tracks)
    return b"MThd" + struct.pack(">Lhhh", 6, kind, len(tracks), division) + chunks


ODD = {
    "running status": file(b"\x00\x90\x3c\x40\x60\x3c\x00\x00\x3e\x40\x60\x3e\x00" + END),
    "overlapping notes of a pitch": file(b"\x00\x90\x3c\x40\x10\x90\x3c\x50\x10\x80\x3c\x00\x10\x80\x3c\x00" + END),
    "a note never closed": file(b"\x00\x90\x3e\x40\x40\xff\x2f\x00"),
    "a program change inside a track": file(b"\x00\xc0\x05" + NOTE + b"\x00\xc0\x07" + NOTE + END),
    "programs set by another track": file(b"\x00\xc0\x2a" + END, NOTE + END),
    "type 2": file(NOTE + END, NOTE + END, kind=2),
    "SMPTE time": file(NOTE + END, division=struct.unpack(">h", struct.pack(">bB", -25, 40))[0]),
    "an odd key signature": file(b"\x00\xff\x59\x02\x63\x63" + NOTE + END),
    "a RIFF wrapper": b"RIFF" + struct.pack("<L", 46) + b"RMIDdata" + struct.pack("<L", 34) + file(NOTE + END),
    "division zero": file(NOTE + END, division=0),
    "truncated": file(NOTE + END)[:-5],
}


def ours(path: Path) -> Counter | str:
    try:
        return Counter(
            (track.program, *note) for track in midi.read(path, "ignore").tracks for note in track.notes.tolist()
        )
    except midi.MidiError:
        return "refused"


def theirs(path: Path) -> Counter | str:
    try:
        tracks = symusic.Score(str(path)).tracks
    except Exception:  # symusic has no error type of its own
        return "refused"
    return Counter(
        (DRUMS if t.is_drum else t.program, n.time, n.duration, n.pitch, n.velocity) for t in tracks for n in t.notes
    )


def verdict(ours: Counter | str, theirs: Counter | str) -> str:
    """How the answers to one file compare; the first that holds."""
    if "refused" in (ours, theirs):
        return (
            "both refuse it"
            if ours == theirs
            else "only we read it"
            if theirs == "refused"
            else "only symusic reads it"
        )
    if ours == theirs:
        return "both hear the same"

    def without(column: int) -> bool:
        return (
            len(
                {
                    frozenset(Counter(note[:column] + note[column + 1 :] for note in heard.elements()).items())
                    for heard in (ours, theirs)
                }
            )
            == 1
        )

    if without(0):
        return "symusic hears other programs"
    if without(2):
        return "symusic hears other durations"
    more = theirs.total() - ours.total()
    return f"symusic hears {'fewer' if more < 0 else 'more' if more > 0 else 'other'} notes"


def compare_broken(paths: list[Path], count: int, folder: Path) -> dict[str, int]:
    verdicts: Counter[str] = Counter()
    path = folder / "broken.mid"
    for seed in tqdm(range(count)):
        path.write_bytes(break_file(paths[seed % len(paths)].read_bytes(), seed)[1])
        verdicts[verdict(ours(path), theirs(path))] += 1
    return dict(verdicts.most_common())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    parser.add_argument("--broken", type=int, default=1000, help="how many broken files")
    arguments = parser.parse_args()
    paths = [Path(path) for _, path in find_midi([arguments.songs])[0]]
    seconds = {"ours": 0.0, "symusic": 0.0}
    for path in paths:
        for name, read in (("ours", midi.read), ("symusic", lambda path: symusic.Score(str(path)))):
            start = time.perf_counter()
            with suppress(Exception):  # symusic has no error type of its own, and refuses files that players read
                read(path)
            seconds[name] += time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path, odd = Path(folder) / "odd.mid", {}
        for name, content in ODD.items():
            path.write_bytes(content)
            odd[name] = (
                "same" if ours(path) == theirs(path) else f"symusic {_words(theirs(path))}, ours {_words(ours(path))}"
            )
        broken = compare_broken(paths, arguments.broken, Path(folder))
    results = {
        "songs": len(paths),
        "songs_read_alike": sum(ours(path) == theirs(path) for path in paths),
        "odd_files": odd,
    }
    results |= {"broken_files": arguments.broken, "answers_to_broken_files": broken}
    write_report(
        "readers",
        results | {"milliseconds_per_file": {name: round(1e3 * s / len(paths), 2) for name, s in seconds.items()}},
    )


def _words(heard: Counter | str) -> str:
    return heard if isinstance(heard, str) else f"hears {sorted(heard.elements())}"


if __name__ == "__main__":
    main()
