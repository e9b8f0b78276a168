"""Many devices and many processes: the same run as on one device, whatever the layout,
and also after one of them was killed.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from configs import ClusterConfig, InputError
from jax_impl.device import sharding
from jax_impl.training import metrics, train
from jax_impl.training.checkpoint import Checkpoints, on_default_device
from jax_impl.training.step import make_step
from tests import ROOT
from tests.device import on_four_devices
from tests.rounding import apart, budget, neighbours
from tests.runs import MODEL, UNMOVED, assert_begun_with, config, start, wait_for, write_dataset, write_run_of_v121
from tokenizer import vocabulary as vocab
from tokenizer.dataset.files import read_manifest, save_manifest
from tokenizer.disk.lock import only_writer

ROWS = {"batch_size": 8, "gradient_accumulation_steps": 1, "max_seq_len": 128, "max_spans": 32}
ROWS |= {"log_every": 1, "remat": "none"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "songs")


def run(dataset: Path, output_dir: Path, *arguments: str, devices: int = 8, flags: str = "", **changes) -> Path:
    """A finished run in a process with so many devices; flags: XLA's."""
    arguments += ("--changes", json.dumps(ROWS | changes))
    process = start(dataset, output_dir, *arguments, devices=devices, flags=flags)
    assert process.wait() == 0, output_dir.with_suffix(".log").read_text(encoding="utf-8")
    return output_dir


def run_here(dataset: Path, output_dir: Path, **changes) -> Path:
    """A finished run on the one device of this process."""
    assert train.train(config(dataset, output_dir, **ROWS | changes), MODEL).step == 8
    return output_dir


def trace(run: Path) -> np.ndarray:
    """float64[2, lines]: loss and gradient norm of every line, 0 where it has none."""
    records = metrics.read(run / metrics.FILE)
    assert [record["step"] for record in records if record["kind"] == "train"] == list(range(1, 9))
    return np.array([[record["loss"], record.get("gradient_norm", 0.0)] for record in records]).T


@pytest.fixture(scope="module")
def assert_as_on_one_device(dataset, tmp_path_factory):
    """Sums are taken in another order; the measure is a run from weights that are moved to neighbouring floats."""
    folder = tmp_path_factory.mktemp("one")
    want = list(trace(run_here(dataset, folder / "run")))
    make = train.make_step

    def make_moved(*arguments):
        made = make(*arguments)
        return made._replace(initialize=lambda: neighbours(made.initialize(), seed=0))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_step", make_moved)
        allowed = budget(apart(list(trace(run_here(dataset, folder / "moved"))), want))
    assert 0 < allowed < 1e-3  # or the measure itself is broken

    def check(run: Path) -> None:
        assert apart(list(trace(run)), want) <= allowed

    return check


@pytest.fixture(scope="module")
def eight_devices(dataset, tmp_path_factory) -> Path:
    """Parameters over four of them, twice."""
    folder = tmp_path_factory.mktemp("eight")
    return run(
        dataset,
        folder / "run",
        fsdp_devices=4,
        flags=f"--xla_dump_to={folder}/program --xla_dump_hlo_module_re=.*train_step.*",
    )


# ---------------------------------------------------------------- the layout


@pytest.mark.parametrize(
    ("shape", "devices", "split"),
    [
        ((16, 768, 2304), 8, P(None, None, "fsdp")),
        ((16, 4096, 768), 8, P(None, "fsdp")),
        ((643, 768), 8, P(None, "fsdp")),
        ((724, 64), 4, P("fsdp")),
        ((16, 768, 768), 8, P(None, None, "fsdp")),  # the last of equals
        ((2048, 12), 8, P("fsdp")),
        ((643,), 8, P()),
        ((), 8, P()),
        ((16, 768), 1, P()),
    ],
)
def test_an_array_is_split_along_its_largest_axis_that_divides(shape, devices, split):
    assert sharding.partition(shape, devices) == split


def test_what_does_not_fit_the_devices_is_said_by_flag():
    with pytest.raises(InputError, match="--data-devices 2 and --fsdp-devices 1 do not fit the 1 devices"):
        sharding.make_mesh(config(Path(), Path(), data_devices=2))
    with pytest.raises(InputError, match="--data-devices 0 and --fsdp-devices 3 do not fit the 1 devices"):
        sharding.make_mesh(config(Path(), Path(), fsdp_devices=3))


