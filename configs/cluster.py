"""The processes of a training run on several hosts;
the field names are flags of `hid-museformer train` and the comments are their help.
"""

from dataclasses import dataclass

from configs import ranges
from configs.errors import InputError


@dataclass(frozen=True)
class ClusterConfig:
    """Which processes train together. Raises InputError naming the flag that makes no sense."""

    distributed: bool = False  # one of many processes; the same command on each host; SLURM, Open MPI etc. are asked
    coordinator: str | None = None  # HOST:PORT of process 0, where nothing can be asked; then the next two too
    num_processes: int | None = None  # processes of the run
    process_id: int | None = None  # number of this one, from 0
    wait_seconds: int = 300  # how long to wait for the others

    def __post_init__(self) -> None:
        ranges.check(self)
        given = [value is not None for value in (self.coordinator, self.num_processes, self.process_id)]
        if any(given) and not self.distributed:
            raise InputError("--coordinator, --num-processes and --process-id are for --distributed; give that too")
        if any(given) and not all(given):
            raise InputError(
                "--coordinator, --num-processes and --process-id go together: give all three, or none under SLURM"
            )
        if not all(given):
            return
        host, _, port = self.coordinator.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65_536):
            raise InputError(f"--coordinator must be HOST:PORT, got {self.coordinator}")
        if self.process_id >= self.num_processes:
            raise InputError(f"--process-id must be from 0 to {self.num_processes - 1}, got {self.process_id}")
