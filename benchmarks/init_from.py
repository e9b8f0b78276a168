"""What the loss does when a model of v1.2.1's rule goes on under the causal one: import-torch, then train --init-from.

    PYTHONPATH=. python benchmarks/init_from.py

A model of size tiny is trained under rule v121 on composed songs, goes through a PyTorch file as a checkpoint of v1.2.1
does, and is trained on under rule span; beside it one that starts from nothing, with the same flags. Losses are of the
validation songs, in nats per token; "v121" is not causal, so its own loss counts less than it seems. Takes about two
minutes on two idle cores. Writes benchmarks/results/init_from.json.
"""

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
from flax import nnx
from report import write_report

from configs import MASK_RULES, DataConfig, PrepareConfig, TrainConfig
from jax_impl.device import device
from jax_impl.training import metrics, train
from jax_impl.training.checkpoint import load_model
from jax_impl.training.step import validation_step
from parity_tests.convert import export_torch, import_torch
from tokenizer.dataset.prepare import prepare
from tokenizer.dataset.songs import Dataset
from tokenizer.music import midi
from tokenizer.music.composer import compose

SONGS, FIRST_STEPS, STEPS = 60, 150, 75


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "midi").mkdir()
        for seed in range(SONGS):
            midi.write(compose(seed), work / "midi" / f"{seed}.mid")
        prepare([work / "midi"], work / "songs", PrepareConfig())
        flags = functools.partial(
            TrainConfig, work / "songs", model_size="tiny", max_seq_len=512, batch_size=2, learning_rate=2e-3
        )
        flags = functools.partial(
            flags, warmup_steps=20, dropout=0.0, remat="none", num_workers=0, validate_every=25, checkpoint_every=100
        )
        run(flags(output_dir=work / "v121", mask_rule="v121", steps=FIRST_STEPS))
        export_torch(work / "v121", work / "best.pt")
        import_torch(work / "best.pt", work / "imported", "v121")
        continued = flags(output_dir=work / "continued", init_from=work / "imported", steps=STEPS)
        at_first = {rule: loss_of(work / "imported", rule, continued) for rule in MASK_RULES}
        results = {
            "steps under v121": FIRST_STEPS,
            "imported, rule v121": round(at_first["v121"], 3),
            "imported, rule span, untrained": round(at_first["span"], 3),
            "continued under span, by step": run(continued),
            "from nothing under span, by step": run(flags(output_dir=work / "scratch", steps=STEPS)),
        }
    write_report("init_from", results)


def run(config: TrainConfig) -> dict[int, float]:
    """Validation losses by step."""
    train.train(config)
    lines = metrics.read(config.output_dir / metrics.FILE)
    return {line["step"]: round(line["loss"], 3) for line in lines if line["kind"] == "validation"}


def loss_of(run_dir: Path, rule: str, config: TrainConfig) -> float:
    """Validation loss of a run's weights under a rule."""
    model, _ = load_model(run_dir, "best")
    model.config = replace(model.config, mask_rule=MASK_RULES[rule])
    graph, parameters = nnx.split(model)
    dataset = Dataset(config.data_dir)
    batches = train.validation_batches(config, dataset, data_config(config, model.config.max_bars))
    step = functools.partial(
        validation_step,
        graph=graph,
        max_spans=config.row_spans,
        chord_targets=config.as_new().chord_targets,
        compute=device.compute_config(config),
    )
    return train.mean_losses(jax.jit(step), parameters, batches, batches)[0]


def data_config(config: TrainConfig, max_bars: int) -> DataConfig:
    return DataConfig(
        config.max_seq_len, config.row_spans, config.batch_size, max_bars, config.seed, config.num_workers
    )


if __name__ == "__main__":
    main()
