"""Compiled programs are kept from one process to the next, whole or not at all, and none runs that is another's."""

import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import InputError
from jax_impl.device import program_cache, ready
from jax_impl.device.program_cache import ABANDONED_SECONDS, ENTRY, UNFINISHED, Folder
from tests import ROOT
from tests.processes import environment

KEY = "jit_f-0123"


# ---------------------------------------------------------------- entries


def test_an_entry_comes_back_and_another_key_has_none(tmp_path):
    folder = Folder(tmp_path)
    assert folder.get(KEY) is None
    folder.put(KEY, b"program")
    assert folder.get(KEY) == b"program" and folder.get(KEY + "4") is None
    assert [path.suffix for path in tmp_path.iterdir()] == [ENTRY]


@pytest.mark.parametrize("what", ["cut", "flipped", "empty", "another's"])
def test_an_entry_that_is_not_whole_is_none_and_makes_room_for_a_whole_one(tmp_path, what):
    folder = Folder(tmp_path)
    folder.put(KEY, b"program" * 9)
    (entry,) = tmp_path.iterdir()
    content = bytearray(entry.read_bytes())
    content[-1] ^= 1
    folder.put("other", b"other")
    (other,) = set(tmp_path.iterdir()) - {entry}
    entry.write_bytes({"cut": content[:-3], "flipped": content, "empty": b"", "another's": other.read_bytes()}[what])
    assert folder.get(KEY) is None and not entry.exists()
    folder.put(KEY, b"new")
    assert folder.get(KEY) == b"new"


def test_what_was_used_least_lately_goes_first(tmp_path):
    folder = Folder(tmp_path, limit=1000)
    for number in range(3):
        folder.put(f"f-{number}", bytes(250))
        for path in tmp_path.iterdir():  # as if minutes had gone by
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
    assert folder.get("f-0") is not None  # now
    folder.put("f-3", bytes(250))
    assert [folder.get(f"f-{number}") is not None for number in range(4)] == [True, False, True, True]
    folder.put("f-4", bytes(2000))
    assert folder.get("f-4") is None and folder.get("f-3") is not None


def test_what_a_killed_process_left_goes_and_what_one_is_writing_stays(tmp_path):
    old, new = tmp_path / f"a{UNFINISHED}", tmp_path / f"b{UNFINISHED}"
    for path in (old, new):
        path.write_bytes(b"half")
    before = time.time() - ABANDONED_SECONDS - 60
    os.utime(old, (before, before))
    Folder(tmp_path).put(KEY, b"program")
    assert not old.exists() and new.exists()


def test_a_program_of_another_processor_is_none(tmp_path, monkeypatch):
    Folder(tmp_path).put(KEY, b"program")
    monkeypatch.setattr(program_cache, "_machine", lambda: "another")
    assert Folder(tmp_path).get(KEY) is None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path):
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    folder = Folder(file)
    folder.put(KEY, b"program")
    assert folder.get(KEY) is None


