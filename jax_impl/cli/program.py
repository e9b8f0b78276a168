"""The verbs, and what becomes of their errors. Nothing heavy is imported before the verb that needs it:
--help, --version, prepare, check and decode never load jax.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence

import tyro

from configs import InputError
from jax_impl.cli import evaluating, finetuning, flags, process, sampling, serving, songs, training, v121
from tokenizer.disk.atomic import FULL, disk_full

DESCRIPTION = """Symbolic music: prepare your MIDI files, train a model on them, let it write new ones.

  hid-museformer serve                     a page to write songs with
  hid-museformer generate -o new.mid       by the model that comes with this program
  hid-museformer prepare MIDI_DIR songs
  hid-museformer train --data-dir songs --output-dir run
  hid-museformer generate run -o new.mid
  hid-museformer evaluate run

Compiled programs are kept for the next time, in the user's cache folder; the variable
HID_CACHE names another folder, or none. hid-museformer --version says which one this is.
"""
PROGRAM = "hid-museformer"
VERBS = (  # in the order of --help
    sampling.demo,
    songs.prepare,
    songs.merge,
    songs.check,
    songs.decode,
    training.train,
    finetuning.finetune,
    sampling.generate,
    serving.serve,
    evaluating.evaluate,
    training.export,
    training.memory,
    v121.parity,
    v121.import_torch,
    v121.export_torch,
    v121.import_shards,
    v121.text,
)


def run(words: Sequence[str]) -> int:
    """The exit status of a command line; an error of the user's is one line. Raises SystemExit after --help."""
    process.settle()
    try:
        return _verb(words)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno not in FULL:
            raise
        named = error.filename or "writing"
        why = error.strerror
        if error.errno in FULL:
            why = f"{disk_full(named)}; make room and give the same command again"
        print(f"error: {named}: {why}", file=sys.stderr)
        return 2


def _verb(words: Sequence[str]) -> int:
    """The exit status. Raises InputError, SystemExit after --help, and whatever verbs do."""
    first = words[0] if words else "--help"
    if first in ("--version", "-V", "version"):
        print(f"{PROGRAM} {importlib.metadata.version(PROGRAM)}")
        return 0
    if first in ("--help", "-h", "help"):
        app = tyro.extras.SubcommandApp()
        for verb in VERBS:
            app.command(verb)
        return app.cli(prog=PROGRAM, description=DESCRIPTION, args=["--help"])
    return flags.parse(PROGRAM, VERBS, words)()
