"""Processes that make a loader's batches ahead, and any of which may be killed at any moment.

Not grain's own: who reads a pipe of theirs holds its writing end too, and waits for good for the rest of what a killed
worker had begun to say, or for one that was killed as it started. Here a worker alone holds its end.
"""

import atexit
import functools
import itertools
import multiprocessing
import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple

import grain

from configs import InputError
from tokenizer.dataset.workers import end_with_parent, held_back, start_tracker

PREFETCH = 4  # of a worker, or of a loader that has none


class Worker(NamedTuple):
    """A process, and our end of what it is told and says."""

    process: SpawnProcess
    connection: Connection


def read_ahead(source: Sequence, first: int, every: int = 1) -> Iterator[Any]:
    """source[first], source[first + every], ...: a thread is so far ahead."""
    threads = grain.ReadOptions(num_threads=1, prefetch_buffer_size=PREFETCH)
    return iter(grain.MapDataset.source(source)[first::every].to_iter_dataset(threads))


def read_in_processes(source: Sequence, first: int, workers: int) -> Iterator[Any]:
    """source[first], source[first + 1], ...: worker w of W makes every W-th from first + w on. They start with the
    first `next` and end with close(). Raises what fails in one of them, and InputError where one dies.
    """
    started: list[Worker] = []
    end = functools.partial(_end, started)
    atexit.register(end)  # before multiprocessing's own, which waits for them
    try:
        for _ in range(workers):
            started.append(_start())
        for number, worker in enumerate(started):  # they start side by side; not all of this fits into a pipe
            try:
                worker.connection.send((source, first + number, workers))
            except OSError as error:
                raise _death(worker) from error
        for worker in itertools.cycle(started):
            try:
                said = worker.connection.recv()
            except (EOFError, OSError) as error:
                raise _death(worker) from error
            if said is None:
                return
            item, failure = said
            if failure is not None:
                raise failure
            yield item
    finally:
        atexit.unregister(end)
        end()


def _start() -> Worker:
    """One that hears no signal of those that end a run, from its first moment on: they reach all processes of a group,
    and the run, which handles them, still needs its workers for its step.
    """
    ours, its = multiprocessing.get_context("spawn").Pipe()
    try:
        start_tracker()
        process = multiprocessing.get_context("spawn").Process(target=_work, args=[its], daemon=True)
        with held_back(signal.SIGINT, signal.SIGTERM):
            process.start()
    except OSError as error:
        raise InputError(f"no loader process can be started ({error}); --num-workers 0 does without") from error
    finally:
        its.close()  # when it is gone, nothing is left to wait for
    return Worker(process, ours)


def _death(worker: Worker) -> InputError:
    worker.process.join(1)
    status = worker.process.exitcode
    if status is None or status < 0:  # killed
        return InputError(
            f"a loader process died (out of memory?), exit code {status}; the same command with a smaller "
            "--num-workers goes on from the last checkpoint"
        )
    return InputError(
        f"a loader process ended with status {status} and has said why; a script of one's own needs "
        "`if __name__ == '__main__':` around what it does, or num_workers=0"
    )


def _end(started: Sequence[Worker]) -> None:
    """They only read: nothing is lost."""
    for process, connection in started:
        process.kill()
        connection.close()
    for process, _ in started:
        process.join()


# ---------------------------------------------------------------- in the worker


def _work(connection: Connection) -> None:
    end_with_parent()
    with suppress(EOFError, ConnectionError):  # nobody listens any more
        for said in _answers(*connection.recv()):
            connection.send(said)


def _answers(source: Sequence, first: int, every: int) -> Iterator[tuple[Any, Exception | None] | None]:
    """(item, None) of each; in the end (None, what failed), or None after the last."""
    try:
        for item in read_ahead(source, first, every):
            yield item, None
    except Exception as error:
        error.add_note(f"in a loader process:\n{traceback.format_exc()}")
        yield None, error
    else:
        yield None
