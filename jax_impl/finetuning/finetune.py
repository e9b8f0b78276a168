"""A trained model tuned to a handful of songs: prepared, split, trained on for as long as it helps, and shown.

    OUTPUT_DIR/songs/             the dataset
               finetune/          split.json, plan.json: what was chosen, once; report.json: what it came to
               checkpoints/ ...   the run
               samples/           three songs of the tuned model

The same command again goes on where it stopped: every part of it does.
"""

import contextlib
import io
import json
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs import (
    Constraints,
    FinetuneConfig,
    InputError,
    ModelConfig,
    SampleConfig,
    TrainConfig,
    presets,
)
from jax_impl.finetuning import songs, table
from jax_impl.finetuning.watch import Watcher
from jax_impl.loading import loader
from jax_impl.sampling import compose, outputs
from jax_impl.training import metrics
from jax_impl.training.found import Found, find
from jax_impl.training.train import rows_of, train
from tokenizer import vocabulary as vocab
from tokenizer.dataset.prepare import AnotherDataset
from tokenizer.dataset.songs import Dataset
from tokenizer.disk.atomic import WriteError, write_json
from tokenizer.disk.lock import only_writer

SONGS, SAMPLES, FOLDER = "songs", "samples", "finetune"
SPLIT, PLAN, REPORT = "split.json", "plan.json", "report.json"
NEW_SONGS = 3
PROBE = 12  # steps by which the machine's speed is measured


@dataclass(frozen=True)
class Plan:
    """What was chosen when it began. checksum: of the weights that it begins with. songs: fingerprint of the dataset.
    ended: why training is over, "" before.
    """

    checksum: str
    songs: str
    minutes: float
    seed: int
    steps: int
    tokens_per_second: float
    ended: str = ""


def finetune(midi_dirs: Sequence[Path], config: FinetuneConfig) -> int:
    """Returns the exit status. Raises InputError."""
    start, out = find(config.init_from, "best"), config.output_dir
    model = start.record.model_config
    if model.vocab_size != vocab.SIZE or model.mask_rule.scope != "span":
        raise InputError(
            f"--init-from {config.init_from}: has the tokens or the rule of v1.2.1; `train --init-from` makes a model "
            "of it that can be tuned"
        )
    if missing := [path for path in midi_dirs if not path.exists()]:
        raise InputError(f"{missing[0]}: no such file or folder")
    if not (out / FOLDER).is_dir() and out.is_dir() and any(out.iterdir()):
        raise InputError(f"--output-dir {out}: holds files, and none of `finetune`; name another folder")
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"--output-dir {out}", error) from error
    with only_writer(out / FOLDER):
        try:
            dataset = songs.prepared(midi_dirs, out / SONGS, out / FOLDER / SPLIT)
        except AnotherDataset as error:
            raise InputError(
                f"--output-dir {out}: was begun with other songs, or they were changed since; name another folder"
            ) from error
        if not len(dataset["validation"]):
            print("notice: one song alone, so none is held out, and nothing says when the model has learned enough")
        return _tune(start, dataset, config)


def _tune(start: Found, dataset: Dataset, config: FinetuneConfig) -> int:
    place = config.output_dir / FOLDER / PLAN
    plan = _plan_of(place, start, dataset, config)
    settings = _settings(start, config, plan.steps)
    if not plan.ended:
        print("the model as it is writes some songs, to be told by when it copies yours")
        watcher = Watcher(start, dataset, settings)
        result = train(settings, watch=watcher)
        if result.signal:
            return 128 + result.signal
        plan = replace(plan, ended=result.ended or f"all {plan.steps} steps are done")
        write_json(place, vars(plan), indent=1)
    print(f"training is over: {plan.ended}", flush=True)
    print(table.text(_report(start, dataset, config)))
    sampler = SampleConfig(num_samples=NEW_SONGS, seed=config.seed)
    request = compose.Request(config.output_dir, sampler, Constraints(bars=table.BARS))
    compose.write_songs(request, config.output_dir / SAMPLES, outputs.Formats(True, None), overwrite=False)
    print(f"another one: hid-museformer generate {shlex.quote(str(config.output_dir))} -o another.mid --seed 1")
    return 0


def _report(start: Found, dataset: Dataset, config: FinetuneConfig) -> dict:
    """That of an earlier call, or a new one."""
    place = config.output_dir / FOLDER / REPORT
    with contextlib.suppress(OSError, ValueError):
        return json.loads(place.read_text(encoding="utf-8"))
    print(f"both models write {table.SONGS} songs to be compared", flush=True)
    report = table.report(start, find(config.output_dir, "best"), dataset, config.seed)
    write_json(place, report, indent=1)
    return report


def _plan_of(place: Path, start: Found, dataset: Dataset, config: FinetuneConfig) -> Plan:
    """That of an earlier call, or a new one. Raises InputError where that one was of something else."""
    asked: dict[str, Any] = {
        "checksum": str(start.record.checksums.get("parameters", "")),
        "songs": dataset.fingerprint,
        "minutes": config.minutes,
        "seed": config.seed,
    }
    if place.exists():
        try:
            plan = Plan(**json.loads(place.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{place}: cannot be read ({error}); name another --output-dir") from error
        begun = {
            "checksum": "another --init-from",
            "songs": "other songs",
            "minutes": f"--minutes {plan.minutes:g}",
            "seed": f"--seed {plan.seed}",
        }
        if other := [begun[name] for name, value in asked.items() if getattr(plan, name) != value]:
            raise InputError(
                f"--output-dir {config.output_dir}: was begun with {' and '.join(other)}; give the same again, or name "
                f"another folder (to go on from what it came to: --init-from {shlex.quote(str(config.output_dir))})"
            )
        return plan
    settings = _settings(start, config, steps=1)
    speed = tokens_per_second(settings)
    steps = steps_for(settings, dataset, start.record.model_config, config.minutes, speed)
    plan = Plan(**asked, steps=steps, tokens_per_second=speed)
    write_json(place, vars(plan), indent=1)
    return plan


def _settings(start: Found, config: FinetuneConfig, steps: int) -> TrainConfig:
    context = start.record.train.get("max_seq_len", TrainConfig.max_seq_len)
    data_dir = config.output_dir / SONGS
    return presets.finetune(data_dir, config.output_dir, start.run_dir, steps, context, config.seed)


def steps_for(settings: TrainConfig, dataset: Dataset, model: ModelConfig, minutes: float, speed: float) -> int:
    """What the time allows, FINETUNE_EPOCHS of the songs at most. speed: tokens a second."""
    rows = loader.rows_per_epoch(dataset, rows_of(settings, model), "train")
    of_songs = presets.FINETUNE_EPOCHS * rows // settings.batch_size
    in_time = int(60 * minutes * presets.FINETUNE_SHARE * speed) // settings.step_tokens
    return max(min(of_songs, in_time), PROBE)


def tokens_per_second(settings: TrainConfig) -> float:
    """By some steps of a run that is thrown away."""
    print("measuring how fast this machine trains")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        pace = dict(log_every=PROBE // 2, validate_every=PROBE, checkpoint_every=2 * PROBE, validation_batches=1)
        train(replace(settings, output_dir=Path(folder), steps=2 * PROBE, **pace), watch=lambda *_: "measured")
        lines = metrics.read(Path(folder) / metrics.FILE)
    return float([line["tokens_per_second"] for line in lines if line["kind"] == "train"][-1])
