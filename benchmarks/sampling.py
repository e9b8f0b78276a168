"""How fast songs are sampled, on the device and through the whole loop (grammar, plan, draw), with a cache and without.

    python benchmarks/sampling.py --model-size small --prompts 768 3072 --batches 1 64

The given song is one track of the built-in composer, cropped to about so many tokens; random weights go on with it,
moved so that a bar holds about as many tokens as in music (14), for every full bar costs a summary. Each figure is the
median of --strides strides of 32 tokens after one to warm up; compiling is not counted. Writes
benchmarks/results/sampling.json.
"""

import argparse
import os
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from report import write_report

from configs import MODEL_SIZES, Constraints, SampleConfig
from configs.model import VOCAB_SIZE
from jax_impl.device import device
from jax_impl.model.museformer import MuseFormer
from jax_impl.sampling.sample import Sample, Sampler
from jax_impl.sampling.task import task_of
from tokenizer.music.composer import compose
from tokenizer.music.score import Score, Track
from tokenizer.tokens import plan as planning
from tokenizer.tokens.encode import encode
from tokenizer.tokens.fields import KIND_PITCH
from tokenizer.tokens.given import given_song
from tokenizer.tokens.grammar import CHORD, CLASS, EOS, TRACK

STRIDE = 32
BARS_TO_COME = 400  # far more than are measured
BAR_END_LOGIT = -4.0  # added to chords, tracks and EOS, so that random weights write about 14 tokens a bar


def given(tokens: int) -> Score:
    """A track of a composed song, repeated until it has at least so many tokens."""
    score = compose(0)
    track = max(score.tracks, key=lambda track: len(track.notes))
    bar = 4 * score.ticks_per_beat * 4
    length = (int(track.notes["onset_ticks"].max()) // bar + 1) * bar
    copies: list[np.ndarray] = []
    while True:
        notes = track.notes.copy()
        notes["onset_ticks"] += length * len(copies)
        copies.append(notes)
        song = Score(
            score.ticks_per_beat,
            (Track(track.program, np.concatenate(copies)),),
            score.tempos[:1],
            score.signatures[:1],
        )
        if len(encode(song)) >= tokens + 64:
            return song


def random_model(size: str) -> MuseFormer:
    """Random weights to which the end of a bar is unlikely: the last norm's bias points away from what embeddings of
    ends now share.
    """
    model = MuseFormer(MODEL_SIZES[size], nnx.Rngs(0))
    direction = jnp.full(model.config.width, model.config.width**-0.5)
    table = model.tokens.embedding[...]
    model.tokens.embedding[...] = table + np.isin(CLASS, (CHORD, TRACK, EOS))[:, None] * direction
    model.norm.bias[...] = BAR_END_LOGIT * direction
    return model


def measure(model: MuseFormer, tokens: int, rows: int, strides: int, cached: bool) -> dict:
    """Tokens a second of `rows` songs that go on with a given one of about `tokens` tokens."""
    song = given(tokens)
    bars = int(encode(song).bar.max()) + 1
    least = 1 + int(encode(song).bar[encode(song).kind == KIND_PITCH][0])  # bars that hold a note
    sizes = [len(planning.prefix(plan(song, keep))) for keep in range(least, bars + 1)]
    keep = least + int(np.argmin(np.abs(np.array(sizes) - tokens)))
    config = SampleConfig(temperature=1.0, max_length=2 * tokens + 2048, batch=rows, num_samples=rows)
    wanted = Constraints(keep_bars=keep, bars=BARS_TO_COME)
    sampler = Sampler(model, task_of(model.config, config, device.sampling_compute(), song, wanted))
    sampler.cached = cached
    steps = sampler.steps(range(rows), STRIDE)
    start = time.perf_counter()
    first = before = next(steps)
    compile_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(strides + 1):
        start = time.perf_counter()
        after = next(steps)
        assert all(len(new.ids) == len(old.ids) + STRIDE for old, new in zip(before, after, strict=True))
        before = after
        seconds.append(time.perf_counter() - start)
    per_token = statistics.median(seconds[1:]) / STRIDE
    return {
        "cached": cached,
        "batch": rows,
        "prompt_tokens": sizes[keep - least],
        "tokens_per_bar": round(rows * STRIDE * (strides + 1) / (count_bars(after) - count_bars(first)), 1),
        "milliseconds_per_step": round(1000 * per_token, 2),
        "tokens_per_second": round(rows / per_token, 1),
        "begin_and_compile_seconds": round(compile_seconds, 1),
    }


def count_bars(samples: list[Sample]) -> int:
    return sum(int(np.sum(CLASS[sample.ids] == CHORD)) for sample in samples)


def plan(song: Score, keep: int) -> planning.Plan:
    wanted = Constraints(keep_bars=keep, bars=BARS_TO_COME)
    return planning.make_plan(given_song(song, wanted), wanted, 1 << 15, 1 << 13, 2048, VOCAB_SIZE).plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-size", choices=list(MODEL_SIZES), default="small")
    parser.add_argument("--prompts", type=int, nargs="+", default=[768], help="tokens given")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64], help="songs side by side")
    parser.add_argument("--strides", type=int, default=5)
    parser.add_argument("--uncached", action="store_true", help="also a full forward pass at every token, of one song")
    args = parser.parse_args()
    model = random_model(args.model_size)
    wanted = [(tokens, rows, args.strides, True) for tokens in args.prompts for rows in args.batches]
    if args.uncached:
        wanted.append((args.prompts[0], 1, 1, False))
    compute, found = device.sampling_compute(), []
    for run in wanted:  # each is written as it is measured
        found.append(measure(model, *run))
        results = {
            "model_size": args.model_size,
            "compute": vars(compute),
            "load_average": os.getloadavg()[0],
            "runs": found,
        }
        write_report("sampling", results, device=device.describe(compute) if jax.default_backend() != "cpu" else None)


if __name__ == "__main__":
    main()
