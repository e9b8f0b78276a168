"""What a trained model says of a song that is there: the logits after each of its tokens.

ids        BOS   BPM_19  TS_4/4  ...  EOS
logits     [0]   [1]     [2]     ...  [T - 1]      of what follows: BPM_19 is scored by [0], nothing by the last
"""

import os
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx

from configs import ComputeConfig, InputError, ModelConfig
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.device import device
from jax_impl.model.masks import most_summaries
from jax_impl.model.museformer import MuseFormer, abstract_model
from jax_impl.training.checkpoint import load_model
from tokenizer import vocabulary as vocab
from tokenizer.music.score import Score
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import OUTSIDE, TokenFields

SMALLEST_TOKENS, FEWEST_SUMMARIES = 256, 64  # sizes of a program double from here up, so that few are compiled


def score_logits(
    run: Path | MuseFormer, song: Score | TokenFields, checkpoint: int | Literal["best", "latest"] = "best"
) -> tuple[TokenFields, np.ndarray]:
    """The song's tokens, and float32[T, V]: logits[i] are of token i + 1, given those up to i. Songs of any length.

    run: a run's folder; for many songs rather its model, load_model(run, checkpoint)[0], which is then read once.
    song: of a file (tokenizer.read), or of a dataset. Raises InputError where it has more bars than the model has
    numbers for, or tokens that the model has not, CheckpointError where the run cannot be read.
    """
    tokens = encode(song) if isinstance(song, Score) else song
    if not isinstance(tokens, TokenFields):
        raise InputError(
            f"song must be a Score (tokenizer.read) or its tokens (tokenizer.encode), got {type(song).__name__}"
        )
    if not isinstance(run, MuseFormer | str | os.PathLike):
        raise InputError(f"run must be the path of a training run, or its model, got {type(run).__name__}")
    model = run if isinstance(run, MuseFormer) else load_model(run, checkpoint)[0]
    _check_tokens(tokens.ids, model.config.vocab_size)
    bars = int(tokens.bar.max(initial=OUTSIDE)) + 1
    if bars > model.config.max_bars:
        raise InputError(
            f"a song of {bars} bars: this model numbers {model.config.max_bars}; cut it with tokenizer.tokens.crop.crop"
        )
    batch = stack_rows([pack_row([tokens], _doubled(SMALLEST_TOKENS, len(tokens)))])
    max_spans = _doubled(FEWEST_SUMMARIES, most_summaries(batch, model.config.mask_rule))
    logits = _logits(
        nnx.state(model), batch, graph=graph_of(model.config), max_spans=max_spans, compute=device.sampling_compute()
    )
    return tokens, np.asarray(logits[0, : len(tokens)])


def _check_tokens(ids: np.ndarray, vocab_size: int) -> None:
    """Raises InputError naming the first token that a model of that size has not, or not in the song's meaning."""
    foreign = ids[~vocab.offered(vocab_size)[ids]]
    if len(foreign):
        raise InputError(
            f"the song has the token {vocab.NAMES[foreign[0]]}, which a model of v1.2.1's {vocab_size} tokens does not "
            "know: those count in sixteenths, in measures of at most 16 of them"
        )


@lru_cache
def graph_of(config: ModelConfig) -> nnx.GraphDef:
    """One for all models alike: those of two models are not equal, and each would be compiled for."""
    return abstract_model(config)[0]


@partial(jax.jit, static_argnames=("graph", "max_spans", "compute"))
def _logits(parameters: Any, batch: Batch, *, graph: nnx.GraphDef, max_spans: int, compute: ComputeConfig) -> jax.Array:
    """float32[B, T, V]."""
    return nnx.merge(graph, parameters)(batch, max_spans=max_spans, compute=compute, dropout_key=None)


def _doubled(smallest: int, needed: int) -> int:
    """The smallest number of smallest, 2 smallest, 4 smallest, ... that is enough."""
    size = smallest
    while size < needed:
        size *= 2
    return size
