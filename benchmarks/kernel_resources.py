"""What the attention kernels take of a Hopper processor, compiled for an H800 that is not there:
registers, spills, shared memory.

    python benchmarks/kernel_resources.py [--disassembler FOLDER]

Needs the CUDA plugin of XLA, which `./hid test` installs, and no GPU. FOLDER/bin holds nvdisasm of NVIDIA (the package
triton has one in backends/nvidia): with it, the instructions of a step of each loop are counted too. Writes
benchmarks/results/kernel_resources.json and prints a table.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from report import write_report

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.attention import hopper_target

NAMES = ("tiny", "small", "large")
SHARED_BYTES, REGISTERS, THREADS = 227 * 1024, 65536, 3 * 128
SHOWN = ("all", "HGMMA", "MUFU", "FFMA", "FMUL", "FADD", "FMNMX", "F2FP", "LOP3", "SEL", "FSEL", "LDS", "FENCE", "BAR")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disassembler", type=Path, help="folder with bin/nvdisasm in it")
    args = parser.parse_args()
    cases = [f"{name} {dtype}" for dtype in ("bfloat16", "float32") for name in NAMES]
    environment = hopper_target.environment()
    if args.disassembler:
        root = str(args.disassembler.resolve())
        environment |= {"MOSAIC_GPU_DUMP_SASS": "1", "CUDA_ROOT": root, "MOSAIC_GPU_CUDA_ROOT": root}
    run = subprocess.run(
        [sys.executable, hopper_target.__file__, *cases],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    kernels, steps = {}, {}
    for result in map(json.loads, run.stdout.splitlines()):
        for report in result["kernels"]:
            (registers,), (shared,) = report["registers_at_entry"], report["shared_bytes"]
            of_registers, of_shared = REGISTERS // (registers * THREADS), SHARED_BYTES // shared
            kernels.setdefault(report["kernel"], {})[result["case"]] = {
                "registers a thread at entry": registers,
                "spilled bytes": report["spill_bytes"],
                "shared bytes": shared,
                "share of shared memory": round(shared / SHARED_BYTES, 2),
                "programs a processor": min(of_registers, of_shared),
                "named barriers": report["named_barriers"],
            }
            if report["steps"] and result["case"].startswith("large"):
                dtype = result["case"].split()[1]
                for loop, counts in zip(("full", "in part"), report["steps"], strict=True):
                    steps[f"{report['kernel']} {dtype}, blocks {loop}"] = {name: counts.get(name, 0) for name in SHOWN}
    results = {"note": "compiled for an H800, not run on a GPU", "kernels": kernels}
    if steps:
        results["instructions of a step, a warp"] = steps
    write_report("kernel_resources", results, show=False)
    for kernel, by_case in kernels.items():
        for case, found in by_case.items():
            print(f"{kernel:22} {case:16}", ", ".join(f"{name} {value}" for name, value in found.items()))
    for loop, counts in steps.items():
        print(f"{loop:46}", " ".join(f"{name} {count}" for name, count in counts.items() if count))


if __name__ == "__main__":
    main()