def test_the_command_line_splits_a_batch_over_cores_where_it_is_told_to(dataset, tmp_path):
    program = "from jax_impl.cli import main\nfrom jax_impl.device import sharding\nsharding.cores = lambda: 2\nmain()"
    sizes = ("--model-size", "tiny", "--max-seq-len", 128, "--max-spans", 32, "--steps", 2, "--warmup-steps", 1)
    words = ["train", "--data-dir", dataset, "--output-dir", tmp_path / "run", *sizes, "--num-workers", 0]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "HID_CACHE": "none"}
    for devices, said in ((2, "2 x cpu"), (3, "--data-devices 3 and --fsdp-devices 1 do not fit the 2 devices")):
        command = [sys.executable, "-c", program, *words, "--batch-size", devices, "--data-devices", devices]
        done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, encoding="utf-8")
        assert said in done.stdout + done.stderr, done.stdout + done.stderr


def test_rows_lie_in_the_order_of_the_processes_whatever_the_ids_of_their_devices(monkeypatch):
    """The loader gives process i the i-th part of a batch."""

    @dataclass(frozen=True)
    class Gpu:
        process_index: int
        id: int
        platform: str = "gpu"
        device_kind: str = "NVIDIA H100 80GB HBM3"

    devices = [Gpu(process, number) for number, process in enumerate([2, 0, 3, 1, 2, 0, 3, 1])]
    monkeypatch.setattr(jax, "devices", lambda: devices)
    mesh = sharding.make_mesh(config(Path(), Path(), fsdp_devices=4, batch_size=8))
    assert [device.process_index for device in mesh.devices.flat] == [0, 0, 1, 1, 2, 2, 3, 3]
    by_ids = jax.make_mesh((2, 4), mesh.axis_names, devices=devices).devices
    assert [device.process_index for device in by_ids.flat] == [2, 0, 3, 1, 2, 0, 3, 1], "make_mesh would do"


def test_rows_that_do_not_divide_are_said_by_flag(monkeypatch):
    devices = [SimpleNamespace(process_index=0, id=number) for number in range(8)]
    monkeypatch.setattr(sharding.jax, "devices", lambda: devices)
    with pytest.raises(InputError, match="--batch-size 12 must be a multiple of 8"):
        sharding.make_mesh(config(Path(), Path(), batch_size=12))


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"process_id": 0}, "are for --distributed"),
        ({"distributed": True, "coordinator": "localhost:1"}, "give all three"),
        (
            {"distributed": True, "coordinator": "here", "num_processes": 2, "process_id": 0},
            "must be HOST:PORT, got here",
        ),
        (
            {"distributed": True, "coordinator": "here:1", "num_processes": 0, "process_id": 0},
            "--num-processes must be at least 1",
        ),
        (
            {"distributed": True, "coordinator": "here:1", "num_processes": 2, "process_id": 2},
            "--process-id must be from 0 to 1, got 2",
        ),
    ],
)
def test_nonsense_of_a_cluster_is_refused_by_flag(cluster, message):
    with pytest.raises(InputError, match=re.escape(message)):
        ClusterConfig(**cluster)


# ---------------------------------------------------------------- one process with many devices


def test_eight_devices_that_share_parameters_train_as_one_does(assert_as_on_one_device, eight_devices):
    assert_as_on_one_device(eight_devices)


def test_rows_that_count_alike_whatever_their_targets_are_beyond_the_budget(
    dataset, assert_as_on_one_device, tmp_path, monkeypatch
):
    """What a mean of the devices' means would do."""
    stack = train.stack

    def alike(micro_batches):
        batches = stack(micro_batches)
        targets = batches.weights.sum(-1, keepdims=True)
        return batches._replace(weights=batches.weights / targets * targets.mean())

    monkeypatch.setattr(train, "stack", alike)
    faulty = run_here(dataset, tmp_path / "run")
    with pytest.raises(AssertionError):
        assert_as_on_one_device(faulty)


def test_weights_are_gathered_layer_by_layer_and_activations_are_never_sent(eight_devices):
    (program,) = eight_devices.parent.glob("program/*train_step*after_optimizations.txt")
    text = program.read_text(encoding="utf-8")
    assert not re.search(r" (all-to-all|collective-permute)(-start)?\(", text)
    gathered = [tuple(map(int, shape.split(","))) for shape in re.findall(r"= f32\[([\d,]+)\]\S* all-gather\(", text)]
    widest = MODEL.width * max(3 * MODEL.width, 2 * MODEL.ffn)  # of the weights of one layer
    assert {np.prod(shape) for shape in gathered if len(shape) > 1} >= {MODEL.width**2, widest}
    # The largest is the table of tokens. All layers at once would be no larger here, so that they are looked for too.
    assert max(map(np.prod, gathered)) == vocab.SIZE * MODEL.width
    assert not [shape for shape in gathered if len(shape) == 3 and shape[0] == MODEL.layers]


