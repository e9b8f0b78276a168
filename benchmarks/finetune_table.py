"""The table that `finetune` ends with, of songs that the model in the box has not seen: before, after, and those songs.

    PYTHONPATH=.:benchmarks python benchmarks/finetune_table.py MIDI_DIR --output-dir FOLDER --minutes 10

MIDI_DIR: for example what shipped_model.py left apart (held_out.json). As the verb does, the same command goes on where
it stopped. Writes results/finetune_table.json.
"""

import argparse
import json
from pathlib import Path

from report import write_report

from configs import FinetuneConfig
from jax_impl.finetuning import finetune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("midi_dir", type=Path)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    folder = arguments.output_dir / finetune.FOLDER
    if finetune.finetune([arguments.midi_dir], FinetuneConfig(arguments.output_dir, minutes=arguments.minutes)) == 0:
        plan, table = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in (finetune.PLAN, finetune.REPORT)
        )
        chosen = {name: plan[name] for name in ("minutes", "steps", "tokens_per_second", "ended")}
        write_report("finetune_table", {"plan": chosen, "table": table}, show=False)


if __name__ == "__main__":
    main()
