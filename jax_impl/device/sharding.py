"""Where arrays live when there are several devices:
the mesh, and how parameters, optimizer state and batches are split over it, for training.

Two hosts of four devices, --fsdp-devices 4:

               fsdp ──────►
      data │   0 1 2 3    host 0        a parameter [D, F]: columns split over fsdp, the same in both rows of the mesh
           ▼   4 5 6 7    host 1        a batch [B, T]: rows split over all eight, in this order

Every number is the one that a single device has, but for the order in which sums are taken. One device is a mesh of
one.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from configs import ClusterConfig, InputError, TrainConfig
from jax_impl.batch import Batch
from tokenizer.dataset.workers import cores

DATA, FSDP = "data", "fsdp"
MESSAGE_BYTES = 2000  # of an error that one process tells the others
QUIET_SECONDS, TELL_SECONDS = 0.5, 10.0  # before the first line about processes that are waited for; between two
GRACE_SECONDS = 30  # that JAX waits longer than we do, so that it is we who say what happened
START_ALL = (
    "start all of them under SLURM or the like, or give each --coordinator HOST:PORT --num-processes N --process-id I"
)
COUNTED = "xla_force_host_platform_device_count"  # who sets it has said how many devices a CPU is
LOST_SECONDS = 30  # after which a process that says nothing is given up, and the others end


def join(cluster: ClusterConfig) -> None:
    """Makes this process one of a run's; before any other use of JAX. Raises InputError where the others cannot be
    found.
    """
    if not cluster.distributed:
        return
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, which training handles itself
    try:
        with told_while_waiting(cluster):
            jax.distributed.initialize(
                cluster.coordinator,
                cluster.num_processes,
                cluster.process_id,
                initialization_timeout=cluster.wait_seconds + GRACE_SECONDS,
                heartbeat_timeout_seconds=LOST_SECONDS,
            )
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--distributed: the other processes were not found ({reason}); {START_ALL}") from error


def split_cores(config: TrainConfig) -> None:
    """Lets the devices that a run asks for be cores of this machine, where it has no others: each then computes rows of
    its own, instead of all of them each small product. Before any other use of JAX; --distributed brings its devices.
    """
    wanted = max(config.data_devices, 1) * config.fsdp_devices
    if wanted > 1 and COUNTED not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", min(wanted, cores()))


@contextmanager
def told_while_waiting(cluster: ClusterConfig) -> Iterator[None]:
    """Says on stderr from the first second on who is waited for, and ends this process with one line and exit status 2
    when that took too long: JAX itself would be silent for as long, and then abort with a stack.
    """
    me = "this process" if cluster.process_id is None else f"process {cluster.process_id} of {cluster.num_processes}"
    where = "the others of this job" if cluster.coordinator is None else f"the others at {cluster.coordinator}"
    found = threading.Event()

    def watch() -> None:
        began = time.monotonic()
        found.wait(QUIET_SECONDS)
        told = False  # that it waits, before that it waited in vain
        while not found.is_set():
            waited = time.monotonic() - began
            left = cluster.wait_seconds - waited
            if told and left <= 0:
                print(
                    f"error: --distributed: {me} found not all of {where} in {cluster.wait_seconds} s; {START_ALL}",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(2)
            print(f"{me} waits for {where} ({waited:.0f} of {cluster.wait_seconds} s)", file=sys.stderr, flush=True)
            told = True
            found.wait(max(min(TELL_SECONDS, left), 0))

    threading.Thread(target=watch, name="told while waiting", daemon=True).start()
    try:
        yield
    finally:
        found.set()


def is_leader() -> bool:
    """Whether this process is the one that prints, and writes metrics and pictures."""
    return jax.process_index() == 0


@contextmanager
def all_or_none() -> Iterator[None]:
    """What fails in one process is raised in all of them, so that none waits for one that has ended. What is done
    meanwhile must wait for no other process. Raises InputError.
    """
    if jax.process_count() == 1:
        yield
        return
    failed = None
    try:
        yield
    except Exception as error:
        failed = error
    told = np.zeros(MESSAGE_BYTES, np.uint8)
    own = b"" if failed is None else (str(failed) or type(failed).__name__).encode()[:MESSAGE_BYTES]
    told[: len(own)] = np.frombuffer(own, np.uint8)
    of_all = [bytes(row[row > 0]).decode(errors="ignore") for row in multihost_utils.process_allgather(told)]
    if failed is not None:
        raise failed
    for number, message in enumerate(of_all):
        if message:
            raise InputError(f"{message} (process {number})")


def make_mesh(config: TrainConfig) -> Mesh:
    """Mesh [data, fsdp] over the devices of all processes, those of one host side by side. Raises InputError where they
    do not suffice.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    data = config.data_devices or len(devices) // config.fsdp_devices
    flags = f"--data-devices {config.data_devices} and --fsdp-devices {config.fsdp_devices}"
    size = data * config.fsdp_devices
    if not 0 < size <= len(devices) or (size < len(devices) and (jax.process_count() > 1 or not config.data_devices)):
        raise InputError(
            f"{flags} do not fit the {len(devices)} devices there are: their product is the number of devices in use"
        )
    if config.batch_size % size:
        raise InputError(
            f"--batch-size {config.batch_size} must be a multiple of {size}: its rows are split over {size} devices; "
            f"take {-(-config.batch_size // size) * size}, or fewer devices with --data-devices"
        )
    # Not jax.make_mesh, which puts GPUs in the order of their ids and TPUs along their torus: rows of a batch must lie
    # in the order of the processes, each of which brings its own part of them.
    return Mesh(
        np.array(devices[:size]).reshape(data, config.fsdp_devices), (DATA, FSDP), (AxisType.Auto, AxisType.Auto)
    )


