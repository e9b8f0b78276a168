"""How a song is sampled; the field names are flags of `hid-museformer generate` and the comments are their help."""

from dataclasses import dataclass

from configs.errors import InputError


@dataclass(frozen=True)
class SampleConfig:
    """Sampling of songs. Raises InputError naming the flag that makes no sense."""

    temperature: float = 0.9  # divides the logits; 0 takes the most likely token
    top_k: int = 0  # keep the k most likely tokens (0 keeps all)
    top_p: float = 0.98  # keep the most likely tokens that together hold this probability
    max_length: int = 4096  # tokens of a song at most
    seed: int = 0  # of the draw
    num_samples: int = 1  # songs written

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise InputError(f"--temperature must be 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise InputError(f"--top-k must be 0 (off) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"--top-p must be above 0 and at most 1, got {self.top_p}")
        if self.max_length < 8:
            raise InputError(f"--max-length must be at least 8 tokens, got {self.max_length}")
        if self.seed < 0:
            raise InputError(f"--seed must be 0 or more, got {self.seed}")
        if self.num_samples < 1:
            raise InputError(f"--num-samples must be at least 1, got {self.num_samples}")
