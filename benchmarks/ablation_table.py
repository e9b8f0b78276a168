"""The table of ablation.py: each variant beside one of them, seed by seed, in nats a token."""

import json
from pathlib import Path

import numpy as np
from report import write_report
from variants import VARIANTS

AS_SAMPLED, ALL, COUNT = range(3)  # of what a run says of a kind: nats with known chords as any, as themselves; targets


def table(work: Path, against: str, name: str) -> None:
    """Writes benchmarks/results/NAME.json and NAME.png from what the runs left in a folder. against: the variant that
    the others are compared with.
    """
    runs: dict[str, dict[int, dict]] = {}
    for path in sorted(work.glob("*-[0-9]*.json")):
        variant, _, seed = path.stem.rpartition("-")
        runs.setdefault(variant, {})[int(seed)] = json.loads(path.read_text(encoding="utf-8"))
    first = runs[against]
    found = {variant: of_variant(variant, seeds, first) for variant, seeds in runs.items()}
    found = dict(sorted(found.items(), key=lambda item: item[1]["nats_a_token"]))
    results = {
        "training": first[min(first)]["training"],
        "tokens": first[min(first)]["tokens"],
        "against": against,
        "spread_of_seeds": spread(runs, against),
        "variants": found,
    }
    path = write_report(name, results, show=False)
    for variant, one in found.items():
        differences = " ".join(f"{value:+.3f}" for value in one["differences"])
        print(f"{variant:34} {one['nats_a_token']:.3f}  {differences:16} {one['mflops_a_token']:6.2f} MFLOP a token")
    draw(found, results["spread_of_seeds"], against, path.with_suffix(".png"))


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
        "differences": [
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


def spread(runs: dict[str, dict[int, dict]], against: str) -> float | None:
    """Standard deviation of a difference between two variants, by the seeds of all of them; None of one seed."""
    differences = []
    for name, seeds in runs.items():
        shared = [seed for seed in seeds if seed in runs[against]]
        if name == against or len(shared) < 2:
            continue
        datasets = list(seeds[shared[0]]["held_out"])
        each = [nats(seeds[seed], datasets, "all") - nats(runs[against][seed], datasets, "all") for seed in shared]
        differences.append(np.var(each, ddof=1))
    return round(float(np.sqrt(np.mean(differences))), 4) if differences else None


def draw(found: dict, noise: float | None, against: str, path: Path) -> None:
    from matplotlib.figure import Figure

    names = [name for name in found if name != against][::-1]
    figure = Figure(figsize=(9, 0.3 * len(names) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    if noise is not None:
        axes.axvspan(-2 * noise, 2 * noise, color="#dddddd", label="noise of seeds (two deviations)")
        axes.legend(loc="best")
    axes.axvline(0, color="#777777", linewidth=1)
    for row, name in enumerate(names):
        values = found[name]["differences"]
        axes.plot(values, [row] * len(values), "o", color="#c0392b" if np.mean(values) > 0 else "#2471a3")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"nats a token more than {against}, a point a seed (left is better)")
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=110)
