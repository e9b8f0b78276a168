"""The implementation in JAX. What a program wants of it, loaded when it is asked for, so that this is light:

loader(dataset, config, split)     batches of a dataset
train(config, model)               a model of a dataset
score_logits(run, song)            what a model says of a song
generate(run, ...)                 songs of a model; without a run, of the one that comes with this
generate_files(run, ...)           the same as MIDI files, given ones themselves
"""

import importlib
from typing import Any

FACE = {
    "generate": "jax_impl.sampling.sample",
    "generate_files": "jax_impl.sampling.sample",
    "loader": "jax_impl.loading.loader",
    "score_logits": "jax_impl.evaluation.logits",
    "train": "jax_impl.training.train",
}


def __getattr__(name: str) -> Any:
    if name not in FACE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(FACE[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *FACE]
