"""Importing changes nothing of the process, and needs nothing that only Linux has."""

import os
import subprocess
import sys

from tests import ROOT

# What the libraries below do when they are imported is theirs: they come first.
LIBRARIES = """
import absl.logging, flax.nnx, grain, jax, jax.experimental.pallas.mosaic_gpu, matplotlib.backends.backend_agg
import matplotlib.figure, matplotlib.patches, matplotlib.ticker, mido, numpy, optax, orbax.checkpoint, psutil, pyarrow
import tqdm, tyro
from jax.experimental import multihost_utils, topologies
"""
IMPORT_ALL = """
import importlib, pkgutil
for package in ("configs", "tokenizer", "jax_impl"):
    folders = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(folders, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
STATE = """
import gc, logging, os, random, signal, sys, threading, warnings
import absl.flags, jax._src.xla_bridge, matplotlib, numpy

def state():
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return {
        "environment": dict(os.environ),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook, sys.stdout, sys.stderr),
        "sys": (list(sys.path), list(sys.meta_path), sys.getrecursionlimit(), sys.getswitchinterval(), os.getcwd()),
        "logging": {
            logger.name: (logger.level, list(logger.handlers), list(logger.filters), logger.propagate)
            for logger in loggers if isinstance(logger, logging.Logger)
            and (logger.level or logger.handlers or logger.filters or not logger.propagate)
        },
        "logging is disabled up to": logging.root.manager.disable,
        "absl": (absl.logging.get_verbosity(), absl.flags.FLAGS.is_parsed()),
        "absl flags": {name: flag.value for name, flag in absl.flags.FLAGS._flags().items()},
        "matplotlib": {name: str(dict.__getitem__(matplotlib.rcParams, name)) for name in matplotlib.rcParams},
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "warnings": list(warnings.filters),
        "jax": dict(jax.config.values),
        "jax has looked for devices": bool(jax._src.xla_bridge._backends),
        "numpy": numpy.get_printoptions() | numpy.geterr(),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "random": (random.getstate(), str(numpy.random.get_state())),
        "threads": threading.active_count(),
    }
"""
COMPARE = """
before = state()
{what}
after = state()
for name in before:
    for one, other in ((before, after), (after, before)):
        pairs = one[name].items() if isinstance(one[name], dict) else [("", one[name])]
        there = other[name] if isinstance(other[name], dict) else {{"": other[name]}}
        for key, value in pairs:
            if key not in there or there[key] != value:
                print(name, key, file=sys.stdout)
"""


def changes(what: str) -> set[str]:
    """What a piece of code changes of a process that has the libraries."""
    program = LIBRARIES + STATE + COMPARE.format(what=what)
    # Of a process in which no test has called the command line
    environment = {name: value for name, value in os.environ.items() if name != "XLA_PYTHON_CLIENT_MEM_FRACTION"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=environment)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines())


def test_importing_every_module_changes_nothing_of_the_process():
    assert changes(IMPORT_ALL) == set()


def test_what_the_command_line_settles_is_seen():
    """So the test above would see it."""
    assert changes("from jax_impl.cli import process; process.settle()") == {
        "environment XLA_PYTHON_CLIENT_MEM_FRACTION",
        "collector ",
        "hooks ",
        "logging absl",
        "logging asyncio",
        "absl ",
        "absl flags verbosity",
        "absl flags v",
    }


ELSEWHERE = """
import os, pathlib, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
LINUX_ONLY = {
    os: ("fork", "sysconf", "sched_getaffinity", "pread", "getuid", "geteuid", "major", "minor", "O_CLOEXEC"),
    signal: ("pthread_sigmask", "SIGKILL", "SIGHUP", "SIGUSR1"),
}
for module, names in LINUX_ONLY.items():
    for name in names:
        delattr(module, name)
read_text = pathlib.Path.read_text
def without_proc(path, *arguments, **named):
    if str(path).startswith("/proc"):
        raise FileNotFoundError(path)
    return read_text(path, *arguments, **named)
pathlib.Path.read_text = without_proc
"""
USE = """
from configs import DataConfig, PrepareConfig
from jax_impl import loader
from jax_impl.device import device
from jax_impl.training.stop import Stop
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset
from tokenizer.music import composer, midi

folder = pathlib.Path(sys.argv[1])
midi.write(composer.compose(0), folder / "a.mid")
prepare([folder], folder / "songs", PrepareConfig())
shape = DataConfig(max_seq_len=1024, max_spans=192, batch_size=1, max_bars=2048, seed=0, num_workers=0)
with Stop(), loader(Dataset(folder / "songs"), shape, "train") as batches:
    print(next(batches).tokens.shape, device.memory_limit() > 1e8)
"""


def test_songs_become_batches_where_there_is_nothing_but_what_every_system_has(tmp_path):
    """As on macOS and Windows; what the libraries do there is theirs."""
    program = LIBRARIES + ELSEWHERE + IMPORT_ALL + USE
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    assert done.stdout.endswith("(1, 1024) True\n"), done.stderr
    assert "no locks (neither fcntl nor msvcrt here)" in done.stderr
