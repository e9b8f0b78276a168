"""How fast one optimizer step is: packed rows of real (or composed) songs, the training step itself, dropout on.

    python benchmarks/train_step.py --model-size small --batch-size 1 --max-seq-len 1024 --songs ../shared/data/midi

Compiles, warms up with two steps, then takes the median of the others. Writes benchmarks/results/train_step.json.
"""

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import jax
from report import write_report

from configs import MODEL_SIZES, ComputeConfig, DataConfig, PrepareConfig, TrainConfig
from jax_impl import data, device
from jax_impl.optimizer import learning_rate, optimizer
from jax_impl.step import abstract_model, initial_state, train_step
from jax_impl.train import stack
from tokenizer.dataset import Dataset
from tokenizer.prepare import prepare


def measure(config: TrainConfig, compute: ComputeConfig, dataset: Dataset, steps: int) -> dict:
    """Seconds to compile and of a step, and tokens a second: all positions, and real ones."""
    model = MODEL_SIZES[config.model_size]
    data_config = DataConfig(config.max_seq_len, config.row_spans, config.batch_size, model.max_bars, config.seed, num_workers=0)
    with data.loader(dataset, data_config, "train") as rows:
        batches = [stack([batch]) for batch in itertools.islice(rows, steps)]
    graph, _ = abstract_model(model)
    rate = functools.partial(learning_rate, config=config, total_steps=1000)
    tx = optimizer(config, rate)
    state = jax.jit(functools.partial(initial_state, model, tx, config.seed))()
    step_fn = functools.partial(train_step, graph=graph, tx=tx, rate=rate, seed=config.seed, max_spans=config.row_spans, compute=compute)
    start = time.perf_counter()
    compiled = jax.jit(step_fn, donate_argnames="state").lower(state, batches[0]).compile()
    compile_seconds = time.perf_counter() - start
    seconds, loss = [], 0.0
    for batch in batches:
        start = time.perf_counter()
        state, measured = compiled(state, batch)
        loss = float(measured.loss)  # waits for the step
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds[2:])
    real = statistics.mean(float((batch.document > 0).sum()) for batch in batches)
    return {
        "compile_seconds": round(compile_seconds, 1),
        "step_seconds": round(median, 4),
        "tokens_per_second": round(config.batch_size * config.max_seq_len / median),
        "real_tokens_per_second": round(real / median),
        "last_loss": round(loss, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-size", choices=list(MODEL_SIZES), default="small")
    parser.add_argument("--batch-size", type=int, default=1, help="rows")
    parser.add_argument("--max-seq-len", type=int, default=1024, help="tokens of a row")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        prepare([args.songs], Path(temporary) / "songs", PrepareConfig())
        dataset = Dataset(Path(temporary) / "songs")
        config = TrainConfig(
            data_dir=dataset.folder,
            output_dir=Path(temporary),
            model_size=args.model_size,
            batch_size=args.batch_size,
            max_seq_len=args.max_seq_len,
        )
        compute = device.compute_config(config)
        results = {"model_size": args.model_size, "batch": f"{args.batch_size} x {args.max_seq_len}", "compute": vars(compute)}
        write_report("train_step", results | measure(config, compute, dataset, args.steps), device=device.describe(compute))


if __name__ == "__main__":
    main()
