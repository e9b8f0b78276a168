"""The verb that tunes a trained model to a handful of songs."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from configs import FinetuneConfig, InputError
from jax_impl.cli import process

Folders = Annotated[tuple[Path, ...], arg(metavar="MIDI_DIR...", help_behavior_hint="")]


def finetune(midi_dirs: Positional[Folders], config: Annotated[FinetuneConfig, arg(name="")]) -> int:
    """Tune the model that comes along to your own songs, ten of them or some hundreds; the same command again goes on
    where it stopped.

    It prepares the songs and holds some out; trains until the minutes are over, those held out get no easier or the
    model begins to write your songs out; then says what changed, in a table, and writes three songs.

    Examples: finetune MY_SONGS --output-dir mine; finetune MY_SONGS --output-dir mine --minutes 60; then: generate mine
    -o new.mid

    Args:
        midi_dirs: folders that are searched for MIDI files, with all folders in them.
    """
    if not midi_dirs:
        raise InputError("name at least one folder of MIDI files")
    process.keep_programs()
    from jax_impl.finetuning.finetune import finetune

    return finetune(midi_dirs, config)
