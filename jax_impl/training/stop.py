"""Signals that end a run after the step it is in.

Not orbax's reached_preemption: it hears SIGTERM alone and not Ctrl-C, and only where jax.distributed runs, so that one
process by itself, or a second Ctrl-C, would need this all the same.
"""

import signal
import sys
import threading

from jax_impl.device import sharding

AT_ONCE = " (Ctrl-C again ends at once and loses what is not saved)"


class Stop:
    """While entered, SIGTERM and Ctrl-C (SIGINT) only set `signal`; a second Ctrl-C ends at once.

    Python hands signals to its main thread: in another one nothing is changed. Windows has no SIGTERM from outside.
    """

    signal: int | None = None

    def __enter__(self) -> "Stop":
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGTERM, signal.SIGINT) if is_main else ()
        self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def _handle(self, number: int, _frame: object) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if sharding.is_leader():
            at_once = AT_ONCE if number == signal.SIGINT else ""
            print(f"\n{signal.Signals(number).name}: finishing this step and saving{at_once}", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
