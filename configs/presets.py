"""Runs by name, as Python: train(presets.headline(data_dir, output_dir)).
Each says on what machine it runs and what to expect.
"""

from pathlib import Path

from configs.data import PrepareConfig
from configs.sample import Constraints, SampleConfig
from configs.train import TrainConfig

DEMO_SONG = Constraints(instruments="drums,bass,piano,strings", bars=16)  # a new one
DEMO_GIVEN = 16  # the composer's song of this number, where no MIDI is given
DEMO_KEPT, DEMO_BARS = 8, 16  # bars of the given song that are kept, and of the song that it becomes
DEMO_ANEW = 5, 8  # first and last bar that is written anew
DEMO_BAND = "drums,bass"  # with a melody of DEMO_BARS bars
DEMO_SONGS = 200  # written by the composer where `demo --train` is given no MIDI
DEMO_SAMPLE = SampleConfig(temperature=0.9, top_p=0.95, max_length=2048)

FINETUNE_SONGS = PrepareConfig(validation_fraction=0.15, duplicates="transposed")
FINETUNE_HELD_OUT = 0.1  # of the songs at least
FINETUNE_EPOCHS = 40  # at most: by then songs are known by heart
FINETUNE_SHARE = 0.85  # of the time is for training; the rest goes to validation
FINETUNE_PATIENCE = 3  # validations in a row without a lower loss
FINETUNE_MORE_KNOWN = 0.1  # of the bars of its songs, beyond what songs held out and songs of the start have


def demo(data_dir: Path, output_dir: Path) -> TrainConfig:
    """What `hid-museformer demo --train` trains: 0.26 M tokens on two CPU cores in about a minute and a half. Short
    rows learn more in that time.
    """
    return TrainConfig(
        data_dir,
        output_dir,
        model_size="tiny",
        max_seq_len=512,
        max_spans=64,
        batch_size=1,
        steps=600,
        learning_rate=8e-3,
        schedule="wsd",
        warmup_steps=50,
        decay_steps=250,
        final_learning_rate=0.0,
        dropout=0.0,
        num_workers=0,
        log_every=20,
        validate_every=150,
        checkpoint_every=300,
    )


def laptop(data_dir: Path, output_dir: Path) -> TrainConfig:
    """Tiny on two CPU cores: 2000 steps of 2048 tokens, 4.1 M, in about 20 minutes. The rate is the best of 2e-3, 4e-3,
    8e-3 and 1.6e-2 with Muon (benchmarks/ablation.py).
    """
    return TrainConfig(
        data_dir,
        output_dir,
        model_size="tiny",
        max_seq_len=2048,
        batch_size=1,
        steps=2000,
        learning_rate=8e-3,
        warmup_steps=50,
        dropout=0.0,
        augment=True,
    )


def shipped(data_dir: Path, output_dir: Path, steps: int, init_from: Path | None = None, seed: int = 0) -> TrainConfig:
    """The model in the package: tiny on two CPU cores, a row of 2048 tokens each, a second a step. All orders and
    hidden bars are shown; the last two fifths are decay. init_from: weights that ended their decay, to be trained on;
    with another seed songs come in another order, keys and crops.
    """
    return TrainConfig(
        data_dir,
        output_dir,
        model_size="tiny",
        init_from=init_from,
        optimizer="muon",
        seed=seed,
        max_seq_len=2048,
        batch_size=2,
        steps=steps,
        learning_rate=8e-3,
        schedule="wsd",
        warmup_steps=100,
        decay_steps=steps * 2 // 5,
        final_learning_rate=0.0,
        chord_weight=5.0,
        dropout=0.0,
        augment=True,
        reorder=0.3,
        fill=0.3,
        data_devices=2,
        num_workers=0,
        log_every=20,
        validate_every=500,
        checkpoint_every=500,
    )


def finetune(data_dir: Path, output_dir: Path, init_from: Path, steps: int, max_seq_len: int, seed: int) -> TrainConfig:
    """What `hid-museformer finetune` trains. All orders and hidden bars go on being shown, so that it can still play
    along and fill.
    """
    return TrainConfig(
        data_dir,
        output_dir,
        init_from=init_from,
        max_seq_len=max_seq_len,
        batch_size=1,
        steps=steps,
        learning_rate=3e-4,
        warmup_steps=min(20, steps // 4),
        dropout=0.0,
        augment=True,
        reorder=0.3,
        fill=0.3,
        seed=seed,
        num_workers=0,
        log_every=10,
        validate_every=max(steps // 10, 1),
        checkpoint_every=max(steps // 10, 1),
        keep_last=1,
    )


def headline(data_dir: Path, output_dir: Path) -> TrainConfig:
    """The run that v1.2.1 was known for: large at 8192 tokens, 48 rows a step, on one 80 GB GPU."""
    return TrainConfig(
        data_dir,
        output_dir,
        model_size="large",
        max_seq_len=8192,
        batch_size=4,
        gradient_accumulation_steps=12,
        warmup_steps=1000,
    )