def test_a_model_of_v121_is_begun_with_over_many_devices(dataset, tmp_path):
    """Its token table is split otherwise than that of the run, of which each of four has rows."""
    given = write_run_of_v121(tmp_path / "v121")
    run(dataset, tmp_path / "run", devices=4, fsdp_devices=4, init_from=str(tmp_path / "v121"), **UNMOVED)
    assert_begun_with(tmp_path / "run", given, seed=0)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_checkpoint_of_eight_devices_goes_on_with_fewer(
    dataset, assert_as_on_one_device, eight_devices, tmp_path, devices
):
    again = shutil.copytree(eight_devices, tmp_path / "run")
    if devices == 1:
        run_here(dataset, again, resume_from=4)
    else:
        run(dataset, again, devices=2, resume_from=4, fsdp_devices=2)
    assert_as_on_one_device(again)


def test_a_checkpoint_of_eight_devices_holds_the_bits_that_one_device_reads(eight_devices):
    """Restoring compares the checksums that the eight devices took."""
    settings = config(Path(), eight_devices)
    abstract = on_default_device(jax.eval_shape(make_step(MODEL, settings, total_steps=8).initialize))
    with Checkpoints(eight_devices, keep_last=None) as checkpoints:
        assert int(checkpoints.restore(8, abstract).step) == 8


