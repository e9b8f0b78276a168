"""The folder of a demo: what says that it is one, and what was written there but has no JSON of its own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs import InputError
from tokenizer.disk.atomic import (
    WriteError,
    atomic_together,
    file_digest,
    is_as_written,
    refuse_to_replace,
    write_json,
)
from tokenizer.disk.lock import LOCK, only_writer
from tokenizer.music import midi
from tokenizer.music.score import Score

SUMMARY = "summary.json"
MADE_BY = "hid-museformer demo"


@contextmanager
def claimed(out: Path, overwrite: bool) -> Iterator[None]:
    """Around the work in the folder, made and held for this process alone. Raises InputError where it holds what no
    demo has made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"--out {out}", error) from error
    with only_writer(out):
        summary = summary_of(out)
        if summary is None:
            if not overwrite and any(path.name != LOCK for path in out.iterdir()):
                raise InputError(
                    f"--out {out}: holds files and is not the folder of a demo; name another, or --overwrite to use it "
                    "all the same"
                )
            write_json(out / SUMMARY, {"made_by": MADE_BY, "files": {}})
        yield


def summary_of(out: Path) -> dict | None:
    """What an earlier demo wrote of itself, or None."""
    try:
        summary = json.loads((out / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    is_ours = isinstance(summary, dict) and summary.get("made_by") == MADE_BY and isinstance(summary.get("files"), dict)
    return summary if is_ours else None


def write_score(score: Score, path: Path, given: Path | None, overwrite: bool) -> None:
    """A MIDI file in a folder that is claimed, and its digest in the summary. given: a file that is read. Raises
    InputError where it is written over what no demo made, or what was changed since.
    """
    summary = summary_of(path.parent)
    with atomic_together([path, path.parent / SUMMARY]) as (new, new_summary):
        midi.write(score, new)
        digest = file_digest(new)
        ours = is_as_written(path, summary["files"].get(path.name)) or is_as_written(path, digest)
        refuse_to_replace(path, [given], flag="--out", overwrite=overwrite, ours=ours)
        write_json(new_summary, summary | {"files": summary["files"] | {path.name: digest}}, indent=1)
