"""How a model is trained; the field names are the flags of `hid-museformer train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from configs.model import ModelSize

Precision = Literal["auto", "fp32", "bf16"]
AttentionChoice = Literal["auto", "reference", "xla"]
Remat = Literal["none", "layer"]


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Every field is a flag.

    data_dir: a dataset made by `prepare`. output_dir: where checkpoints, metrics and pictures go; starting again there continues the run.
    model_size: tiny 2.1 M, small 17.7 M, base 136.8 M, large 398.8 M, xlarge 1085 M parameters.
    mask_rule: "span" (causal, the default) or "v121" (the attention of v1.2.1, not causal).
    max_seq_len: tokens of a row; longer songs are cropped to a window of bars. max_spans: bar summaries of a row (0: max_seq_len / 8).
    batch_size: rows of a micro batch; gradient_accumulation_steps micro batches make one optimizer step.
    epochs: passes over the songs; steps, when given, counts optimizer steps instead.
    learning_rate: peak, after warmup_steps of linear growth; then a cosine down to final_learning_rate times the peak.
    weight_decay (on matrices only), beta1, beta2, clip_norm: AdamW and the global gradient norm.
    precision: of the matrix products; auto is bf16 on a GPU, fp32 on a CPU. Parameters are always fp32.
    attention: implementation; auto is the best one for the device.
    remat: "layer" keeps only each layer's input for the backward pass, "none" keeps everything.
    num_workers: data loader processes (0: load in the training process).
    log_every, validate_every, checkpoint_every: in optimizer steps. validation_batches: at most so many batches a validation.
    keep_last: checkpoints kept besides the best one.
    tracker: also send metrics to TensorBoard or Weights & Biases (pip install hid-museformer[tensorboard] or [wandb]).
    """

    data_dir: Path
    output_dir: Path
    model_size: ModelSize = "small"
    mask_rule: Literal["span", "v121"] = "span"
    max_seq_len: int = 8192
    max_spans: int = 0
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    epochs: int = 10
    steps: int | None = None
    learning_rate: float = 3e-4
    warmup_steps: int = 200
    final_learning_rate: float = 0.1
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip_norm: float = 1.0
    dropout: float = 0.1
    seed: int = 0
    precision: Precision = "auto"
    attention: AttentionChoice = "auto"
    remat: Remat = "layer"
    num_workers: int = 2
    log_every: int = 10
    validate_every: int = 200
    validation_batches: int = 16
    checkpoint_every: int = 200
    keep_last: int = 2
    tracker: Literal["none", "tensorboard", "wandb"] = "none"
