"""How songs are sampled and what is asked of them;
the field names are flags of `hid-museformer generate`, the comments their help.
"""

import math
from dataclasses import dataclass

from configs.errors import InputError

LARGEST_SEED = (1 << 32) - 1  # of JAX's keys; larger ones would be others over again


@dataclass(frozen=True)
class SampleConfig:
    """The sampler. Raises InputError naming the flag that makes no sense."""

    temperature: float = 0.9  # divides the logits; 0 takes the most likely token
    top_k: int = 0  # keep the k most likely tokens (0 keeps all)
    top_p: float = 0.98  # keep the most likely tokens that together hold this probability
    min_p: float = 0.0  # keep tokens at least this times as likely as the likeliest
    repetition_penalty: float = 1.0  # above 1: the more a track's last bars used a note token, the less likely (1: off)
    grammar: bool = True  # only tokens that make a song; without it, what the model itself gets wrong is counted
    max_length: int = 4096  # tokens of a song at most; it is brought to an end before
    seed: int = 0  # of the draw
    num_samples: int = 1  # songs written
    batch: int = 16  # songs sampled side by side

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise InputError(f"--temperature must be 0 or more, and a number, got {self.temperature}")
        if self.top_k < 0:
            raise InputError(f"--top-k must be 0 (off) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p must be above 0 and at most 1, got {self.top_p}")
        if not 0 <= self.min_p <= 1:
            raise InputError(f"--min-p must be from 0 (off) to 1, got {self.min_p}")
        if not 1 <= self.repetition_penalty < math.inf:
            raise InputError(f"--repetition-penalty must be 1 (off) or more, got {self.repetition_penalty}")
        if self.max_length < 32:
            raise InputError(f"--max-length must be at least 32 tokens, got {self.max_length}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"--seed must be from 0 to {LARGEST_SEED}, got {self.seed}")
        if self.num_samples < 1:
            raise InputError(f"--num-samples must be at least 1, got {self.num_samples}")
        if self.batch < 1:
            raise InputError(f"--batch must be at least 1, got {self.batch}")


@dataclass(frozen=True)
class Constraints:
    """What a song must be; all of it holds exactly. Names are looked up when the song is planned."""

    instruments: str = ""  # one track of each and no other: "drums,bass,piano", General MIDI names or programs 0-127
    bars: int = 0  # length of the song in bars, given ones included (0: the model decides)
    tempo: float = 0.0  # beats per minute, the nearest of 32 steps (0: the model decides)
    meter: str = ""  # time signature, such as 3/4
    chords: str = ""  # chords of the bars, repeated: "C Am F G7"; bar lines (|) are for reading
    transpose: int = 0  # semitones by which the given song and the chords are moved first
    keep_bars: int = 0  # bars of the given song that are kept when it is continued (0: all)
    add: str = ""  # instruments that the model plays along with the given song, named as above
    strict: bool = False  # refuse a given song that is too long, instead of leaving out its first bars

    def __post_init__(self) -> None:
        if self.bars < 0:
            raise InputError(f"--bars must be 0 (the model decides) or more, got {self.bars}")
        if self.tempo and not 20 <= self.tempo <= 400:
            raise InputError(f"--tempo must be from 20 to 400 beats per minute, got {self.tempo}")
        if self.keep_bars < 0:
            raise InputError(f"--keep-bars must be 0 (all) or more, got {self.keep_bars}")
        if abs(self.transpose) > 48:
            raise InputError(f"--transpose must be from -48 to 48 semitones, got {self.transpose}")
