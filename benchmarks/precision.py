"""How near to the truth the two programs are, in bf16 and in fp32:
errors of logits and gradients against PyTorch in fp64, by depth and weights.

    PYTHONPATH=. python benchmarks/precision.py [--name precision]

On the CPU, of models of width 128 and a packed row of 256 tokens. bf16 means matrix products in bf16: PyTorch under
autocast, ours with precision "bf16". Logits: rms error, absolute. Gradients: rms error of each parameter's as a share
of its rms, the median and the largest of all weights, biases, norms and tables. Means over three draws of weights and
songs (of the largest: the largest). Writes benchmarks/results/NAME.json.
"""

import argparse
from dataclasses import replace

import numpy as np
import torch
from report import write_report

from configs import ModelConfig
from jax_impl.batch import pack_row, stack_rows
from parity_tests.precision import LOGITS, WEIGHTS, Problem, errors, jax_program, torch_values
from parity_tests.report import opening

DEPTHS, DRAWS = (4, 16, 24), 3
LENGTH, SLOTS = 256, 64
NARROW = ModelConfig(layers=4, width=128, ffn=352, max_bars=64, dropout=0.0)
Errors = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="precision", help="of the file")
    name = parser.parse_args().name
    torch.set_num_threads(2)
    results = {f"{layers} layers": of_depth(replace(NARROW, layers=layers)) for layers in DEPTHS}
    show(results)
    write_report(name, results, show=False)


def of_depth(config: ModelConfig) -> dict[str, dict]:
    """By weights, then by program."""
    programs = {
        "torch autocast": lambda problem: torch_values(problem, "bf16"),
        "ours bf16": jax_program(config, SLOTS, "bf16"),
        "torch fp32": lambda problem: torch_values(problem, "fp32"),
        "ours fp32": jax_program(config, SLOTS, "fp32"),
    }
    found = {}
    for weights, make in WEIGHTS.items():
        draws: dict[str, list[Errors]] = {name: [] for name in programs}
        for draw in range(DRAWS):
            batch = stack_rows([pack_row([opening(2 * draw + n, LENGTH // 2) for n in (1, 2)], LENGTH)])
            problem = Problem(config, make(config, draw), batch, SLOTS)
            truth = torch_values(problem, "fp64")
            size = float(np.sqrt(np.mean(truth[LOGITS] ** 2)))
            for name, program in programs.items():
                found_errors = errors(program(problem), truth)
                draws[name].append(found_errors | {LOGITS: found_errors[LOGITS] * size})
        found[weights] = {name: summary(of_program) for name, of_program in draws.items()}
    return found


def summary(draws: list[Errors]) -> dict:
    """Of one program."""
    table: dict = {"logits": rounded(np.sqrt(np.mean([draw[LOGITS] ** 2 for draw in draws])))}
    for kind in ("weights", "biases", "norms", "tables"):
        of_kind = [[value for name, value in draw.items() if kind_of(name) == kind] for draw in draws]
        table[kind] = {
            "median": rounded(np.mean([np.median(one) for one in of_kind])),
            "largest": rounded(np.max([np.max(one) for one in of_kind])),
        }
    return table


def kind_of(name: str) -> str:
    if name == LOGITS:
        return LOGITS
    if "norm" in name:
        return "norms"
    if "embedding" in name:
        return "tables"
    return "biases" if name.endswith("bias") else "weights"


def rounded(value: float) -> float:
    return float(f"{value:.2g}")


def show(results: dict) -> None:
    kinds = ("weights", "biases", "norms", "tables")
    print(f"{'':42}{'logits':>9}" + "".join(f"{kind:>20}" for kind in kinds))
    for depth, by_weights in results.items():
        for weights, programs in by_weights.items():
            for program, table in programs.items():
                cells = (f"{table[kind]['median']:.1e} / {table[kind]['largest']:.1e}" for kind in kinds)
                title = f"{depth}, {weights}, {program}"
                print(f"{title:42}{table['logits']:9.1e}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
