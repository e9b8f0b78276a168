"""What tuning came to: the model before and after it, beside the songs that it was tuned to."""

from configs import EvaluateConfig
from jax_impl.evaluation import comparison, copies, losses, samples
from jax_impl.evaluation.evaluate import first_bars
from jax_impl.evaluation.report import label, number
from jax_impl.training.checkpoint import load_model
from jax_impl.training.found import Found
from tokenizer.dataset.songs import Dataset
from tokenizer.tokens import fields

BARS, SONGS = 16, 8  # written by each model, in which features are counted
MOST_SONGS = 64  # of the user's, likewise
MOST_FEATURES = 8  # that the table shows
SIDES = ("before", "after", "yours")


def report(start: Found, tuned: Found, dataset: Dataset, seed: int) -> dict:
    """As JSON values: {"songs", "held_out", "losses", "features", "bars_known"}, the first two numbers of songs. Of the
    losses' kinds, of the features and of the bars that songs of the dataset have too: {"before", "after", "yours"}, of
    the models and of the dataset's songs, None where there is none. Losses are nats a token of the songs held out.
    """
    config = EvaluateConfig(samples=SONGS, bars=BARS, seed=seed)
    models = {"before": start, "after": tuned}
    written = {side: [fields.compute(song.ids) for song in samples.sample(of, config)] for side, of in models.items()}
    held_out, yours = list(dataset["validation"]), [*dataset["train"], *dataset["validation"]]
    yours = [first_bars(song, BARS) for song in yours[:: -(-len(yours) // MOST_SONGS)]]
    compared = {side: comparison.compare(songs, yours, seed, BARS)["features"] for side, songs in written.items()}
    index = copies.open_index(dataset)
    known = {side: copies.compare(songs, held_out, index) for side, songs in written.items()}
    lost = {side: _losses(of, tuned, dataset) if held_out else {} for side, of in models.items()}
    return {
        "songs": len(dataset["train"]) + len(held_out),
        "held_out": len(held_out),
        "losses": {kind: {side: lost[side][kind] for side in models} | {"yours": None} for kind in lost["before"]},
        "features": {
            name: {side: compared[side][name]["samples"]["mean"] for side in models} | {"yours": of["real"]["mean"]}
            for name, of in compared["before"].items()
        },
        "bars_known": {side: of["of_samples"]["bars_known"]["mean"] for side, of in known.items()}
        | {"yours": known["after"]["held_out"]["bars_known"]["mean"]},
    }


def _losses(of: Found, tuned: Found, dataset: Dataset) -> dict[str, float]:
    """Nats a token, of all and by kind, in the rows that the tuned model is validated with."""
    model, _ = load_model(of.run_dir, of.record.step)
    found = losses.losses((model, tuned.record), dataset=dataset)
    return {"all": found.nats_per_token_as_sampled} | {
        kind: group["as_sampled"] for kind, group in found.by_kind.items()
    }


def text(report: dict) -> str:
    """What it came to in a sentence, and the table: losses, copies, and the features in which the model was furthest
    from the songs.
    """
    rows = [(f"nats a token, {kind}", values) for kind, values in report["losses"].items()]
    rows.append(("bars known from your songs (yours: held out)", report["bars_known"]))
    features = sorted(report["features"].items(), key=lambda one: -_apart(one[1]))
    rows += [(label(name), values) for name, values in features[:MOST_FEATURES]]
    width = max(len(name) for name, _ in rows)
    lines = [*_verdict(report), " " * width + "".join(f"{side:>10}" for side in SIDES)]
    lines += [name.ljust(width) + "".join(f"{_said(values[side]):>10}" for side in SIDES) for name, values in rows]
    return "\n".join(lines)


def _verdict(report: dict) -> list[str]:
    lines = [
        f"Held out: {report['held_out']} of {report['songs']} songs. Losses are of these, and lower is better. Of what",
        f"is counted in {SONGS} songs that each model wrote, nearer to yours is better; small differences say nothing.",
    ]
    if not report["losses"]:
        return lines
    now, before = (report["losses"]["all"][side] for side in ("after", "before"))
    if now < before:
        return [f"The songs held out became easier for it, by {before - now:.2f} nats a token.", *lines]
    return ["The songs held out became no easier for it: tuning did not help; more songs may.", *lines]


def _said(value: float | None) -> str:
    return "" if value is None else number(value)


def _apart(values: dict) -> float:
    """How far the model was from the songs, of what it was."""
    if values["before"] is None or values["yours"] is None:
        return 0.0
    return abs(values["before"] - values["yours"]) / max(abs(values["before"]), abs(values["yours"]), 1e-9)