def partition(shape: tuple[int, ...], fsdp_devices: int) -> P:
    """How an array of this shape is split over fsdp: along its largest axis that divides, the last of equals; whole
    where none does.

    (16, 768, 2304) over 8 -> (None, None, "fsdp")      (724, 768) -> (None, "fsdp")      () -> ()
    """
    axes = [axis for axis, length in enumerate(shape) if length and length % fsdp_devices == 0]
    if fsdp_devices == 1 or not axes:
        return P()
    largest = max(axes, key=lambda axis: (shape[axis], axis))
    return P(*(FSDP if axis == largest else None for axis in range(largest + 1)))


def state_layout(abstract: Any, mesh: Mesh) -> Any:
    """NamedSharding of every array of a training state (or of its parameters): a tree like it."""
    return jax.tree.map(lambda leaf: NamedSharding(mesh, partition(leaf.shape, mesh.shape[FSDP])), abstract)


def laid_out(abstract: Any, layout: Any) -> Any:
    """Shapes and dtypes with their places: what programs are compiled for and checkpoints are restored to."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), abstract, layout
    )


def everywhere(mesh: Mesh) -> NamedSharding:
    """The same on all devices."""
    return NamedSharding(mesh, P())


def rows(mesh: Mesh, *, stacked: bool) -> NamedSharding:
    """Rows of a batch [B, T], or of micro batches [A, B, T] (stacked), over all devices."""
    return NamedSharding(mesh, P(None, (DATA, FSDP)) if stacked else P((DATA, FSDP)))


def from_own_rows(batch: Batch, place: NamedSharding) -> Batch:
    """The batch over all devices, of which each process brings the rows that its own devices hold, in order."""
    return jax.tree.map(lambda field: jax.make_array_from_process_local_data(place, field), batch)


def from_all_rows(batch: Batch, place: NamedSharding) -> Batch:
    """The batch over all devices, where every process has it whole."""
    return jax.tree.map(lambda field: jax.make_array_from_callback(field.shape, place, field.__getitem__), batch)


def all_gathered(parameters: Any) -> Any:
    """Inside a model: parameters gathered from the devices that share them (an all-gather), for the products that
    follow.

    Said of each layer inside the scan, so that only one layer is whole at a time. Without it the compiler splits
    products and activations too, which sends far more. Nothing happens without a mesh.
    """
    mesh = jax.sharding.get_abstract_mesh()
    return parameters if mesh.empty else jax.lax.with_sharding_constraint(parameters, P())


def devices_of_rows() -> int:
    """Inside a model: over how many devices the rows of its batch are spread."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.size


class Agreement:
    """What signal stops the run, the same for all processes at the same step, however differently in time they got it.

    One process knows at once. Of several, each sends its own with every step, and hears `lag` steps later what any of
    them had: by then the device is done with that step, so nothing waits.
    """

    def __init__(self, mesh: Mesh, lag: int):
        self._place = NamedSharding(mesh, P((DATA, FSDP)))
        self._votes: deque[jax.Array] = deque()
        self._size, self._lag = mesh.size, lag
        self._largest = jax.jit(jnp.max, out_shardings=everywhere(mesh))

    def signal(self, own: int | None) -> int | None:
        """Once a step. own: the signal that this process got, or None."""
        if jax.process_count() == 1:
            return own
        votes = jax.make_array_from_callback(
            (self._size,), self._place, lambda index: np.full(self._size, own or 0, np.int32)[index]
        )
        self._votes.append(self._largest(votes))
        return int(self._votes.popleft()) or None if len(self._votes) > self._lag else None
