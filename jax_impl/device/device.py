"""What this machine is, and which implementation and precision suit it. Every choice is explicit and
printed; training, sampling and benchmarks ask here.
"""

import jax
import numpy as np
import psutil
from jax.experimental import multihost_utils

from configs import ComputeConfig, InputError, TrainConfig
from configs.model import AUTO_REMAT, LAYER_TOKENS

# Dense bf16 peak, FLOP/s, by what JAX calls the device (vendors' data sheets, without sparsity). MFU is reported for
# these alone.
BF16_PEAKS = {
    "NVIDIA H100 80GB HBM3": 989.4e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989.4e12,
    "NVIDIA H800": 989.4e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA L40S": 362e12,
}

HOPPER = "9.0"

# Of a machine's memory, what a step may take where there is no GPU; the rest is for the loader, Python and others
CPU_SHARE = 0.5


def on_gpu() -> bool:
    return jax.default_backend() == "gpu"


def on_hopper() -> bool:
    """The only GPUs that have what our kernels are written with (wgmma, TMA, setmaxnreg): compute capability 9.0."""
    return on_gpu() and jax.devices()[0].compute_capability == HOPPER


def compute_config(config: TrainConfig) -> ComputeConfig:
    """How to compute a training run here, "auto" resolved: of remat to the fastest, since what fits is known once the
    step is compiled.

    Raises InputError where the choice cannot work.
    """
    if config.attention == "pallas" and not on_hopper():
        here = jax.devices()[0].device_kind
        raise InputError(f"--attention pallas needs a Hopper GPU (H100, H200), not {here}; use --attention auto")
    return ComputeConfig(
        attention=best_attention() if config.attention == "auto" else config.attention,
        precision=best_precision() if config.precision == "auto" else config.precision,
        remat=AUTO_REMAT[0] if config.remat == "auto" else config.remat,
        layer_rows=rows_at_once(config.max_seq_len),
    )


def rows_at_once(length: int) -> int:
    """Rows of so many tokens that a layer works on at once, on each device."""
    return max(1, LAYER_TOKENS // length)


def sampling_compute() -> ComputeConfig:
    """How to compute samples here."""
    return ComputeConfig(attention=best_attention(), precision=best_precision(), remat="none")


def best_attention() -> str:
    return "pallas" if on_hopper() else "xla"


def best_precision() -> str:
    return "bf16" if on_gpu() else "fp32"


def memory_limit() -> int:
    """Bytes that a program may take on a device; of several hosts, on the one with least, so that all decide alike."""
    if on_gpu():
        limit = jax.local_devices()[0].memory_stats()["bytes_limit"]
    else:
        limit = CPU_SHARE * psutil.virtual_memory().total  # os.sysconf knows it on Linux alone
    limits = multihost_utils.process_allgather(np.float32(limit)) if jax.process_count() > 1 else limit
    return int(np.min(limits))


def peak_flops(compute: ComputeConfig, devices: int) -> float | None:
    """FLOP/s that so many of these devices could do; None where that is not known, and then no MFU is reported."""
    peak = BF16_PEAKS.get(jax.devices()[0].device_kind) if compute.precision == "bf16" else None
    return peak and peak * devices


def describe(compute: ComputeConfig) -> str:
    """One line for the log."""
    device = jax.devices()[0]
    chosen = f"precision {compute.precision}, attention {compute.attention}, remat {compute.remat}"
    return f"{device.device_kind} ({device.platform}), {chosen}"
