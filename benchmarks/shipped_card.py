"""What the card of the model that comes with the program says: its learning curve, its losses on songs held out of each
collection beside guesses, and its songs beside theirs.

    PYTHONPATH=.:benchmarks python benchmarks/shipped_card.py FOLDER --samples 64 [--first CARD]

FOLDER: as shipped_model.py left it. --first: the card of the weights that it trained on, here
results/shipped_first.json; its curve goes before. Writes results/shipped.json, shipped_curve.png and
shipped_evaluation.png.
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
from report import RESULTS, write_report
from shipped_model import CORPORA, MIXTURE, RUN

from configs import EvaluateConfig
from jax_impl import shipped
from jax_impl.evaluation import picture
from jax_impl.evaluation.evaluate import evaluate
from jax_impl.evaluation.losses import losses
from jax_impl.training import metrics
from jax_impl.training.found import find
from tokenizer.dataset.songs import Dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--bars", type=int, default=16)
    parser.add_argument("--first", type=Path)
    arguments = parser.parse_args()
    record = find(shipped.MODEL, "best").record
    first = json.loads(arguments.first.read_text(encoding="utf-8"))["results"]["curve"] if arguments.first else []
    curve = first + learning_curve(arguments.work / RUN / metrics.FILE, record.step, first)
    config = EvaluateConfig(samples=arguments.samples, bars=arguments.bars)
    found = evaluate(shipped.MODEL, dataset=arguments.work / MIXTURE, config=config)
    found |= {"run": "the model that comes with the program", "dataset": MIXTURE, "is_own_dataset": True}
    picture.draw(found, RESULTS / "shipped_evaluation.png")
    draw(curve)
    results = {
        "step": record.step,
        "megabytes": round(shipped.MODEL.stat().st_size / 1e6, 1),
        "train": {name: value for name, value in record.train.items() if value is not None},
        "curve": curve,
        "held_out": {name: of_corpus(arguments.work / name) for name in CORPORA},
        "songs": found["samples"],
        "features": found["features"]["features"],
        "similarity": {name: found["features"]["similarity"][name] for name in ("error", "floor")},
        "copies": {side: found["copies"][side] for side in ("of_samples", "held_out")},
    }
    write_report("shipped", results, show=False)


def learning_curve(path: Path, last: int, first: list[dict]) -> list[dict]:
    """At each validation up to a step: tokens read and the loss; seconds are those of the machine at work. All counted
    from the end of the curve before.
    """
    start = first[-1] if first else {"step": 0, "tokens": 0, "seconds": 0}
    tokens, seconds, before, curve = start["tokens"], start["seconds"], 0.0, []
    for line in metrics.read(path):
        if line["step"] > last:
            break
        if line["kind"] == "train":
            tokens = start["tokens"] + line["tokens"]
            seconds += line["seconds"] - before if line["seconds"] > before else line["seconds"]
            before = line["seconds"]
        else:
            kinds = {name: round(value, 3) for name, value in line.get("by_kind", {}).items()}
            curve.append(
                {"step": start["step"] + line["step"], "tokens": tokens}
                | {"seconds": round(seconds), "loss": round(line["loss"], 4)}
                | {"by_kind": kinds}
            )
    return curve


def of_corpus(folder: Path) -> dict:
    dataset = Dataset(folder)
    found = losses(shipped.MODEL, dataset=dataset)
    return {
        "songs": {split: len(dataset[split]) for split in ("train", "validation")},
        "nats_per_token": found.nats_per_token_as_sampled,
        "bits_per_note": found.bits_per_note,
        "unigram": found.unigram["nats_per_token_as_sampled"],
        "bigram": found.bigram["nats_per_token_as_sampled"],
        "by_kind": {name: kind["as_sampled"] for name, kind in found.by_kind.items()},
    }


def draw(curve: list[dict]) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.5), layout="constrained")
    millions = [point["tokens"] / 1e6 for point in curve]
    axes.plot(millions, [point["loss"] for point in curve], linewidth=2, label="all")
    for kind in curve[-1]["by_kind"]:
        axes.plot(millions, [point["by_kind"].get(kind) for point in curve], linewidth=0.8, label=kind)
    axes.set(xlabel="million tokens", ylabel="nats a token, songs held out", ylim=(0, None))
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    axes.grid(alpha=0.3)
    figure.savefig(RESULTS / "shipped_curve.png", dpi=150)


if __name__ == "__main__":
    main()
