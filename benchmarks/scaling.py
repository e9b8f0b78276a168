"""Weak scaling on paper, to 1024 GPUs: what a step sends, by size, and the efficiency to expect from it.

    python benchmarks/scaling.py --songs ../shared/data/midi

Nothing here was measured on a GPU. Step times are model FLOPs (jax_impl/model/flops.py, rows packed from these songs)
at an ASSUMED MFU; links run at an ASSUMED share of their nominal rate. What is sent is checked: the training step is
compiled for 8 simulated devices, and the array elements in its collectives must be those of the formula. Writes
benchmarks/results/scaling.json and the page scaling.md beside it.
"""

import argparse
import functools
import itertools
import os
import re
import tempfile
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"  # before jax is loaded
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
from report import RESULTS, write_report

from configs import MODEL_SIZES, ComputeConfig, DataConfig, ModelConfig, PrepareConfig, TrainConfig
from jax_impl.device import sharding
from jax_impl.device.device import BF16_PEAKS
from jax_impl.loading import loader
from jax_impl.model import flops
from jax_impl.model.museformer import abstract_model
from jax_impl.training.step import make_step
from jax_impl.training.train import abstract_batches
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset

SEQ_LEN = 8192
ROWS_PER_GPU = {"small": 4, "base": 4, "large": 4, "xlarge": 2}
NODE = 8  # GPUs that NVLink joins
PEAK = BF16_PEAKS["NVIDIA H200"]
# Bytes/s and GPU in each direction: half of the 900 GB/s that NVIDIA's H100 and H200 data sheets give for both together
NVLINK = 450e9
# Likewise: one 400 Gb/s ConnectX-7 port per GPU (DGX H100/H200 User Guide, "Network Connections").
NETWORK = 50e9
LINK_SHARE = 0.8  # ASSUMED: of the nominal rate, for large messages
MFU = 0.45  # ASSUMED: the goal for `large`; a higher one leaves less time to send in
LATENCY_SECONDS = 50e-6  # ASSUMED: of each collective, beside its bytes
GPUS = (8, 16, 64, 256, 1024)


def sent(model: ModelConfig, fsdp: int) -> dict[str, float]:
    """Bytes of arrays that are gathered and reduced in one step (A = 1), and collectives started; fsdp: devices that
    share parameters.

    Each layer's weights are gathered in bf16 for the forward pass and again for the backward pass; gradients are
    reduced once, counted as fp32 (an upper bound: those of the layers are summed in the dtype of the products, bf16).
    """
    layers, others, twice = parameters(model)
    gathered = 2 * (2 * layers) + 4 * others if fsdp > 1 else 0
    return {
        "gathered": gathered,
        "reduced": 4 * (layers + others + twice),
        "collectives": (3 if fsdp > 1 else 1) * model.layers + 4,
    }


def parameters(model: ModelConfig) -> tuple[int, int, int]:
    """How many are in the layers, how many outside, and how many of these are used in two places: their gradients are
    reduced apart.
    """
    _, abstract = abstract_model(model)
    layers = sum(leaf.size for leaf in jax.tree.leaves(abstract["layers"]))
    twice = sum(leaf.size for leaf in jax.tree.leaves([abstract["tokens"], abstract["instruments"]]))
    return layers, sum(leaf.size for leaf in jax.tree.leaves(abstract)) - layers, twice


def seconds_sending(model: ModelConfig, fsdp: int, gpus: int) -> float:
    """A reduction goes in three stages: summed in parts within the node, each part over the network between nodes, and
    gathered again within the node. Parameters are shared within a node, so that gathering them stays on NVLink.
    """
    step = sent(model, fsdp)
    inside, nodes = (NODE - 1) / NODE, gpus // NODE
    nvlink = (step["gathered"] + 2 * step["reduced"]) * inside / (LINK_SHARE * NVLINK)
    network = 2 * step["reduced"] / NODE * (nodes - 1) / nodes / (LINK_SHARE * NETWORK)
    return nvlink + network + step["collectives"] * LATENCY_SECONDS


def efficiencies(model: ModelConfig, step_seconds: float, fsdp: int, gpus: int) -> tuple[float, float]:
    """Of one GPU's speed: where nothing is sent while it computes, and where everything that fits beside the
    computation is.
    """
    sending = seconds_sending(model, fsdp, gpus)
    return step_seconds / (step_seconds + sending), step_seconds / max(step_seconds, sending)


# ---------------------------------------------------------------- what the compiled program sends


