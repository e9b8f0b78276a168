"""Attention on masks of real songs: first whether the kernels are right,
then how fast they are beside what else there is.

    python benchmarks/attention.py --rows rows.npz [--songs ../shared/data/midi]

Rows of songs are kept in --rows, so that a machine without a MIDI library can time what another one prepared
(`--prepare` stops there). On a Hopper GPU it times our kernels, FlexAttention compiled (bf16, and fp32 as v1.2.1 ran
it) on the same masks, and dense causal cuDNN. Anywhere else it runs small: the kernels in JAX's GPU interpreter,
timings of the portable implementations, and the report says that no GPU was used. Each part is a process of its own
with its share of --minutes: one that crashes, hangs or runs out of time costs only what it had not yet found. Writes
benchmarks/results/attention.json after every finding, at the end also attention.md (a table) and attention.png. The
exit status is 1 if anything failed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import stages
from report import RESULTS, write_report

# Part: its share of the time. What a part leaves goes to those behind it.
PARTS = {
    ("attention_check.py",): 0.3,
    ("attention_ours.py",): 0.25,
    ("attention_torch.py", "bf16"): 0.25,
    ("attention_torch.py", "fp32"): 0.2,
}
HERE = Path(__file__).resolve().parent
OURS, BOTH = "ours", "forward and backward"
# So many times faster than these, at 8192 tokens on an H200
GOALS = {"FlexAttention bf16": 3.0, "FlexAttention fp32": 8.0, "dense causal bf16": 1.5}
LAYERS = 16  # of the large model: it builds its masks once for all of them
SAME = 0.02  # relative difference of two outputs in bf16 (3e-3 each) of the same masks


# ---------------------------------------------------------------- parts


def run_parts(rows: Path, minutes: float) -> dict:
    """Runs them one after another and keeps the report up to date."""
    left, share_left = minutes * 60, sum(PARTS.values())
    with tempfile.TemporaryDirectory() as folder:
        findings = Path(folder) / "findings"
        findings.touch()
        ended = {}
        for part, share in PARTS.items():
            start = time.monotonic()
            script, *arguments = part
            ended[" ".join(part)] = stages.run(
                [sys.executable, str(HERE / script), str(rows), str(findings), *arguments],
                left * share / share_left,
                stages.environment(),
                meanwhile=Changes(findings, lambda: write(collect(findings, ended))).look,
            )
            left, share_left = left - (time.monotonic() - start), share_left - share
        return collect(findings, ended)


@dataclass
class Changes:
    """Calls `told` when something was added to the findings."""

    findings: Path
    told: Callable[[], object]
    size: int = 0

    def look(self) -> None:
        if self.findings.stat().st_size != self.size:
            self.size = self.findings.stat().st_size
            self.told()


def collect(findings: Path, ended: dict[str, str]) -> dict:
    results = {
        "note": "not run on a GPU: kernels interpreted, portable implementations timed small",
        "parts": dict(ended),
    } | stages.told(findings)
    if "gpu" in results:
        results["note"] = "timed on a Hopper GPU"
    results["failed"] = sorted(results.pop("failed", {}).values())
    results["failed"] += [f"{part}: {how}" for part, how in ended.items() if not how.startswith("done")]
    for rule, by_length in results.get("timings", {}).items():
        for length, case in by_length.items():
            compare_outputs(case, f"{rule} {length}", results["failed"])
    if "gpu" in results:  # elsewhere the ratios would compare what nobody trains with
        results["goals"] = goals(results)
    return results


def compare_outputs(case: dict, where: str, failed: list[str]) -> None:
    """Replaces samples of outputs by their relative difference to ours: the same masks, the same attention."""
    for call in ("summarize", "update"):
        samples = {name: found.pop("sample") for name, found in case.get(call, {}).items() if "sample" in found}
        mine = next((sample for name, sample in samples.items() if name.startswith(OURS)), None)
        for name, sample in samples.items():
            if mine is not None and name.startswith("FlexAttention"):
                apart = (sum((a - b) ** 2 for a, b in zip(mine, sample, strict=True)) / sum(a * a for a in mine)) ** 0.5
                case[call][name]["differs from ours"] = float(f"{apart:.2g}")
                if not apart <= SAME:
                    failed.append(f"{where} {call}: {name} and ours are {apart:.2g} apart")


# ---------------------------------------------------------------- goals


def goals(results: dict) -> dict[str, dict]:
    """Of the update call at 8192 tokens, by rule; what could not be timed is absent."""
    found = {}
    for rule, by_length in results.get("timings", {}).items():
        case, reached = by_length.get("8192", {}), {}
        update, ours = case.get("update", {}), case.get("update", {}).get(OURS, {})
        for name, goal in GOALS.items():
            if BOTH in ours and BOTH in update.get(name, {}):
                reached[f"times faster than {name}"] = at_least(update[name][BOTH] / ours[BOTH], goal)
        if "forward" in ours and "visited TFLOP" in case and "matrix product, TFLOP/s" in results:
            rate = case["visited TFLOP"] / ours["forward"] / results["matrix product, TFLOP/s"]
            reached["forward, share of the matrix rate on visited blocks"] = at_least(rate, 0.45)
        summarize = case.get("summarize", {}).get(OURS, {})
        if BOTH in ours and BOTH in summarize and OURS in case.get("mask building", {}):
            # A share of less than a step: the step is longer.
            share = case["mask building"][OURS] / (LAYERS * (ours[BOTH] + summarize[BOTH]))
            reached["mask building, share of a large step's attention alone"] = {
                "measured": round(share, 4),
                "goal": 0.02,
                "met": share < 0.02,
            }
        found[rule] = reached
    return found


def at_least(value: float, goal: float) -> dict:
    return {"measured": round(value, 3), "goal": goal, "met": value >= goal}


# ---------------------------------------------------------------- the report


def write(results: dict) -> Path:
    return write_report("attention", results, device=results.get("gpu"), show=False)


def table(results: dict) -> str:
    lines = [
        "| rule | tokens | call | implementation | forward, ms | forward and backward, ms |",
        "|---|---|---|---|---|---|",
    ]
    milliseconds = lambda seconds: "" if seconds is None else f"{seconds * 1e3:.3f}"
    for rule, by_length in results.get("timings", {}).items():
        for length, case in sorted(by_length.items(), key=lambda item: int(item[0])):
            for call in ("summarize", "update"):
                for name, found in case.get(call, {}).items():
                    times = f"{milliseconds(found.get('forward'))} | {milliseconds(found.get(BOTH))}"
                    lines.append(f"| {rule} | {length} | {call} | {name} | {times} |")
            for name, time_of_it in case.get("mask building", {}).items():
                lines.append(f"| {rule} | {length} | both masks | {name} | {milliseconds(time_of_it)} | |")
    return "\n".join(
        [
            f"{results.get('gpu', 'CPU')}: {results['note']}; {results.get('rows x heads', '?')} rows x heads.",
            "",
            *lines,
            "",
        ]
    )


def plot(results: dict, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    rules = sorted(results["timings"])
    for axes, rule in zip(figure.subplots(1, len(rules), sharey=True, squeeze=False)[0], rules, strict=True):
        by_length = {int(length): case.get("update", {}) for length, case in results["timings"][rule].items()}
        for name in sorted({name for case in by_length.values() for name in case}):
            which = BOTH if any(BOTH in case.get(name, {}) for case in by_length.values()) else "forward"
            points = [
                (n, case[name][which] * 1e3) for n, case in sorted(by_length.items()) if which in case.get(name, {})
            ]
            if points:
                axes.plot(*zip(*points, strict=True), "o-", label=f"{name}, {which}")
        axes.set(xscale="log", yscale="log", xlabel="tokens of a row", title=f"rule {rule}")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7)
    figure.axes[0].set_ylabel("update call, milliseconds")
    figure.suptitle(f"{results.get('gpu', 'a CPU')}: {results['note']}", fontsize=9)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="file of packed rows; made where it does not exist")
    parser.add_argument(
        "--songs", type=Path, help="folder of MIDI files to make it of (none: the built-in composer's songs)"
    )
    parser.add_argument("--prepare", action="store_true", help="make the rows of all lengths and stop")
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    args = parser.parse_args()
    make_rows = [sys.executable, HERE / "attention_rows.py", args.rows.resolve()]
    make_rows += [args.songs.resolve()] if args.songs else []
    if subprocess.run(make_rows, env=stages.environment()).returncode:
        raise SystemExit(1)  # it has said why
    if args.prepare:
        return
    results = run_parts(args.rows.resolve(), args.minutes)
    write(results)
    (RESULTS / "attention.md").write_text(table(results), encoding="utf-8")
    print(table(results), *results["failed"], sep="\n")
    print(json.dumps(results.get("goals", {}), indent=1))
    if results.get("timings"):
        plot(results, RESULTS / "attention.png")
    if results["failed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
