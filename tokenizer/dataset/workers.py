"""One function over many tasks: on all cores of this machine, or on a Ray cluster. For dataset's files;
the loader takes its rules that workers end with their parent and hear no signal.
Results come as they are done, in any order.
"""

import concurrent.futures
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path

from configs import InputError

TASKS_AHEAD = 4  # per worker, submitted but not done


def run(function: Callable, tasks: Sequence, workers: int, engine: str) -> Iterator:
    """function(task) of each task. workers: 0 for one per core. Raises InputError where a process dies."""
    workers = min(workers or cores(), len(tasks))
    if engine == "ray":
        return _on_ray(function, tasks)
    return map(function, tasks) if workers <= 1 else _in_processes(function, tasks, workers)


def _in_processes(function: Callable, tasks: Sequence, workers: int) -> Iterator:
    with process_pool(workers) as pool:
        try:
            waiting = iter(tasks)
            start_tracker()
            with _starting(), held_back(signal.SIGINT):  # workers finish their tasks, which are not lost
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


def process_pool(workers: int) -> concurrent.futures.ProcessPoolExecutor:
    """Processes that end when this one is gone, however it ends. Raises InputError where none can be started."""
    context = multiprocessing.get_context("spawn")
    with _starting():
        return concurrent.futures.ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)


@contextmanager
def _starting() -> Iterator[None]:
    """A broken pipe here is to a process that could not start; it must not be taken for a reader who has gone."""
    try:
        yield
    except OSError as error:
        raise InputError(f"no worker process can be started ({error}); --workers 1 does without") from error


def end_with_parent() -> None:
    """In a process that multiprocessing started: ends it when the one that started it is gone, killed or not, in the
    middle of whatever it does. What it writes is whole or absent all the same.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_and_exit, args=[parent.sentinel], daemon=True).start()


def _wait_and_exit(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


# ---------------------------------------------------------------- cores


def cores(root: Path = Path("/")) -> int:
    """Processors that this process may use: those that it is bound to, and no more than its container's share of time
    (control groups of version 1 and 2). root: where /proc and /sys lie.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(min([bound, *_quotas(root)]), 1)


def _quotas(root: Path) -> Iterator[int]:
    """Processors, rounded up, of each control group around this process that limits them."""
    groups = root / "sys" / "fs" / "cgroup"
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, limit = groups, "{}/cpu.max"
        elif "cpu" in controllers.split(","):
            folder, limit = groups / controllers, "{}/cpu.cfs_quota_us"
            if not folder.is_dir():
                folder = groups / "cpu"
        else:
            continue
        inner = folder / path.lstrip("/")
        for place in (inner, *inner.parents):  # seen from inside a container, only the outermost is there
            quota, *period = _read(Path(limit.format(place))).split() or ["max"]
            period = period or _read(place / "cpu.cfs_period_us").split()
            if quota.isdecimal() and int(quota) and period and period[0].isdecimal() and int(period[0]):
                yield math.ceil(int(quota) / int(period[0]))
            if place == folder:
                break


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    return ""


# ---------------------------------------------------------------- signals


@contextmanager
def held_back(*numbers: int) -> Iterator[None]:
    """These signals wait until the end. Processes that are started meanwhile never get them: a terminal sends Ctrl-C
    (SIGINT) to them too, but who started them handles it. Windows cannot hold it back: there it ends them at once, and
    what was not finished is done again.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_tracker() -> None:
    """multiprocessing's tracker of what its processes share, which would otherwise start with the first of them and
    lift what is held back. Windows has none.
    """
    if os.name == "posix":
        resource_tracker.ensure_running()


# ---------------------------------------------------------------- Ray


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
