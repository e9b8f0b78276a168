"""Programs that are run without being traced again: where compiled programs are kept (program_cache.py), those of a
sampler are kept whole, for tracing one takes longer than the song.

XLA's key of a program is made of what tracing gives. Here it is made of all that a trace can depend on: every line of
this project, the versions of the libraries, their settings and the device, and what the program is called with.
"""

import functools
import hashlib
import os
import pickle
import platform
import zlib
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
from jax.experimental import serialize_executable

from jax_impl.device import program_cache

PACKAGES = ("configs", "jax_impl", "tokenizer")
LIBRARIES = ("jax", "jaxlib", "flax", "numpy")
OF_PLACES = ("jax_compilation_cache_dir", "jax_persistent_cache")  # settings that change no program begin so
FASTEST = 1  # of zlib's levels
NOT_SERIALIZED = (
    ValueError,
    NotImplementedError,
    RuntimeError,
    pickle.PicklingError,
)  # as a device or compiler says so


def ready(
    function: Any, static: tuple, *arguments: Any, before_compiling: Callable[[], None] = lambda: None
) -> Callable[..., Any]:
    """The compiled program of a function of jax.jit, whose first arguments are `static`, for others of these shapes and
    dtypes: called with them alone. static: of frozen dataclasses and plain values, which repr says whole.
    before_compiling: called once it is clear that nothing is kept.
    """
    store = program_cache.current()
    if store is None or not _are_as_imported():
        return functools.partial(function, *static)
    key = _key(function, static, arguments)
    if key not in _loaded:
        program = _load(store.get(key))
        if program is None:
            lowered = function.lower(*static, *arguments)
            before_compiling()
            with store.passed_by():  # of a program that came from there only parts are there to be kept once more
                program = lowered.compile()
            with suppress(*NOT_SERIALIZED):  # it is compiled each time
                content = pickle.dumps(serialize_executable.serialize(program))
                if _are_as_imported():
                    store.put(key, zlib.compress(content, FASTEST))
        _loaded[key] = program
    return _loaded[key]


_loaded: dict[str, Callable[..., Any]] = {}


def _load(content: bytes | None) -> Callable[..., Any] | None:
    """None where there is none, or it cannot be loaded here."""
    if content is not None:
        with suppress(Exception):  # they come in every class from the layers below
            return serialize_executable.deserialize_and_load(*pickle.loads(zlib.decompress(content)))
    return None


def _key(function: Any, static: tuple, arguments: tuple) -> str:
    leaves, tree = jax.tree.flatten(arguments)
    kinds = [(np.shape(leaf), str(leaf.dtype), bool(getattr(leaf, "weak_type", False))) for leaf in leaves]
    name = function.__qualname__
    said = repr((name, static, str(tree), kinds, _surroundings()))
    return f"{name}-{hashlib.sha256(said.encode()).hexdigest()}"


def _surroundings() -> tuple:
    """All else that a trace, or what is made of it, hangs on."""
    device = jax.devices()[0]
    settings = {name: value for name, value in jax.config.values.items() if not name.startswith(OF_PLACES)}
    return (
        _sources(),
        platform.python_version(),
        [metadata.version(library) for library in LIBRARIES],
        (device.platform, device.device_kind, device.client.platform_version, jax.device_count()),
        sorted(settings.items(), key=str),
        os.environ.get("XLA_FLAGS"),
    )


@functools.cache
def _sources() -> str:
    """Of all files of this project that are imported, and of the data beside them."""
    digest = hashlib.sha256()
    for path in _files():
        digest.update(repr((path.name, path.parent.name, path.stat().st_size)).encode() + path.read_bytes())
    return digest.hexdigest()


def _are_as_imported() -> bool:
    """Whether none of these files was changed after this process began: what it traces is what stands there."""
    begun = psutil.Process().create_time()
    return all(max(path.stat().st_mtime, path.stat().st_ctime) < begun for path in _files())


def _files() -> list[Path]:
    root = Path(__file__).parents[2]
    found = (path for package in PACKAGES for path in sorted((root / package).rglob("*")))
    return [path for path in found if path.suffix in (".py", ".npz")]
