"""Signals that end a run: heard in the main thread, and let alone in another."""

import os
import signal
import threading

from jax_impl.training.stop import Stop


def test_a_signal_is_noted_and_the_handlers_before_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_in_another_thread_leaves_signals_to_the_program():
    seen = []

    def run() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        with Stop() as stop:
            seen.append(before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)])
            seen.append(stop.signal)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True, None]
