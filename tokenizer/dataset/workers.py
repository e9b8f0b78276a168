"""One function over many tasks: on all cores of this machine, or on a Ray cluster.
Results come as they are done, in any order.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker

from configs import InputError

TASKS_AHEAD = 4  # per worker, submitted but not done


def run(function: Callable, tasks: Sequence, workers: int, engine: str) -> Iterator:
    """function(task) of each task. workers: 0 for one per core. Raises InputError where a process dies."""
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if engine == "ray":
        return _on_ray(function, tasks)
    return map(function, tasks) if workers <= 1 else _in_processes(function, tasks, workers)


def _in_processes(function: Callable, tasks: Sequence, workers: int) -> Iterator:
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            waiting = iter(tasks)
            resource_tracker.ensure_running()  # its start would lift the block of Ctrl-C
            with ctrl_c_held_back():  # workers finish their tasks, which are not lost
                running = {
                    pool.submit(function, task) for _, task in zip(range(workers * TASKS_AHEAD), waiting, strict=False)
                }
            while running:
                done, running = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                running |= {pool.submit(function, task) for _, task in zip(done, waiting, strict=False)}
                yield from (future.result() for future in done)
        except concurrent.futures.process.BrokenProcessPool as error:
            raise InputError(
                "a worker process died (out of memory?); the same command with --workers 1 finds the file"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """Ctrl-C waits until the end. Processes that are started meanwhile never get it: a terminal sends it to them too,
    but who started them handles it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """In a worker process: it ends when the process that started it has ended, however that ended."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end with parent", daemon=True).start()


def _on_ray(function: Callable, tasks: Sequence) -> Iterator:
    """On the cluster that RAY_ADDRESS names, else on one of this machine's cores."""
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install hid-museformer[ray]") from None
    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    remote = ray.remote(lambda task: function(task))
    ahead = TASKS_AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
    waiting = iter(tasks)
    running = [remote.remote(task) for _, task in zip(range(ahead), waiting, strict=False)]
    while running:
        done, running = ray.wait(running)
        running += [remote.remote(task) for _, task in zip(done, waiting, strict=False)]
        yield from ray.get(done)
