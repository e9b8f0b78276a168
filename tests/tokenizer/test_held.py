"""What must hold in the notes holds whatever is drawn: by writers that stand in for a model, and read back by loops that
know nothing of the rules.
"""

import numpy as np
import pytest

from configs import Constraints, InputError
from tests.rows import ids
from tokenizer import vocabulary as vocab
from tokenizer.grid.chords import TONES
from tokenizer.grid.meter import N_PARTS, STEP_TICKS
from tokenizer.grid.song import GridSong
from tokenizer.music.score import DRUMS
from tokenizer.tokens import fields, follow, grammar, held, plan
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import grid_song
from tokenizer.tokens.given import given_song
from tokenizer.tokens.grammar import CHORD, CLASS, DURATION, EOS, PITCH, POSITION, SIGNATURE, TRACK, VALUE

MODEL_BARS = 24


def planned(prompt, wanted: Constraints, tokens: int = 1500, vocab_size: int = vocab.SIZE) -> plan.Plan:
    return plan.make_plan(given_song(prompt, wanted), wanted, tokens, tokens // 4, MODEL_BARS, vocab_size).plan


def walked(made: plan.Plan, songs: int, seed: int = 0) -> list[np.ndarray]:
    """Songs along the plan by writers that each like some kinds of tokens better than others, all at once."""
    random = np.random.default_rng(seed)
    liking = random.normal(0, 2, (songs, vocab.N_CLASSES))[:, CLASS]
    liking += random.normal(0, 1, (songs, 1)) * (CLASS == DURATION) * VALUE / 200  # long notes, or short ones
    liking += random.normal(0, 2, (songs, 1)) * (CLASS == PITCH) * VALUE / 64
    liking[:, CLASS == CHORD] -= random.uniform(2, 7, (songs, 1))  # for there are 217
    liking[:, np.isin(CLASS, (TRACK, SIGNATURE))] -= 3
    state, place = grammar.begin(songs, MODEL_BARS), np.zeros(songs, np.int32)
    spans, written = np.zeros(songs, np.int32), np.zeros((songs, int(made.max_tokens)), np.int32)
    for length in range(written.shape[1]):
        choice = follow.choices(made, place, state, np.full(songs, length), spans)
        is_free, over = choice.forced == plan.FREE, place > 0
        over = (written[:, :length] == vocab.EOS).any(axis=1)
        assert (choice.allowed.any(axis=1) | ~is_free | over).all(), "a dead end"
        logits = np.where(choice.allowed, liking + random.gumbel(size=liking.shape), -np.inf)
        token = np.where(over, vocab.PAD, np.where(is_free, logits.argmax(axis=1), choice.forced)).astype(np.int32)
        written[:, length] = token
        spans += CLASS[token] == CHORD
        pushed, moved = grammar.push(state, token), follow.advance(made, place, token)
        keep = lambda new, old: np.where(over.reshape(-1, *[1] * (new.ndim - 1)), old, new)
        state, place = grammar.State(*map(keep, pushed, state)), keep(moved, place)
        if (over | (token == vocab.EOS)).all():
            break
    found = [row[: int(np.argmax(row == vocab.EOS)) + 1] for row in written]
    assert all(len(song) > 1 for song in found), "a song without an end"
    assert (spans <= made.max_spans).all()
    return found


def song_of(tokens: np.ndarray) -> GridSong:
    return grid_song(fields.compute(tokens))[0]


def sections(tokens: np.ndarray) -> list[tuple[int, list[list[tuple[int, int, int]]], list[tuple[int, int, int]]]]:
    """Of each track of a song, in the order of its tokens: its program; of each of its bars the notes (onset, end, pitch)
    in fine steps of the song; and of each bar (start, signature, measure), all by counting along.
    """
    found, meters, measures, starts = [], [], [], []
    for token in tokens.tolist():
        kind, value = CLASS[token], int(VALUE[token])
        if kind == TRACK:
            found.append((value, []))
            duration = bar = -1
        elif kind == SIGNATURE and not found:
            header = value
        elif kind == CHORD:
            bar += 1
            found[-1][1].append([])
            if len(found) == 1:
                meters.append(meters[-1] if meters else header)
        elif kind == SIGNATURE:
            meters[-1] = value
        elif kind == POSITION:
            step = value
        elif kind == PITCH:
            found[-1][1][-1].append([step, duration, value])
        elif kind == DURATION:
            duration = found[-1][1][-1][-1][1] = value
    part, measure, start = 0, -1, 0
    for bar, meter in enumerate(meters):
        part = part + 1 if bar and meter == meters[bar - 1] and part + 1 < N_PARTS[meter] else 0
        measure += part == 0
        measures.append(measure)
        starts.append(start)
        start += 6 * int(grammar.PART_SIXTEENTHS[meter, part])
    bars = list(zip(starts, meters, measures, strict=True))
    return [
        (
            program,
            [[(starts[bar] + s, starts[bar] + s + d, p) for s, d, p in notes] for bar, notes in enumerate(played)],
            bars,
        )
        for program, played in found
    ]


def strikes(played, bars) -> np.ndarray:
    """Of each measure of the song."""
    return np.bincount(
        [measure for notes, (*_, measure) in zip(played, bars, strict=False) for _ in notes], minlength=bars[-1][2] + 1
    )


def sounding(played) -> list[int]:
    """Notes that sound wherever one is struck."""
    notes = [note for bar in played for note in bar]
    return [sum(onset <= time < end for onset, end, _ in notes) for time in {onset for onset, *_ in notes}]


def tones(name: str) -> set[int]:
    """Of a chord such as Amin7."""
    root = 2 if name[1:2] == "#" else 1
    return {(vocab.ROOTS.index(name[:root]) + interval) % 12 for interval in TONES[name[root:]]}


def assert_chords_hold(tokens, asked: list[str], always: bool, first_measure: int = 0, roots: bool = True) -> None:
    """asked: of each measure. first_measure: of the new ones."""
    lowest = True
    for program, played, bars in sections(tokens):
        if program == DRUMS:
            continue
        for notes, (start, meter, measure) in zip(played, bars, strict=False):
            if measure < first_measure or asked[measure] == "N":
                continue
            numerator, denominator = vocab.SIGNATURES[meter]
            beat = 36 if denominator == 8 and numerator in (6, 9, 12) else 24
            allowed = tones(asked[measure])
            assert all(p % 12 in allowed for onset, _, p in notes if always or (onset - start) % beat == 0)
            if lowest and roots and notes:
                assert notes[0][2] % 12 == vocab.ROOTS.index(asked[measure].rstrip("majindsu0123456789"))
            for onset, end, pitch in (note for bar in played for note in bar):
                if onset < start < end:
                    struck = max(m for s, _, m in bars if s <= onset)
                    assert struck < first_measure or struck == measure or pitch % 12 in allowed
        if lowest and roots:
            assert (strikes(played, bars)[first_measure:] > 0).all()
        lowest = False


# ---------------------------------------------------------------- each wish alone, and all together

METERS = ["", "5/4", "6/8", "3/4", "1/16", "9/8"]
BAND = "drums,bass,piano"


@pytest.mark.parametrize("meter", METERS)
def test_a_bar_has_from_the_fewest_to_the_most_strikes(meter):
    """Of whatever tracks the model chooses: each of them goes to the last bar."""
    fewest, most = (1, 1) if meter == "1/16" else (7, 9)
    for tokens in walked(planned(None, Constraints(density=f"{fewest}-{most}", meter=meter), 500), 6):
        for _, played, bars in sections(tokens):
            counts = strikes(played, bars)
            assert fewest <= counts.min() and counts.max() <= most
            assert len(played) == len(bars)


@pytest.mark.parametrize("meter", METERS)
@pytest.mark.parametrize(("fewest", "most"), [(1, 1), (2, 2), (3, 5)])
def test_from_the_fewest_to_the_most_notes_sound_wherever_one_is_struck(meter, fewest, most):
    wanted = Constraints(polyphony=f"{fewest}-{most}", meter=meter, instruments="piano,strings", bars=3)
    for tokens in walked(planned(None, wanted, 300), 5):
        for _, played, _ in sections(tokens):
            assert {min(sounding(played)), max(sounding(played))} <= set(range(fewest, most + 1))
