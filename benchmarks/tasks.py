"""What a model learns of songs in another order and with bars hidden, and what that costs.

    PYTHONPATH=. python benchmarks/tasks.py shares DATASET      models of size tiny: validation loss of plain songs, by
                                                                the shares of songs that training shows otherwise
    PYTHONPATH=. python benchmarks/tasks.py paired RUN DATASET  on held out songs, of a run that saw both

`paired`, in nats a note, song by song (a song is its first window of bars that fits, chord tokens left out):
- hidden bars of a track given what stands on both sides of them, against the same, hidden likewise, of the song as far
  as they go; and against them as they go on in that song as it is, with all tokens, and without length and velocity
  of the first note, which hidden bars say anew;
- drums behind all other tracks, against drums in HID order, where they come first.
Intervals are of 10 000 bootstrap samples of songs, p of as many random signs of the differences (two-sided).
Writes benchmarks/results/tasks_shares.json and tasks_paired.json.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from report import write_report
from tqdm import tqdm

from configs import TrainConfig
from jax_impl import score_logits, train
from jax_impl.training import metrics
from jax_impl.training.found import find
from tokenizer.dataset.songs import Dataset
from tokenizer.grid.song import GridSong
from tokenizer.music.score import DRUMS
from tokenizer.tokens.crop import crop
from tokenizer.tokens.encode import Hidden, encode_song, grid_song
from tokenizer.tokens.fields import KIND_PITCH, OUTSIDE, TokenFields
from tokenizer.vocabulary import CLASS, Class

SHARES = ((0.0, 0.0), (0.3, 0.3), (0.1, 0.2))  # reorder, fill
HIDDEN_BARS, RANGES = 4, 8  # bars hidden at a time, how often in a song
DRAWS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    of_shares, of_pairs = verbs.add_parser("shares"), verbs.add_parser("paired")
    of_shares.add_argument("dataset", type=Path)
    of_shares.add_argument("--steps", type=int, default=400, help="optimizer steps, of 1024 tokens each")
    of_shares.add_argument("--seeds", type=int, default=3, help="runs of each pair of shares")
    of_pairs.add_argument("run", type=Path)
    of_pairs.add_argument("dataset", type=Path)
    of_pairs.add_argument("--split", default="validation")
    arguments = parser.parse_args()
    if arguments.verb == "shares":
        shares(arguments.dataset, arguments.steps, arguments.seeds)
    else:
        paired(arguments.run, arguments.dataset, arguments.split)


# ---------------------------------------------------------------- what it costs


def shares(dataset: Path, steps: int, seeds: int) -> None:
    flags = dict(model_size="tiny", max_seq_len=1024, batch_size=1, learning_rate=3e-3, warmup_steps=50, dropout=0.0)
    flags |= dict(num_workers=0, steps=steps, validate_every=steps, validation_batches=40, checkpoint_every=steps)
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        for reorder, fill in SHARES:
            with tempfile.TemporaryDirectory() as folder:
                train(TrainConfig(dataset, Path(folder) / "run", **flags, seed=seed, reorder=reorder, fill=fill))
                lines = metrics.read(Path(folder) / "run" / metrics.FILE)
                loss = [line["loss"] for line in lines if line["kind"] == "validation"][-1]
                found.setdefault(f"reorder {reorder:g}, fill {fill:g}", []).append(round(loss, 4))
                write_report("tasks_shares", {"training": flags, "validation_loss_by_seed": found})


# ---------------------------------------------------------------- what it gives


def paired(run: Path, dataset: Path, split: str) -> None:
    record = find(run, "latest").record
    model, length = find(run, "latest").load(), record.train["max_seq_len"]
    found, drums_last, drums_first = [], [], []
    random = np.random.default_rng(0)
    for song in tqdm(Dataset(dataset)[split], desc="held out", disable=None):
        window, chords = grid_song(first_window(song, length * 3 // 4))
        of_song = [nats_of_hidden(model, window, chords, hidden) for hidden in some_bars(window, random)]
        if of_song:
            found.append(np.mean(of_song, axis=0))
        if window.tracks and window.tracks[0].program == DRUMS and len(window.tracks) > 1:
            first = encode_song(window, chords)
            last = encode_song(GridSong(window.bars, window.tempo, (*window.tracks[1:], window.tracks[0])), chords)
            for tokens, section, values in (
                (first, 0, drums_first),
                (last, len(window.tracks) - 1, drums_last),
            ):
                nats, counts = nats_of(model, tokens, section)
                values.append(a_note(nats, tokens, counts))
    both_sides, hidden_past, past, less_both_sides, _, less_past = np.transpose(found).tolist()
    results = {
        "run": {name: record.train[name] for name in ("model_size", "max_seq_len", "reorder", "fill", "augment")},
        "step": record.step,
        "hidden_bars": compared("given both sides", both_sides, "given what stands before", hidden_past),
        "hidden_bars_and_going_on": compared("given both sides", both_sides, "going on", past),
        "but_the_first_length_and_velocity": compared("given both sides", less_both_sides, "going on", less_past),
        "drums": compared("behind the others", drums_last, "in HID order", drums_first),
    }
    write_report("tasks_paired", results)


def first_window(tokens: TokenFields, most_tokens: int) -> TokenFields:
    """The longest of the first 64, 48, 32, ... bars that so many tokens hold."""
    for bars in (64, 48, 32, 24, 16, 12, 8, 6, 4, 2, 1):
        window = crop(tokens, 0, bars)
        if len(window) <= most_tokens:
            return window
    return crop(tokens, 0, 1)


def some_bars(song: GridSong, random: np.random.Generator) -> list[Hidden]:
    """HIDDEN_BARS bars of a track that has a note in each, and before and behind them: RANGES of them, as far as there
    are so many.
    """
    found = []
    for number, track in enumerate(song.tracks):
        has_note = np.isin(np.arange(len(song.bars)), track.notes["bar"])
        for first in range(1, len(song.bars) - HIDDEN_BARS):
            stop = first + HIDDEN_BARS
            whole = song.bars.part[first] == 0 and song.bars.part[stop] == 0
            if whole and has_note[first:stop].all() and has_note[:first].any() and has_note[stop:].any():
                found.append(Hidden(first, stop, (number,)))
    return [found[index] for index in random.permutation(len(found))[:RANGES]]


def nats_of_hidden(model, song: GridSong, chords: np.ndarray, hidden: Hidden) -> list[float]:
    """Nats a note of hidden bars given both sides, given what stands before, going on; and the same without the first
    length and velocity.
    """
    of_past, its_chords = grid_song(crop(encode_song(song, chords), 0, hidden.stop))
    (track,) = hidden.tracks
    in_past = [same(song.tracks[track].notes, other.notes, hidden.stop) for other in of_past.tracks].index(True)
    its_hidden = Hidden(hidden.first, hidden.stop, (in_past,))
    everything, less = [], []
    for tokens, section in (
        (encode_song(song, chords, hidden), len(song.tracks)),
        (encode_song(of_past, its_chords, its_hidden), len(of_past.tracks)),
        (encode_song(of_past, its_chords), in_past),
    ):
        nats, counts = nats_of(model, tokens, section, hidden.first)
        everything.append(a_note(nats, tokens, counts))
        less.append(a_note(nats, tokens, counts & ~of_first_note(tokens, counts)))
    return [*everything, *less]


def same(notes: np.ndarray, others: np.ndarray, stop: int) -> bool:
    return np.array_equal(notes[notes["bar"] < stop], others)


def nats_of(model, tokens: TokenFields, section: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """float64[T - 1]: what each token but the first costs; bool[T - 1]: those of the bars from `first` on of one track,
    by its place in the tokens: all but chords, tempi and meters.
    """
    logits = score_logits(model, tokens)[1].astype(np.float64)[:-1]
    wanted = tokens.ids[1:]
    nats = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(wanted)), wanted]
    of_section = np.cumsum(CLASS[tokens.ids] == Class.TRACK)[1:] - 1 == section
    counts = of_section & (tokens.bar[1:] >= max(first, OUTSIDE + 1))
    return nats, counts & ~np.isin(CLASS[wanted], (Class.CHORD, Class.TEMPO, Class.SIGNATURE))


def of_first_note(tokens: TokenFields, counts: np.ndarray) -> np.ndarray:
    """bool[T - 1]: length and velocity that the first of the counted notes says."""
    class_ = CLASS[tokens.ids[1:]]
    notes = np.flatnonzero(counts & (class_ == Class.PITCH))
    until = notes[1] if len(notes) > 1 else len(class_)
    index = np.arange(len(class_))
    return (index > notes[0]) & (index < until) & np.isin(class_, (Class.DURATION, Class.VELOCITY))


def a_note(nats: np.ndarray, tokens: TokenFields, counts: np.ndarray) -> float:
    return float(nats[counts].sum() / (tokens.kind[1:][counts] == KIND_PITCH).sum())


def compared(name: str, values: list[float], other_name: str, others: list[float]) -> dict:
    """Two paired samples: means, the mean of their ratio with its interval, and how likely chance is."""
    ours, theirs = np.array(values), np.array(others)
    random, difference = np.random.default_rng(1), ours - theirs
    drawn = random.integers(len(ours), size=(DRAWS, len(ours)))
    ratios = ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1)
    signs = random.choice([-1, 1], size=(DRAWS, len(ours)))
    by_chance = np.abs((signs * difference).mean(axis=1)) >= abs(difference.mean())
    return {
        "songs": len(ours),
        f"nats_a_note_{name}".replace(" ", "_"): round(float(ours.mean()), 4),
        f"nats_a_note_{other_name}".replace(" ", "_"): round(float(theirs.mean()), 4),
        "ratio": round(float(ours.mean() / theirs.mean()), 4),
        "ratio_interval_95": np.percentile(ratios, [2.5, 97.5]).round(4).tolist(),
        "songs_in_which_it_is_lower": int((difference < 0).sum()),
        "p": round(float((by_chance.sum() + 1) / (DRAWS + 1)), 5),
    }


if __name__ == "__main__":
    main()
