"""Metrics of a run: one JSON object a line in metrics.jsonl, and optionally a tracker.

    {"kind": "train", "step": 20, "loss": 3.1, "learning_rate": 3e-05, "gradient_norm": 0.9, "tokens": 160000,
     "epoch": 0.53, "tokens_per_second": 2100.0, "mfu": null, "input_wait": 0.01, "seconds": 12.3}
    {"kind": "validation", "step": 200, "loss": 2.2, "uniform": 6.466, "unigram": 4.4,
     "by_kind": {"pitch": 2.9, "position": 1.6, ...}}

Losses are nats per token; training values are means over the steps since the line before. tokens are those read since
the run began, padding left out, and epoch how often it has read the songs. mfu is null where the device's peak is
unknown, input_wait is the share of the time spent waiting for data, seconds the time since the program began.
by_kind has the loss by kind of token (see by_kind.py), at the steps of --eval-every, as the run learns it: under
--chord-targets first a chord of a later track costs what any chord would. Trackers get by_kind/pitch and so on.
After a restart the lines past the restored step are dropped: the file is that of one run.
"""

import hashlib
import json
import sys
from contextlib import suppress
from pathlib import Path

from configs import InputError, TrainConfig
from tokenizer.disk.atomic import WriteError, write_text

FILE = "metrics.jsonl"


class Metrics:
    """The writer. restored_step: lines after it are of steps that will be taken again. about: JSON values that say what
    is trained, for a tracker.
    """

    def __init__(self, config: TrainConfig, restored_step: int, about: dict):
        self.path = config.output_dir / FILE
        kept = [record for record in read(self.path) if record["step"] <= restored_step]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))
        self._file = self.path.open("a", encoding="utf-8")
        self._tracker = tracker(config, about)

    def write(self, kind: str, step: int, values: dict[str, float | dict[str, float] | None]) -> None:
        """Raises WriteError."""
        try:
            self._file.write(json.dumps({"kind": kind, "step": step, **values}) + "\n")
            self._file.flush()
        except OSError as error:
            raise WriteError(self.path, error) from error
        self._tracker.write(kind, step, flat(values))

    def close(self) -> None:
        with suppress(OSError):  # what could not be written has been told
            self._file.close()
        self._tracker.close()


def flat(values: dict[str, float | dict[str, float] | None]) -> dict[str, float]:
    """The numbers of a record by one name each, OUTER/INNER of what is within; what is None left out."""
    numbers = {}
    for name, value in values.items():
        if isinstance(value, dict):
            numbers |= {f"{name}/{inner}": number for inner, number in value.items()}
        elif value is not None:
            numbers[name] = value
    return numbers


def read(path: Path) -> list[dict]:
    """The records of a metrics.jsonl; none if there is no file. A line that is none, as of a disk that was full, is
    left out with a notice.
    """
    if not path.exists():
        return []
    *lines, rest = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate([*lines, rest] if rest else lines, start=1):
        if line is not rest and (record := _record(line)):
            records.append(record)
        else:
            print(f"notice: {path}, line {number}: cut short or damaged; left out", file=sys.stderr)
    return records


def _record(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
        kinds = {"kind": str, "step": int, "loss": (int, float)}
        return record if all(isinstance(record[name], kind) for name, kind in kinds.items()) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


# ---------------------------------------------------------------- trackers


class NoTracker:
    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class TensorBoard:
    def __init__(self, config: TrainConfig, about: dict):
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(config.output_dir / "tensorboard"))
        indented = "".join(f"    {line}\n" for line in json.dumps(about, indent=1).splitlines())  # code in Markdown
        self._writer.add_text("config", indented)

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    def __init__(self, config: TrainConfig, about: dict):
        import wandb

        folder = config.output_dir.absolute()
        identity = hashlib.sha256(str(folder).encode()).hexdigest()[:16]  # a restart goes on in the same W&B run
        self._run = wandb.init(
            project=config.tracker_project,
            name=folder.name,
            id=identity,
            resume="allow",
            dir=str(folder),
            config=about,
            allow_val_change=True,  # a run that goes on may have other workers, versions, ...
        )

    def write(self, kind: str, step: int, values: dict[str, float]) -> None:
        self._run.log({f"{kind}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


TRACKERS = {"none": lambda config, about: NoTracker(), "tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def tracker(config: TrainConfig, about: dict) -> NoTracker | TensorBoard | WeightsAndBiases:
    """Raises InputError where its package is not installed."""
    try:
        return TRACKERS[config.tracker](config, about)
    except ImportError as error:
        raise InputError(
            f"--tracker {config.tracker}: {error}; pip install 'hid-museformer[{config.tracker}]'"
        ) from error
