"""What gpu_day.py has carried to a machine with a GPU: made here by --prepare, and found there."""

import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import stages
from stages import ROOT

from configs import InputError
from tokenizer.disk.atomic import atomic

# What a machine with JAX, Flax, orbax and PyTorch lacks, with what these import and it lacks too
WHEELS = ("grain", "array-record", "portpicker", "mido", "tyro", "typeguard", "docstring-parser", "safetensors")
GLIBC = ("2_28", "2_27", "2_24", "2_17")
MOST_BYTES = 40 << 20  # of what is carried


def prepare(carried: Path, songs: Sequence[Path], python: str) -> None:
    """Makes everything anew; rows are of the first folder, the dataset is of all. Exits where something is wrong, or
    too much to carry.
    """
    carried.mkdir(parents=True, exist_ok=True)
    with atomic(carried / "rows.npz") as temporary:
        call([sys.executable, ROOT / "benchmarks" / "attention_rows.py", temporary, songs[0]])
    pack_songs(carried, songs)
    for wheel in carried.glob("*.whl"):  # of two versions none would be installed
        wheel.unlink()
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in WHEELS]
    platforms = [f"--platform=manylinux_{number}_x86_64" for number in GLIBC] + ["--platform=manylinux2014_x86_64"]
    pip = [sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--only-binary=:all:"]
    call([*pip, f"--python-version={python}", "--implementation=cp", *platforms, "-d", carried, *versions])
    size = sum(path.stat().st_size for path in carried.rglob("*") if path.is_file())
    print(f"{carried}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        raise SystemExit(f"{carried} holds more than {MOST_BYTES >> 20} MB; give fewer songs")


def pack_songs(carried: Path, songs: Sequence[Path]) -> None:
    """songs.tar.gz: the dataset that `prepare` makes of them."""
    with tempfile.TemporaryDirectory() as folder, atomic(carried / "songs.tar.gz") as temporary:
        dataset = Path(folder) / "songs"
        call([sys.executable, "-m", "jax_impl.cli", "prepare", *songs, dataset])
        with tarfile.open(temporary, "w:gz") as tar:
            tar.add(dataset, "songs")


def call(command: Sequence[object]) -> None:
    if subprocess.run([*map(str, command)], env=stages.environment(), cwd=ROOT).returncode:
        raise SystemExit(1)  # it has said why


def find_variants(folder: Path, asked: bool) -> list[Path]:
    """Raises InputError where a folder holds no jax_impl, or none is there that was asked for."""
    if asked and not folder.is_dir():
        raise InputError(f"--variants: there is no folder {folder}")
    found = sorted(path for path in folder.glob("*") if path.is_dir())
    for variant in found:
        if not (variant / "jax_impl").is_dir():
            raise InputError(f"{variant} holds no jax_impl: `git archive COMMIT jax_impl | tar -x -C {variant}`")
    return found
