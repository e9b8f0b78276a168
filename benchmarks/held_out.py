"""Which of the shared songs the beat finder has not learned from: a third of each folder by the name of the work, five
of the ten drummers, and all of POP909, of which no weights that are shipped may learn.
"""

import hashlib
import re
from pathlib import Path

DRUMMERS = ("drummer2", "drummer3", "drummer5", "drummer8", "drummer10")


def is_held_out(path: Path) -> bool:
    """path: FOLDER/NAME.mid. Movements of a work, and takes of a player, are on one side."""
    folder, stem = path.parent.name, path.stem
    if folder == "groove":
        return stem.split("_")[0] in DRUMMERS
    work = "_".join(stem.split("_")[:2]) if folder in ("orchestra", "quartets") else re.sub(r"[\d_-]+$", "", stem)
    key = stem if folder == "lieder" else work
    return folder == "pop909" or int(hashlib.sha256(f"{folder}/{key}".encode()).hexdigest(), 16) % 3 == 0
