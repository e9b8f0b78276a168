"""Is a dataset the same to the byte however often making it was killed?

    python benchmarks/prepare_killed.py --songs ../shared/data/midi --times 10

Kills `prepare` at random moments, goes on until the dataset is whole, and compares it with one made in one go. Writes
benchmarks/results/prepare_killed.json.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from report import write_report

from configs import PrepareConfig
from tokenizer.dataset.prepare import prepare

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.tokenizer.kill_prepare import kill_again_and_again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    parser.add_argument("--times", type=int, default=10, help="how often it is killed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        killed_out, whole = Path(temporary) / "killed", Path(temporary) / "whole"
        killed = kill_again_and_again(arguments.songs.resolve(), killed_out, arguments.times)
        prepare([arguments.songs], whole, PrepareConfig(workers=2, songs_per_shard=8))
        made, expected = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (killed_out, whole))
        left = sorted(path.name for path in Path(temporary).iterdir())
    results = {
        "killed": killed,
        "files": len(expected),
        "bytes": sum(map(len, expected.values())),
        "identical": made == expected,
    }
    write_report("prepare_killed", results | {"nothing_left_behind": left == ["killed", "whole"]})
    if made != expected:
        sys.exit("the datasets differ")


if __name__ == "__main__":
    main()
