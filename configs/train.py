"""How a model is trained; the field names are the flags of `hid-museformer train` and the comments are their help."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from configs import ranges
from configs.errors import InputError
from configs.model import ModelSize, Remat
from configs.ranges import INT32

Precision = Literal["auto", "fp32", "bf16"]
# Of which tracks chords are targets: of the first alone, for a sampler writes those of the others as it says, or of all
ChordTargets = Literal["first", "all"]
# What comes behind a track: learned where it ended, or also, given that it is over, where only a window ended it
TrackTargets = Literal["ended", "all"]
Optimizer = Literal["muon", "adamw"]
# By mask rule, where nothing is said
CHORD_TARGETS: dict[str, ChordTargets] = {"span": "first", "v121": "all"}
TRACK_TARGETS: dict[str, TrackTargets] = {"span": "all", "v121": "ended"}
AttentionChoice = Literal["auto", "reference", "xla", "pallas"]

# max_spans 0: real songs have one span per 7.6 tokens in the mean; with room for 1 per 8 rows stay a tenth empty
SPANS_PER_TOKEN = 3 / 16
PROJECT = "hid-museformer"


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Every field is a flag. Raises InputError naming the flag that makes no sense."""

    data_dir: Path  # a dataset made by `prepare`
    output_dir: Path  # checkpoints, metrics.jsonl and loss.png go here; starting again there continues the run
    model_size: ModelSize = "small"  # tiny 2.1 M, small 17.7 M, base 137 M, large 399 M, xlarge 1086 M parameters
    init_from: Path | None = None  # start from weights of a run or of `export`; its shape counts, not --model-size
    mask_rule: Literal["span", "v121"] = "span"  # causal bar summaries, or the attention of v1.2.1 (not causal)
    chord_targets: ChordTargets | None = None  # chords learned: the first track's or all (none: first; all for v121)
    chord_weight: float = 1.0  # how many times it counts which chord comes, where no track has said it yet
    track_targets: TrackTargets | None = None  # which track follows: behind ended ones, or cut ones too (none: all)
    max_seq_len: int = 8192  # tokens of a row; longer songs are cropped to a window of bars
    max_spans: int = 0  # bar summaries of a row (0: 3/16 of max_seq_len)
    batch_size: int = 4  # rows of a micro batch, over all devices
    gradient_accumulation_steps: int = 1  # micro batches of one optimizer step
    epochs: int = 10  # passes over the songs
    steps: int | None = None  # optimizer steps, instead of epochs
    optimizer: Optimizer | None = None  # of layers' matrices (none: muon; adamw for v121 and with --init-from)
    learning_rate: float = 3e-4  # at its peak; of either optimizer
    schedule: Literal["cosine", "wsd"] = "cosine"  # down on a cosine; wsd: stays at the peak, then decays in a line
    warmup_steps: int | None = None  # of linear growth to the peak (none: a tenth of the steps, 200 at most)
    decay_steps: int | None = None  # of wsd's decay, at the end (none: a tenth of the steps)
    final_learning_rate: float = 0.1  # at the end, times the peak
    weight_decay: float = 0.1  # times the rate, on matrices only
    beta1: float = 0.9  # AdamW's
    beta2: float = 0.95  # AdamW's
    clip_norm: float = 1.0  # largest global norm of the gradient
    dropout: float = 0.1  # on the input and on both branches of each layer
    seed: int = 0  # of the weights, the dropout, the order of songs, their crops and their augmentation
    augment: bool = False  # vary key (-5 to +6 semitones), loudness and tempo of each training song, anew each epoch
    reorder: float = 0.0  # share of the training songs, drawn anew each epoch, whose tracks come in another order
    fill: float = 0.0  # likewise, with bars of some tracks hidden and said at the end, for generate --fill
    precision: Precision = "auto"  # of matrix products (auto: bf16 on a GPU, else fp32); parameters are always fp32
    attention: AttentionChoice = "auto"  # implementation (auto: pallas, our kernels, on Hopper GPUs, else xla)
    remat: Literal["auto"] | Remat = "auto"  # computed again: nothing; norms etc.; products too; all (auto: as fits)
    fsdp_devices: int = 1  # devices that share parameters and optimizer state, each holding a part (1: each holds all)
    data_devices: int = 0  # groups of devices, on a CPU of cores, that split a batch's rows (0: all devices; 1 core)
    num_workers: int = 2  # data loader processes (0: load in the training process)
    log_every: int = 10  # optimizer steps
    validate_every: int = 200  # optimizer steps; also before each regular checkpoint and at the end
    eval_every: int = 0  # optimizer steps between losses by kind of token; also at the end (0: with each validation)
    validation_batches: int = 16  # at most so many a validation
    checkpoint_every: int = 200  # optimizer steps
    resume_from: int | None = None  # go back to this checkpoint; later ones are deleted (none: go on from the newest)
    keep_last: int = 2  # checkpoints kept besides the best one
    tracker: Literal["none", "tensorboard", "wandb"] = "none"  # send metrics there too; needs the extra of that name
    tracker_project: str = PROJECT  # of W&B: where the run is listed

    def __post_init__(self) -> None:
        ranges.check(self)
        if self.tracker_project != PROJECT and self.tracker != "wandb":
            raise InputError(f"--tracker-project {self.tracker_project} is for --tracker wandb; give that too")
        if self.max_spans > self.max_seq_len:
            raise InputError(
                f"--max-spans {self.max_spans} is more than --max-seq-len {self.max_seq_len}: a row has no more bars "
                "than tokens"
            )
        if self.step_tokens > INT32:
            raise InputError(
                f"--gradient-accumulation-steps {self.gradient_accumulation_steps} x --batch-size {self.batch_size} x "
                f"--max-seq-len {self.max_seq_len} are {self.step_tokens} tokens a step, more than can be counted "
                f"({INT32})"
            )

    def as_new(self) -> "TrainConfig":
        """With what is not given as a run has it that begins now."""
        from_nothing = self.mask_rule == "span" and self.init_from is None
        return replace(
            self,
            chord_targets=self.chord_targets or CHORD_TARGETS[self.mask_rule],
            track_targets=self.track_targets or TRACK_TARGETS[self.mask_rule],
            optimizer=self.optimizer or ("muon" if from_nothing else "adamw"),
        )

    @property
    def step_tokens(self) -> int:
        """Tokens of an optimizer step, padding included."""
        return self.gradient_accumulation_steps * self.batch_size * self.max_seq_len

    def warmup(self, total_steps: int) -> int:
        """Optimizer steps until the peak, in a run of so many."""
        return min(200, total_steps // 10) if self.warmup_steps is None else self.warmup_steps

    def plateau_end(self, total_steps: int) -> int | None:
        """After which step the decay begins; None where the rate falls all the time. Up to it a run of another length
        is the same run.
        """
        if self.schedule == "cosine":
            return None
        return total_steps - (max(total_steps // 10, 1) if self.decay_steps is None else self.decay_steps)

    @property
    def row_spans(self) -> int:
        """Bar summaries that a row has room for."""
        return self.max_spans or int(self.max_seq_len * SPANS_PER_TOKEN)