def test_an_entry_of_another_user_is_none(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    folder.put(KEY, b"program")
    monkeypatch.setattr(os, "getuid", lambda: 12345, raising=False)
    stranger = os.stat_result((0o600, 0, 0, 1, 54321, 0, 0, 0, 0, 0))
    monkeypatch.setattr(os, "fstat", lambda _: stranger)
    assert folder.get(KEY) is None


# ---------------------------------------------------------------- where


def test_programs_are_kept_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("HID_CACHE", raising=False)
    assert program_cache.folder() == tmp_path / "hid-museformer" / "programs"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification: such a path is ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    assert program_cache.folder() == tmp_path / ".cache" / "hid-museformer" / "programs"
    monkeypatch.setenv("HID_CACHE", str(tmp_path / "here"))
    assert program_cache.folder() == tmp_path / "here"
    for word in ("none", "None"):
        monkeypatch.setenv("HID_CACHE", word)
        assert program_cache.folder() is None


def test_a_folder_that_is_named_and_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for name, why in ((str(tmp_path / "file" / "folder"), "cannot be made"), ("~no-such-user/x", "no such home")):
        monkeypatch.setenv("HID_CACHE", name)
        with pytest.raises(InputError, match=rf"HID_CACHE .*: .*{why}.*name another folder"):
            program_cache.keep()


# ---------------------------------------------------------------- between processes

# What it compiled and what it found, as JAX counts it; and how often Python traced the function
TWICE = """
import sys, warnings
warnings.simplefilter("error")
import jax, jax.numpy as jnp, numpy as np
from jax_impl.device import program_cache, ready
counts, traced = {"misses": 0, "hits": 0}, []
def count(event, **_):
    for name in counts:
        counts[name] += event == f"/jax/compilation_cache/cache_{name}"
jax.monitoring.register_event_listener(count)
print(program_cache.keep() is not None)
def f(settings, x):
    traced.append(settings)
    return jnp.sin(x) * settings
f = jax.jit(f, static_argnums=0)
if sys.argv[1] == "jit":
    print(f(2, np.arange(3.0, dtype=np.float32)).tolist())
    print(counts)
else:
    for settings in (2, 3, 2):
        x = np.arange(3.0, dtype=np.float32)
        print(ready.ready(f, (settings,), x)(x).tolist())
    print(len(traced))
"""


def run(kind: str, **variables: str) -> list[str]:
    command = [sys.executable, "-c", TWICE, kind]
    done = subprocess.run(command, cwd=ROOT, env=environment(**variables), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


def test_what_one_process_compiled_the_next_finds_and_damage_costs_a_compilation(tmp_path):
    first, second = (run("jit", HID_CACHE=str(tmp_path)) for _ in range(2))
    assert first[-1] == "{'misses': 1, 'hits': 0}" and second[-1] == "{'misses': 0, 'hits': 1}"
    assert first[:-1] == second[:-1]
    for entry in tmp_path.glob(f"*{ENTRY}"):
        entry.write_bytes(entry.read_bytes()[:-100])
    third, fourth = (run("jit", HID_CACHE=str(tmp_path)) for _ in range(2))
    assert third == first and fourth == second
    assert run("jit", HID_CACHE="none") == ["False", first[1], "{'misses': 0, 'hits': 0}"]


def test_a_program_that_is_ready_is_not_traced_again(tmp_path):
    first, second = (run("ready", HID_CACHE=str(tmp_path)) for _ in range(2))
    assert first[:-1] == second[:-1] and first[1] == first[3] != first[2]
    assert (first[-1], second[-1]) == ("2", "0")
    for entry in tmp_path.glob(f"*{ENTRY}"):
        entry.write_bytes(b"")
    assert run("ready", HID_CACHE=str(tmp_path)) == first


def test_two_processes_at_once_keep_the_same_programs(tmp_path):
    command, both = [sys.executable, "-c", TWICE, "ready"], []
    for _ in range(2):
        variables = environment(HID_CACHE=str(tmp_path))
        both.append(subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0] and not any(errors for _, errors in outputs)
    songs = [output.splitlines()[:-1] for output, _ in outputs]
    assert songs[0] == songs[1] and len(songs[0]) == 4
    assert run("ready", HID_CACHE=str(tmp_path))[-1] == "0" and not list(tmp_path.glob(f"*{UNFINISHED}"))


def test_a_process_whose_files_were_changed_meanwhile_keeps_nothing(monkeypatch, tmp_path):
    f, x = jax.jit(lambda settings, x: x * settings, static_argnums=0), np.ones(3, np.float32)
    monkeypatch.setattr(program_cache, "current", lambda: Folder(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(ready.psutil.Process, "create_time", lambda _: 0.0)
        assert ready.ready(f, (2,), x)(x).tolist() == [2, 2, 2] and not list(tmp_path.iterdir())
    assert ready.ready(f, (2,), x)(x).tolist() == [2, 2, 2] and len(list(tmp_path.iterdir())) == 1


def test_no_program_has_the_key_of_another(monkeypatch):
    """Each of what a trace may hang on changes it."""
    f, x = jax.jit(lambda settings, x: x, static_argnums=0), np.zeros(3, np.float32)
    keys = [
        ready._key(f, (1,), (x,)),
        ready._key(f, (2,), (x,)),
        ready._key(f, (1,), ([x],)),
        ready._key(f, (1,), (x[:2],)),
        ready._key(f, (1,), (x.astype(np.int32),)),
        ready._key(f, (1,), (jnp.asarray(1.0),)),
        ready._key(f, (1,), (jnp.asarray(1.0, jnp.float32),)),
    ]
    assert ready._key(f, (1,), (x + 1,)) == keys[0]  # values do not
    with monkeypatch.context() as patched:
        patched.setattr(ready, "_sources", lambda: "other lines")
        keys.append(ready._key(f, (1,), (x,)))
    with monkeypatch.context() as patched:
        patched.setattr(ready.metadata, "version", lambda library: "9")
        keys.append(ready._key(f, (1,), (x,)))
    with monkeypatch.context() as patched:
        patched.setenv("XLA_FLAGS", "--xla_other=1")
        keys.append(ready._key(f, (1,), (x,)))
    with jax.default_matmul_precision("highest"):
        keys.append(ready._key(f, (1,), (x,)))
    assert len(set(keys)) == len(keys)


def test_the_sources_of_a_key_are_those_of_this_project(monkeypatch, tmp_path):
    here = ready._sources.__wrapped__()
    for package in ready.PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("1", encoding="utf-8")
    place = tmp_path / "jax_impl" / "device" / "ready.py"
    place.parent.mkdir()
    place.write_text("", encoding="utf-8")
    monkeypatch.setattr(ready, "__file__", str(place))
    there = ready._sources.__wrapped__()
    (tmp_path / "tokenizer" / "a.py").write_text("2", encoding="utf-8")
    assert not ready._are_as_imported()
    assert len({here, there, ready._sources.__wrapped__()}) == 3
