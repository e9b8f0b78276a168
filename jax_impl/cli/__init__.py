"""The command line. Nothing is loaded here before Ctrl-C is looked after."""

import os
import sys

from jax_impl.cli import interrupt


def main() -> None:
    """Runs the verb that the command line names, and ends the process with its status: 2 after an error of the user's,
    130 after Ctrl-C.
    """
    interrupt.settle(main)
    try:
        from jax_impl.cli import process, program

        status = program.run(sys.argv[1:])
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(130)  # threads that still compile may crash an interpreter on its way out
    process.end(status)
