"""Signals that end a run after the step it is in."""

import signal
import sys

from jax_impl.device import sharding


class Stop:
    """While entered, SIGTERM and Ctrl-C (SIGINT) only set `signal`; a second Ctrl-C ends at once."""

    signal: int | None = None

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def _handle(self, number: int, _frame: object) -> None:
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
        if sharding.is_leader():
            print(f"\n{signal.Signals(number).name}: finishing this step and saving", file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