def compiled_elements(fsdp: int) -> dict[str, dict[str, int]]:
    """Array elements per step in the collectives of the training step, compiled for 8 devices, and
    what `sent` counts.
    """
    model = ModelConfig(layers=3, width=128, ffn=352, max_bars=64)
    config = TrainConfig(Path(), Path(), max_seq_len=256, batch_size=8, fsdp_devices=fsdp)
    mesh = sharding.make_mesh(config)
    _, initialize, step = make_step(model, config, total_steps=1000)
    abstract = jax.eval_shape(initialize)
    layout = sharding.state_layout(abstract, mesh)
    compute = ComputeConfig(attention="xla", precision="fp32", remat="layer")
    places = dict(
        in_shardings=(layout, sharding.rows(mesh, stacked=True)), out_shardings=(layout, sharding.everywhere(mesh))
    )
    with jax.set_mesh(mesh):
        program = (
            jax.jit(functools.partial(step, compute=compute), **places)
            .lower(sharding.laid_out(abstract, layout), abstract_batches(config))
            .compile()
            .as_text()
        )
    elements = {"all-gather": 0, "all-reduce": 0}
    times = 1
    for line in program.splitlines():
        if line.endswith("{") and ") -> " in line:
            # The only loop with collectives is the one over layers
            times = 1 if line.startswith("ENTRY") else model.layers
        operation = re.search(r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute)(?:-start)?\(", line)
        if operation:
            shapes = re.findall(r"\w+\[([\d,]*)\]", operation[1])
            elements[operation[2]] += times * sum(
                int(np.prod([int(size) for size in shape.split(",") if size])) for shape in shapes
            )
    layers, others, twice = parameters(model)
    formula = {"all-gather": 2 * layers + others if fsdp > 1 else 0, "all-reduce": layers + others + twice}
    for name, count in formula.items():
        if abs(elements[name] - count) > 0.01 * (layers + others):  # scalars, and the last norm's few weights
            raise SystemExit(
                f"fsdp {fsdp}: the program's {name}s hold {elements[name]} elements, the formula says {count}"
            )
    return {"program": elements, "formula": formula}


# ---------------------------------------------------------------- the page


def page(results: dict) -> str:
    lines = [
        "# Weak scaling on paper",
        "",
        "Written by benchmarks/scaling.py. **Nothing here was measured on a GPU**: step times are FLOPs at "
        "an assumed MFU. What is",
        "sent was checked against the training step compiled for 8 simulated devices.",
        "",
        f"- Step time: model FLOPs of real packed rows of {SEQ_LEN} tokens, at an *assumed* MFU of "
        f"{MFU:.0%} of {PEAK / 1e12:.1f} TFLOP/s",
        "  (H200, dense bf16).",
        f"- NVLink: {NVLINK / 1e9:.0f} GB/s a direction and GPU (NVIDIA H100 and H200 data sheets: 900 "
        "GB/s, both directions together).",
        f"- Network: {NETWORK / 1e9:.0f} GB/s a direction and GPU (DGX H100/H200 User Guide: eight 400 Gb/s "
        "ConnectX-7 ports, eight GPUs).",
        f"- Links are *assumed* to reach {LINK_SHARE:.0%} of these, and each collective to cost "
        f"{LATENCY_SECONDS * 1e6:.0f} µs more.",
        "- Not in it: slow machines waited for, congestion, validation, checkpoints. With gradient "
        "accumulation gradients are reduced",
        "  for every micro batch: all volumes are per micro batch.",
        "",
        "Efficiency is given as a range: nothing is sent while a GPU computes (worst), to everything that "
        "fits beside it (best).",
        "",
        "| size | rows a GPU | step, s (assumed) | layout | gathered, GB | reduced, GB |"
        + "".join(f" {gpus} GPUs |" for gpus in GPUS),
        "|---|---|---|---|---|---|" + "---|" * len(GPUS),
    ]
    for row in results["sizes"]:
        ranges = [f"{worst:.0%} - {best:.0%}" for worst, best in row["efficiency"].values()]
        cells = [row["size"], row["rows_per_gpu"], f"{row['step_seconds_assumed']:.2f}", f"fsdp {row['fsdp_devices']}"]
        cells += [f"{row['gathered_bytes'] / 1e9:.2f}", f"{row['reduced_bytes'] / 1e9:.2f}", *ranges]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    args = parser.parse_args()
    checked = {f"fsdp {fsdp}": compiled_elements(fsdp) for fsdp in (1, NODE)}
    with tempfile.TemporaryDirectory() as temporary:
        prepare([args.songs], Path(temporary) / "songs", PrepareConfig())
        dataset = Dataset(Path(temporary) / "songs")
        max_spans = TrainConfig(Path(), Path(), max_seq_len=SEQ_LEN).row_spans
        config = DataConfig(SEQ_LEN, max_spans, 1, MODEL_SIZES["large"].max_bars, seed=0, num_workers=0)
        with loader.loader(dataset, config, "train") as rows:
            batches = list(itertools.islice(rows, 8))
    sizes = []
    for (size, rows_per_gpu), fsdp in itertools.product(ROWS_PER_GPU.items(), (1, NODE)):
        model = MODEL_SIZES[size]
        per_token = flops.per_token(model, batches, max_spans)
        tokens = rows_per_gpu * float(np.mean([(batch.document > 0).sum() for batch in batches]))
        step_seconds = tokens * per_token / (MFU * PEAK)
        step = sent(model, fsdp)
        efficiency = {
            gpus: [round(value, 4) for value in efficiencies(model, step_seconds, fsdp, gpus)] for gpus in GPUS
        }
        sizes.append(
            {
                "size": size,
                "rows_per_gpu": rows_per_gpu,
                "fsdp_devices": fsdp,
                "flops_per_token": round(per_token),
                "step_seconds_assumed": round(step_seconds, 4),
                "gathered_bytes": step["gathered"],
                "reduced_bytes": step["reduced"],
                "efficiency": efficiency,
            }
        )
    assumed = {
        "mfu": MFU,
        "link_share": LINK_SHARE,
        "latency_seconds": LATENCY_SECONDS,
        "nvlink": NVLINK,
        "network": NETWORK,
        "peak": PEAK,
    }
    results = {"assumed_and_nominal": assumed, "elements_in_collectives": checked, "sizes": sizes}
    write_report("scaling", results, device="none: on paper")
    (RESULTS / "scaling.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
