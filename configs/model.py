"""What the model is, and how it computes: the attention rule and the sizes; read by model, torch_ref and sampling."""

from dataclasses import dataclass
from typing import Literal, get_args

from configs import ranges
from configs.errors import InputError

HEAD_DIM = 64  # the attention kernels are written for this head width


@dataclass(frozen=True)
class MaskRule:
    """Which keys a query sees (design: RR, SS, SR, RS), as parameters; the predicate itself lives in each
    implementation.

    scope: "span" pools one summary per bar of one track (causal); "bar" one per bar number over all tracks, as v1.2.1
    (not causal).
    typed: also require that the kinds of the two tokens (position, pitch, duration, velocity) may see each other.
    near_bars: another instrument's bar b is seen in full while 0 <= bar_q - b <= near_bars.
    far_offsets: and also where bar_q - b is one of these.
    """

    scope: Literal["span", "bar"]
    typed: bool
    near_bars: int = 2
    far_offsets: tuple[int, ...] = (4,)

    def __post_init__(self) -> None:
        ranges.check(self, is_flag=False)


# What the forward pass keeps for the backward pass, from most to least: everything; what matrix products and attention
# take and return (layers are written out then, all rows at once); of each layer its input and its attention's outputs;
# of each layer its input. The rest is computed again.
Remat = Literal["none", "products", "attention", "layer"]
REMAT_CHOICES = get_args(Remat)
# "none" repeats no more products than "products", but writes and reads more than twice as much: slower
AUTO_REMAT = REMAT_CHOICES[1:]

# Tokens that a model has: all of tokenizer/vocabulary.py, or those of v1.2.1, which are the first of them
VocabSize = Literal[724, 643]
VOCAB_SIZE, V121_VOCAB_SIZE = get_args(VocabSize)

MASK_RULES = {"span": MaskRule(scope="span", typed=False), "v121": MaskRule(scope="bar", typed=True)}


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the network and its attention rule: what a checkpoint must agree on.

    layers, width, ffn: depth, residual stream width D and SwiGLU hidden width F. Heads are width / 64.
    max_bars: rows of the bar table; songs are cropped to windows of at most this many bars.
    dropout: rate on the input and on both branches of each layer, in training only.
    vocab_size: tokens V, rows of the token table. Models that come from v1.2.1 have its 643.
    places: whether tokens are told by an embedding at which place of its bar the music stands.
    attributes: whether tokens and instruments that have a root, quality, pitch class, octave or family in common share
    a part of their embedding.
    music: whether every other rotary frequency turns by the time of the music, so that what sounds together is near,
    however far apart it is written.
    harmony: whether the logits of chords have sums by the chords of their track that stand one, four and eight bars
    before them, and those of pitches by the chord of their bar. None of these is so in models that come from v1.2.1,
    nor where a checkpoint does not say it.
    """

    layers: int
    width: int
    ffn: int
    mask_rule: MaskRule = MASK_RULES["span"]
    max_bars: int = 2048
    dropout: float = 0.1
    vocab_size: VocabSize = VOCAB_SIZE
    places: bool = False
    attributes: bool = False
    music: bool = False
    harmony: bool = False

    def __post_init__(self) -> None:
        ranges.check(self, is_flag=False)
        if self.width % HEAD_DIM:
            raise InputError(f"width {self.width} must be a multiple of the head width {HEAD_DIM}")

    @property
    def heads(self) -> int:
        return self.width // HEAD_DIM


@dataclass(frozen=True)
class ComputeConfig:
    """How the network is computed on this machine: changes speed and memory, not the model. Static under jit.

    attention: "reference" (dense, the definition), "xla" (blockwise over queries, any device) or "pallas" (our kernels,
    Hopper GPUs).
    precision: of the operands of matrix products; all else stays fp32 (see jax_impl.model.museformer.MuseFormer).
    remat: what the forward pass keeps of a layer for the backward pass; the rest is computed again, see REMAT_CHOICES.
    layer_rows: most rows of the batch that a layer works on at once, on each device, in equal groups one after another;
        0: all. What a layer needs beside what it keeps grows with it.
    """

    attention: Literal["reference", "xla", "pallas"]
    precision: Literal["fp32", "bf16"]
    remat: Remat
    layer_rows: int = 0

    def __post_init__(self) -> None:
        ranges.check(self, is_flag=False)


# Of the numbers in a file of `export`
FilePrecision = Literal["fp32", "fp16"]

# What a layer works on at once, per device: more makes no product faster and takes memory (0.1 MB a token for large)
LAYER_TOKENS = 32768

# What a model that begins under the rule of v1.2.1 has not
AS_V121 = {"places": False, "attributes": False, "music": False, "harmony": False}
# What was better by more than the noise of seeds (benchmarks/ablation.py)
_OURS = {"places": True, "attributes": True, "music": True, "harmony": True}

# `tiny` is for tests, the demo and laptops.
MODEL_SIZES = {
    "tiny": ModelConfig(layers=4, width=128, ffn=352, **_OURS),
    "small": ModelConfig(layers=6, width=256, ffn=1408, **_OURS),
    "base": ModelConfig(layers=12, width=512, ffn=2816, **_OURS),
    "large": ModelConfig(layers=16, width=768, ffn=4096, **_OURS),
    "xlarge": ModelConfig(layers=24, width=1024, ffn=5632, **_OURS),
}
ModelSize = Literal["tiny", "small", "base", "large", "xlarge"]
