"""How a song is sampled."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleConfig:
    """temperature: divides the logits (0 takes the most likely token). top_k: keep the k most likely (0 keeps all).
    top_p: keep the most likely tokens that together hold this probability. max_length: tokens of a song at most.
    seed: of the draw. num_samples: songs written."""

    temperature: float = 0.9
    top_k: int = 0
    top_p: float = 0.98
    max_length: int = 4096
    seed: int = 0
    num_samples: int = 1

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"--temperature must be 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"--top-k must be 0 (off) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"--top-p must be above 0 and at most 1, got {self.top_p}")
        if self.max_length < 8:
            raise ValueError(f"--max-length must be at least 8 tokens, got {self.max_length}")
        if self.num_samples < 1:
            raise ValueError(f"--num-samples must be at least 1, got {self.num_samples}")
