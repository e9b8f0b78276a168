"""The table of ablation.py: each variant beside the first one, seed by seed, in nats a token."""

import json
from pathlib import Path

import numpy as np
from report import write_report
from variants import VARIANTS

FIRST = "span"  # what the others are compared with
AS_SAMPLED, ALL, COUNT = range(3)  # of what a run says of a kind: nats with known chords as any, as themselves; targets


def table(work: Path) -> None:
    """Writes benchmarks/results/ablation.json and ablation.png from what the runs left in a folder."""
    runs: dict[str, dict[int, dict]] = {}
    for path in sorted(work.glob("*-[0-9]*.json")):
        name, _, seed = path.stem.rpartition("-")
        runs.setdefault(name, {})[int(seed)] = json.loads(path.read_text(encoding="utf-8"))
    first = runs[FIRST]
    found = {name: of_variant(name, seeds, first) for name, seeds in runs.items()}
    found = dict(sorted(found.items(), key=lambda item: item[1]["nats_a_token"]))
    results = {
        "training": first[min(first)]["training"],
        "tokens": first[min(first)]["tokens"],
        "spread_of_seeds": spread(runs),
        "variants": found,
    }
    path = write_report("ablation", results, show=False)
    for name, one in found.items():
        against = " ".join(f"{value:+.3f}" for value in one["against_span"])
        print(f"{name:34} {one['nats_a_token']:.3f}  {against:16} {one['mflops_a_token']:6.2f} MFLOP a token")
    draw(found, results["spread_of_seeds"], path.with_suffix(".png"))


def of_variant(name: str, seeds: dict[int, dict], first: dict[int, dict]) -> dict:
    some = seeds[min(seeds)]
    datasets = list(some["held_out"])
    by_kind = {
        kind: round(float(np.mean([nats(run, datasets, kind) for run in seeds.values()])), 4)
        for kind in some["held_out"][datasets[0]]
    }
    return {
        "about": VARIANTS[name].about,
        "seeds": len(seeds),
        "nats_a_token": by_kind["all"],
        "with_all_chords": round(float(np.mean([nats(run, datasets, "all", ALL) for run in seeds.values()])), 4),
        "against_span": [
            round(nats(run, datasets, "all") - nats(first[seed], datasets, "all"), 4)
            for seed, run in seeds.items()
            if seed in first
        ],
        "by_kind": by_kind,
        "by_dataset": {
            name: round(float(np.mean([nats(run, [name], "all") for run in seeds.values()])), 4) for name in datasets
        },
        "mflops_a_token": some["mflops_a_token"],
        "pairs_a_token": some["pairs_a_token"],
        "loss": {seed: run["loss"] for seed, run in seeds.items()},
    }


def nats(run: dict, datasets: list[str], kind: str, column: int = AS_SAMPLED) -> float:
    """A token of that kind, in the mean over datasets."""
    told = [run["held_out"][name][kind] for name in datasets if run["held_out"][name][kind][COUNT]]
    return float(np.mean([one[column] / one[COUNT] for one in told]))


def spread(runs: dict[str, dict[int, dict]]) -> float | None:
    """Standard deviation of a difference between two variants, by the seeds of all of them; None of one seed."""
    differences = []
    for name, seeds in runs.items():
        shared = [seed for seed in seeds if seed in runs[FIRST]]
        if name == FIRST or len(shared) < 2:
            continue
        datasets = list(seeds[shared[0]]["held_out"])
        each = [nats(seeds[seed], datasets, "all") - nats(runs[FIRST][seed], datasets, "all") for seed in shared]
        differences.append(np.var(each, ddof=1))
    return round(float(np.sqrt(np.mean(differences))), 4) if differences else None


def draw(found: dict, noise: float | None, path: Path) -> None:
    from matplotlib.figure import Figure

    names = [name for name in found if name != FIRST][::-1]
    figure = Figure(figsize=(9, 0.3 * len(names) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    if noise is not None:
        axes.axvspan(-2 * noise, 2 * noise, color="#dddddd", label="noise of seeds (two deviations)")
        axes.legend(loc="lower right")
    axes.axvline(0, color="#777777", linewidth=1)
    for row, name in enumerate(names):
        values = found[name]["against_span"]
        axes.plot(values, [row] * len(values), "o", color="#c0392b" if np.mean(values) > 0 else "#2471a3")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"nats a token more than {FIRST}, a point a seed (left is better)")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
