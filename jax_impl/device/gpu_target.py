"""A GPU to compile for that need not be there: XLA's CUDA plugin takes a description of the device instead. For the
verb `memory` and the tests of kernels.

`./hid memory` and `./hid test` install the plugin beside the packages, not among them: JAX would complain at every
start that it finds no driver.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs import InputError

# An H800 80 GB as the CUDA driver describes it: the numbers of an H100 SXM.
H800_BYTES = 84929347584
H800 = f"""
gpu_device_info {{
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048  core_count: 132  fpus_per_core: 128
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448  shared_memory_per_core: 233472
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98  device_memory_size: {H800_BYTES}
  cuda_compute_capability {{ major: 9  feature_extension: ACCELERATED_FEATURES }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9  minor: 10 }}
runtime_version {{ major: 12  minor: 9  patch: 0 }}
device_description_str: "NVIDIA H800"
"""
# Options of the compiler: a device that is not there cannot time kernels to choose among them. From jax 0.11 on XLA has
# none for its own Triton products without that ("No supported config found for HLO gemm_fusion_dot"), so they are left
# out; before, that would only change what a program takes.
NO_TIMING = {"xla_gpu_autotune_level": "0"}
if tuple(map(int, importlib.metadata.version("jax").split(".")[:2])) >= (0, 11):
    NO_TIMING |= {"xla_gpu_enable_triton_gemm": False}
PLUGINS = ("xla_cuda12", "xla_cuda13")  # in the namespace package jax_plugins
BESIDE = Path(sys.prefix) / "hopper-target"


def installed() -> bool:
    """Can this machine compile for a GPU?"""
    return _among_packages() or BESIDE.is_dir()


def has_gpu() -> bool:
    """Is there a GPU that its driver answers for? Asked without JAX, which is not imported yet."""
    return (
        shutil.which("nvidia-smi") is not None and subprocess.run(["nvidia-smi"], capture_output=True).returncode == 0
    )


def add_plugin() -> None:
    """Lets JAX find the plugin, and imports it, which must not be done before. Raises InputError where the plugin is
    missing.
    """
    if not installed():
        raise InputError(
            "to compile for a GPU XLA's CUDA plugin is needed (180 MB, no GPU): `./hid memory` installs it, or "
            f"pip install --target {BESIDE} jax-cuda12-plugin=={importlib.metadata.version('jax')}"
        )
    if not _among_packages():
        sys.path.append(str(BESIDE))
    if not has_gpu():
        # Without these the plugin looks for a driver, and says so
        os.environ |= {"JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with _native_messages_dropped():
        import jax
        import jax.experimental.pallas.mosaic_gpu

        jax.devices()


def devices(count: int) -> list:
    """So many H800s to compile for, as jax.Device."""
    from jax.experimental import topologies

    with _native_messages_dropped():
        return list(topologies.get_topology_desc(platform="cuda", target_config=H800, topology=f"{count}x1x1").devices)


@contextmanager
def _native_messages_dropped() -> Iterator[None]:
    """The plugin's libraries say as they load that there is no driver, whatever they are told."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _among_packages() -> bool:
    if importlib.util.find_spec("jax_plugins") is None:
        return False
    return any(importlib.util.find_spec(f"jax_plugins.{name}") is not None for name in PLUGINS)
