"""What a model gets wrong where no grammar keeps it from it: tokens that no song has, by the rule that they break.

    BOS BPM_19 TS_4/4 #D SEP Cmaj T4 P36 L1 V20 T2 ...
                                                 ^ errors 1: "positions rise within a bar"

The rules and their names are those of tokenizer.tokens.grammar, which every sampled token is played back through. A
token that breaks several counts for the first of them, so that the rules' counts sum up to the sampler's own. After
an error the grammar goes on from what was written: one slip may bring others, as it does in the song.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tokenizer.tokens import grammar

HEAD = 1  # tokens that the sampler is given, not the model's: BOS
PER = 1000  # tokens


def broken_rules(songs: Sequence[np.ndarray], max_bars: int, any_order: bool = False) -> list[Counter[str]]:
    """Of each song, int32[T] tokens from BOS on, how often each rule is broken. max_bars: chords that the first track
    may have, the model's max_bars. any_order: tracks may come in any.
    """
    broken: list[Counter[str]] = [Counter() for _ in songs]
    if not songs:
        return broken
    rows = np.zeros((len(songs), max(map(len, songs))), np.int32)
    for row, song in zip(rows, songs, strict=True):
        row[: len(song)] = song
    lengths, numbers = np.array([len(song) for song in songs]), np.arange(len(songs))
    state = grammar.begin(len(songs), max_bars)
    for index in range(rows.shape[1]):
        token = rows[:, index]
        if index >= HEAD:
            rules = grammar.clauses(state, np, any_order)
            allows = {rule: allowed[numbers, token] for rule, allowed in rules.items()}
            wrong = ~np.logical_and.reduce(list(allows.values())) & (index < lengths)
            for row in np.flatnonzero(wrong):
                broken[row][next(rule for rule, allowed in allows.items() if not allowed[row])] += 1
        state = grammar.push(state, token)
    return broken


def errors(songs: Sequence[np.ndarray], max_bars: int, any_order: bool = False) -> dict:
    """{"songs", "tokens": written by the model, "errors", "per_1000_tokens", "songs_without", "by_rule": {rule:
    {"errors", "per_1000_tokens"}}}, the rule that is broken most often first. Songs as in broken_rules.
    """
    broken = broken_rules(songs, max_bars, any_order)
    of_all = sum(broken, Counter())
    tokens = sum(len(song) - HEAD for song in songs)
    rate = lambda count: PER * count / max(tokens, 1)
    return {
        "songs": len(songs),
        "tokens": tokens,
        "errors": of_all.total(),
        "per_1000_tokens": rate(of_all.total()),
        "songs_without": sum(not rules for rules in broken),
        "by_rule": {
            rule: {"errors": count, "per_1000_tokens": rate(count)}
            for rule, count in sorted(of_all.items(), key=lambda item: (-item[1], item[0]))
        },
    }
