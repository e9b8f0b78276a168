"""What a program may do to its process and a library may not: the command line does it, importing jax_impl does not.

`main` calls `settle` before any verb; scripts that want the same call it too, before JAX looks for devices.
"""

import gc
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import absl.logging

# Of a GPU's memory, what JAX takes (its own default is 0.75); the rest is for CUDA and its libraries. Of an 80 GB card
# 79.8 GB.
GPU_SHARE = 0.94

# New objects between two looks of the garbage collector: Python's own 700 costs tracing a program a quarter of its time
COLLECT_EVERY = 100_000


def settle() -> None:
    """Takes nearly all of a GPU's memory, unless the environment says how much; keeps the libraries below from telling
    of what our own messages tell; and lets the garbage collector look seldom.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(GPU_SHARE))
    # Orbax warns of read-only folders, and tells of failures that are raised too
    absl.logging.set_verbosity(absl.logging.FATAL)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    sys.excepthook, sys.unraisablehook = _quiet(sys.excepthook), _quiet(sys.unraisablehook)


def end(status: int) -> NoReturn:
    """Ends the process. Its objects end with it: that the garbage collector looks at each once more takes half a
    second.
    """
    gc.freeze()
    sys.exit(status)


def keep_programs() -> None:
    """Compiled programs are kept for the next process, where HID_CACHE says. Raises InputError where it names a folder
    that cannot be made.
    """
    from jax_impl.device import program_cache

    program_cache.keep()


def _quiet(hook: Callable) -> Callable:
    """tensorstore's threads that still work when a save or a restore has failed report to an event loop of orbax's that
    has ended with it: a hundred tracebacks about nothing but that.
    """

    def filtered(*arguments: Any) -> None:
        error = arguments[1] if len(arguments) > 1 else arguments[0].exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            hook(*arguments)

    return filtered