@pytest.fixture(scope="module")
def said_by_four() -> dict[str, dict]:
    """What on_four_devices prints."""
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
    }
    program = [sys.executable, on_four_devices.__file__]
    run = subprocess.run(program, env=environment, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.fixture
def four_devices(said_by_four) -> dict[str, dict]:
    """What it says of each of its steps."""
    return said_by_four["steps"]


def test_a_step_sends_nothing_between_devices_but_sums_of_gradients_and_parameters_that_are_shared(four_devices):
    """Five rows a device where a layer works on two at once, so one at a time: 20 rows over 4 devices. Gathered is each
    of a layer's 22 arrays, once or twice, and the 5 outside of the layers twice.
    """
    collectives = {name: found["collectives"] for name, found in four_devices.items()}
    assert collectives["one"] == {}
    assert collectives["four"].keys() == {"all-reduce"} and collectives["four"]["all-reduce"] <= 8
    shared = collectives["four that share parameters"]
    assert shared.keys() <= {"all-reduce", "all-gather", "reduce-scatter"}
    assert shared["all-gather"] <= 2 * (on_four_devices.MODEL.layers * 22 + 5)


def test_dropout_is_the_same_on_any_number_of_devices(four_devices):
    """Four devices add up in another order; other draws would move the loss by a thousand times as much."""
    one = four_devices["one"]
    for name, found in four_devices.items():
        for number in ("loss", "norm"):
            assert found[number] == pytest.approx(one[number], rel=1e-6 if name != "one" else 0), (name, number)


def test_muon_is_the_same_on_four_devices_that_share_kernels_of_which_each_gathers_one_layer_at_a_time(said_by_four):
    """One gather for each of the nine kernels, in a loop over layers, and the sum of the gradient's norm."""
    found = said_by_four["muon"]
    assert found["apart"] <= budget(found["moved"]) < 1e-4
    assert found["collectives"] == {"all-gather": 9, "all-reduce": 1}
    gate_up, down, kv2, out, qkv = [2, 64, 64], [2, 32, 64], [2, 64, 32], [2, 64, 16], [2, 64, 48]
    assert found["shapes"] == sorted([kv2, *2 * [gate_up, down, out, qkv]])


# ---------------------------------------------------------------- many processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def start_two(dataset: Path, output_dir: Path, *arguments: str, **changes) -> list:
    """Two processes of one device each; the second's log is run-1.log."""
    address = f"localhost:{free_port()}"
    clusters = [
        {"distributed": True, "coordinator": address, "num_processes": 2, "process_id": number} for number in range(2)
    ]
    logs = [output_dir.with_suffix(".log"), output_dir.with_name("run-1.log")]
    arguments += ("--changes", json.dumps(ROWS | {"fsdp_devices": 2} | changes))
    return [
        start(dataset, output_dir, *arguments, "--cluster", json.dumps(cluster), log=log)
        for cluster, log in zip(clusters, logs, strict=True)
    ]


def finish(processes: list, output_dir: Path) -> None:
    for process in processes:
        assert process.wait() == 0, "".join(
            path.read_text(encoding="utf-8") for path in output_dir.parent.glob("*.log")
        )


@pytest.fixture(scope="module")
def two_processes(dataset, tmp_path_factory) -> Path:
    output_dir = tmp_path_factory.mktemp("two") / "run"
    finish(start_two(dataset, output_dir), output_dir)
    return output_dir


def test_two_processes_train_as_one_does_and_only_the_first_speaks(assert_as_on_one_device, two_processes):
    assert_as_on_one_device(two_processes)
    assert "step 8: validation loss" in two_processes.with_suffix(".log").read_text(encoding="utf-8")
    other = two_processes.with_name("run-1.log").read_text(encoding="utf-8").splitlines()
    assert [line for line in other if not line.startswith(("[Gloo]", "process 1 of 2 waits for the others"))] == []


def test_a_process_that_never_comes_is_told_of_at_once_and_then_ends_the_run_in_one_line(dataset, tmp_path):
    alone = {"distributed": True, "coordinator": f"localhost:{free_port()}", "num_processes": 2, "process_id": 0}
    process = start(dataset, tmp_path / "run", "--cluster", json.dumps(alone | {"wait_seconds": 2}))
    assert process.wait() == 2
    first, *_, last = (tmp_path / "run.log").read_text(encoding="utf-8").splitlines()
    assert re.match(r"process 0 of 2 waits for the others at localhost:\d+ \(\d+ of 2 s\)", first)
    assert last.startswith("error: --distributed: process 0 of 2 found not all of the others at localhost:")


def test_two_processes_share_what_one_alone_is_told(dataset, two_processes, tmp_path):
    """Weights of another run, accumulation, augmentation and no validation, a lock that another holds, and going
    back; each refusal ends both.
    """
    output_dir = tmp_path / "run"
    songs = shutil.copytree(dataset, tmp_path / "songs")
    manifest = read_manifest(songs)
    manifest["splits"]["validation"] |= {"songs": 0, "tokens": 0, "shards": []}
    save_manifest(songs, manifest)
    changes = {"init_from": str(two_processes), "gradient_accumulation_steps": 2, "augment": True}
    finish(start_two(songs, output_dir, checkpoint_every=4, **changes), output_dir)
    assert {record["kind"] for record in metrics.read(output_dir / metrics.FILE)} == {"train"}

    with only_writer(output_dir):
        refused = start_two(songs, output_dir, resume_from=4, **changes)
        assert [process.wait() for process in refused] == [2, 2]
    for log in (output_dir.with_suffix(".log"), output_dir.with_name("run-1.log")):
        assert f"process {os.getpid()} on" in log.read_text(encoding="utf-8")
    finish(start_two(songs, output_dir, checkpoint_every=4, resume_from=4, **changes), output_dir)
    assert "went back to step 4: checkpoints 8 deleted" in output_dir.with_suffix(".log").read_text(encoding="utf-8")


def test_two_processes_that_were_stopped_and_then_lost_one_go_on_bit_for_bit(dataset, two_processes, tmp_path):
    output_dir = tmp_path / "run"
    processes = start_two(dataset, output_dir, "--pause", "2")
    while not metrics.read(output_dir / metrics.FILE):
        assert processes[0].poll() is None, output_dir.with_suffix(".log").read_text(encoding="utf-8")
        time.sleep(0.01)
    os.kill(processes[1].pid, signal.SIGTERM)  # both stop at the same step, though only one gets the signal
    finish(processes, output_dir)
    log = output_dir.with_suffix(".log").read_text(encoding="utf-8")
    stopped = re.search(r"stopped by SIGTERM after step (\d)", log)
    assert stopped and int(stopped[1]) < 6, log

    processes = start_two(dataset, output_dir, "--pause", "2", checkpoint_every=6)
    wait_for(output_dir / "checkpoints" / "6", processes[0], output_dir)
    os.kill(processes[1].pid, signal.SIGKILL)
    assert processes[0].wait() != 0  # it does not wait for ever, nor go on alone
    assert "8" not in {folder.name for folder in (output_dir / "checkpoints").iterdir()}

    finish(start_two(dataset, output_dir), output_dir)
    np.testing.assert_array_equal(trace(output_dir), trace(two_processes))
