"""`hid-museformer parity`: does the JAX program compute what the PyTorch one does, for a checkpoint or for a size?"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from flax import nnx
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from configs import MASK_RULES, MODEL_SIZES, InputError, ModelConfig
from configs.model import ModelSize
from jax_impl.batch import Batch, pack_row, stack_rows
from jax_impl.model.v121 import to_v121
from jax_impl.training.checkpoint import load_model
from parity_tests.compare import compare, mask_pairs, table
from parity_tests.convert import rule_name
from parity_tests.pairs import magnified
from tokenizer.disk.atomic import atomic, refuse_to_replace
from tokenizer.music.composer import compose
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import encode
from torch_ref.rows import Rows

LENGTH, SLOTS = 512, 128  # tokens and summaries of the two rows that are compared
COLORS = ("#ffffff", "#c0392b", "#e59866", "#3a6ea5", "#9db8d9", "#000000")
MEANING = (
    "SS: earlier summaries",
    "SR: the bar that is pooled",
    "RS: summaries of the past",
    "RR: tokens",
    "they differ",
)


def parity(checkpoint: Path | None, size: ModelSize | None, plot: Path | None, overwrite: bool = False) -> bool:
    """Prints a table per model and says whether all of it holds. Raises InputError.

    checkpoint: a run's folder, whose best checkpoint is compared. size: weights drawn so that mistakes show, under
    every rule.
    plot: a PNG file for the masks of the first row, which must not be there yet without overwrite.
    """
    if (checkpoint is None) == (size is None):
        raise InputError("name either --checkpoint RUN or --size SIZE")
    if plot is not None:
        refuse_to_replace(plot, flag="--plot", overwrite=True)  # no folder
        rules = [f"-{rule.scope}" for rule in MASK_RULES.values()] if size else [""]
        for suffix in rules:  # before any work
            refuse_to_replace(plot.with_stem(plot.stem + suffix), flag="--plot", overwrite=overwrite)
    batch = rows()
    every_line = []
    for title, weights, config in models(checkpoint, size):
        if plot is not None:
            path = plot.with_stem(f"{plot.stem}-{config.mask_rule.scope}") if size else plot
            draw(batch, config, path)
            print(f"{path}: masks of the first row")
        lines = compare(weights, config, batch, SLOTS, "xla")
        every_line += lines
        print(f"{title}, {len(batch.tokens)} rows of {LENGTH} tokens\n{table(lines)}\n", flush=True)
    return all(line.holds for line in every_line)


def models(checkpoint: Path | None, size: ModelSize | None) -> Iterator[tuple[str, dict[str, np.ndarray], ModelConfig]]:
    """(title, weights under v1.2.1's names, config)."""
    if checkpoint is not None:
        model, record = load_model(checkpoint, "best")
        title = f"{checkpoint}, step {record.step}, rule {rule_name(model.config.mask_rule)}"
        yield title, to_v121(nnx.to_pure_dict(nnx.state(model))), model.config
    else:
        for name, rule in MASK_RULES.items():
            config = replace(MODEL_SIZES[size], mask_rule=rule)
            yield f"{size}, rule {name}", magnified(config), config


def rows() -> Batch:
    """Two rows of composed songs, packed and padded: one of two songs, one of one."""
    short, shorter, long = (
        opening(seed, tokens) for seed, tokens in ((1, LENGTH * 2 // 5), (2, LENGTH * 2 // 5), (3, LENGTH))
    )
    return stack_rows([pack_row([short, shorter], LENGTH), pack_row([long], LENGTH)])


def opening(seed: int, max_tokens: int):
    """As many first bars of a composed song as fit."""
    song = encode(compose(seed))
    for bars in range(int(song.bar.max()) + 1, 0, -1):
        cut = crop(song, 0, bars)
        if len(cut) <= max_tokens:
            return cut
    raise ValueError(f"one bar of song {seed} is longer than {max_tokens} tokens")


def draw(batch: Batch, config: ModelConfig, png: Path) -> None:
    """Both masks of the first row over [S; R], by phase; where the two implementations differ, black."""
    first = Batch(*(field[:1] for field in batch))
    figure = Figure(figsize=(11, 11.7), layout="constrained")
    axes = figure.add_subplot()
    both = []
    for number, (_, ours, theirs) in enumerate(mask_pairs(first, Rows.of(first._asdict()), config, SLOTS)):
        phase = np.where(np.arange(ours.shape[2]) < SLOTS, 2 * number + 1, 2 * number + 2)
        both.append(np.where(ours != theirs, 5, np.where(ours, phase, 0))[0])
    axes.imshow(np.concatenate(both), cmap=ListedColormap(COLORS), vmin=0, vmax=5, interpolation="nearest")
    for edge in (axes.axhline, axes.axvline):
        edge(SLOTS - 0.5, color="#777777", linewidth=0.5)
    axes.set(xlabel="key: summaries, then tokens", ylabel="query: summaries, then tokens", xticks=[], yticks=[])
    handles = [Patch(color=color, label=meaning) for color, meaning in zip(COLORS[1:], MEANING, strict=True)]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False)
    with atomic(png) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
