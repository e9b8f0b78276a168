"""Both worlds count the same targets."""

import jax
import numpy as np
import pytest
import torch

from jax_impl.batch import pack_examples, stack_rows
from jax_impl.training.step import count_targets, cross_entropy
from tests.rows import random_song
from tokenizer import vocabulary as vocab
from tokenizer.tokens.crop import window
from tokenizer.tokens.example import CUT_END, example, known_chords
from torch_ref import train
from torch_ref.rows import Rows


def test_both_worlds_count_the_same_behind_a_cut():
    windows = [example(window(random_song(seed, bars=6), 0, bars)) for seed, bars in ((0, 2), (1, 3), (2, 6))]
    batch = stack_rows([pack_examples(windows[:2], 256), pack_examples(windows[2:], 256)])
    logits = np.random.default_rng(0).normal(size=(2, 256, vocab.SIZE)).astype(np.float32)
    ours = jax.jit(cross_entropy, static_argnums=(2, 3, 4))
    sums = {}
    for chords in ("all", "first"):
        summed, targets = train.loss(torch.tensor(logits), Rows.of(batch._asdict()), chords)
        np.testing.assert_allclose(float(summed), float(ours(logits, batch, chords)), rtol=1e-5)
        sums[chords] = float(summed)
    later_chords = sum(int(known_chords(shown.tokens.ids).sum()) for shown in windows)
    assert later_chords > 10  # each of which costs about as much less as there are chords
    assert sums["all"] - sums["first"] == pytest.approx(later_chords * np.log(217), rel=0.1)
    assert (
        int(targets)
        == batch.weights.sum()
        == sum(map(len, windows)) - 3 - sum(int((~shown.loss_mask).sum()) for shown in windows)
    )
    cut = int((batch.known == CUT_END).sum())
    of_cut, count = train.loss(torch.tensor(logits), Rows.of(batch._asdict()), "first", "all")
    np.testing.assert_allclose(float(of_cut), float(ours(logits, batch, "first", 1.0, "all")), rtol=1e-5)
    assert cut > 1 and int(count) == int(count_targets(batch, "all")) == int(targets) + cut
    assert float(of_cut) - sums["first"] == pytest.approx(cut * np.log(130), rel=0.3)  # 129 tracks and EOS
    assert (batch.weights.sum(axis=1) < (batch.document > 0).sum(axis=1) - [2, 1]).tolist() == [True, False]
