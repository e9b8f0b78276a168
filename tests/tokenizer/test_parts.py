"""Songs in parts: what is written is every bar that is asked for, once; all else stays; each part has room."""

from dataclasses import replace

import numpy as np
import pytest

from configs import Constraints, InputError
from tests.rows import ids
from tests.tokenizer import test_plan
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import Bars
from tokenizer.grid.song import GRID_NOTE
from tokenizer.music.composer import compose
from tokenizer.tokens import fields, follow, grammar, plan
from tokenizer.tokens.encode import encode, encode_song, grid_song
from tokenizer.tokens.given import given_song
from tokenizer.tokens.parts import InParts, fitted

MODEL_BARS = 512


def song_of(tracks: str, bars: int, meter: str = "4/4") -> np.ndarray:
    """Each track has a note in each bar, and long ones ring into the next."""
    bar = "Cmaj T0 P60 L16 V20 T8 P64 L12"
    said = [f"{name} SEP {bar} {' '.join(['Cmaj T0 P62 L4 T10 P65 L12'] * (bars - 1))}" for name in tracks.split()]
    return ids(f"BOS BPM_19 TS_{meter} {' '.join(said)} EOS")


def in_parts(song: np.ndarray, wanted: Constraints, tokens: int, bars: int = MODEL_BARS) -> InParts:
    return InParts.of(given_song(song, wanted), wanted, plan.Room(tokens, tokens // 4), bars, vocab.SIZE)


def written(made: plan.Plan, seed: int) -> np.ndarray:
    """A song along a plan, by a writer that likes all that is allowed."""
    random, state, place = np.random.default_rng(seed), grammar.begin(1, MODEL_BARS), np.zeros(1, np.int32)
    song, spans = [], 0
    while not song or song[-1] != vocab.EOS:
        choice = follow.choices(made, place, state, np.array([len(song)]), np.array([spans]))
        token = choice.forced
        if token[0] == plan.FREE:
            liked = random.random(vocab.N_CLASSES)[vocab.CLASS] * random.random(vocab.SIZE) * choice.allowed[0]
            token = liked.argmax(keepdims=True)
        place, state = follow.advance(made, place, token), grammar.push(state, token)
        song.append(int(token[0]))
        spans += vocab.CLASS[song[-1]] == grammar.CHORD
    return np.array(song)


def write_all(parts: InParts, seed: int = 0) -> np.ndarray:
    song = parts.begun()
    for number, part in enumerate(parts.parts):
        made = parts.plan(song, part)
        tokens = written(made, seed + number)
        assert len(tokens) <= made.max_tokens and tokens[-1] == vocab.EOS
        song = parts.with_written(song, part, tokens)
    return parts.ids(song)


def test_a_part_sees_less_where_the_one_before_became_longer_than_is_usual():
    wanted = Constraints(fill="bass:2-12")
    parts = in_parts(song_of("#D #P33 #P0", 12), wanted, 300)
    first, second, *_ = parts.parts
    song, bars = parts.begun(), np.arange(first.begin, first.stop)
    dense = np.zeros(32 * len(bars), GRID_NOTE)
    dense["bar"], dense["step"] = np.repeat(bars, 32), np.tile(np.arange(32) * 3, len(bars))
    dense["pitch"], dense["duration"], dense["velocity"] = 40 + np.arange(len(dense)) % 2, 3, 20
    tracks = list(song.tracks)
    (bass,) = parts.hidden.tracks
    tracks[bass] = replace(tracks[bass], notes=dense)
    song = replace(song, tracks=tuple(tracks))
    with pytest.raises(InputError, match="raise --max-length"):
        parts.plan(song, second)
    seen, made = parts.fitting(song, second)
    assert (seen.begin, seen.stop) == (second.begin, second.stop) and seen.first > second.first
    tokens = written(made, 0)
    assert tokens[-1] == vocab.EOS and len(parts.with_written(song, seen, tokens).tracks[bass].notes) > len(dense)
    assert parts.fitting(parts.begun(), second)[0] == second


def test_bars_behind_those_that_are_written_anew_take_no_room_of_them(monkeypatch):
    monkeypatch.setattr("tokenizer.tokens.parts.NEAREST", 60)  # all are seen
    given, wanted = song_of("#D #P33 #P0", 60), Constraints(fill="bass:2-9")
    parts = in_parts(given, wanted, len(given) + 100)
    (part,) = parts.parts
    made = parts.plan(parts.begun(), part)
    song, cut_short = test_plan.written(made, [1000] * 4)  # fills each bar while it may
    assert cut_short and 0 <= made.max_tokens - len(song) < 30


def test_less_is_seen_where_what_comes_may_be_busier_than_is_usual():
    """As busy as what was there; the nearest bars are seen all the same."""
    dense = " ".join(f"T{step} P{40 + step} P{60 + step}" for step in range(16))
    drums = "Cmaj T0 P36 L1 V20 " + " ".join(["Cmaj T0 P36"] * 59)
    left = {}
    for name, notes in (("quiet", "T0 P40"), ("busy", dense)):
        bass = "Cmaj T0 P40 L1 V20 " + " ".join(["Cmaj T0 P40"] * 28 + [f"Cmaj {notes}"] * 2 + ["Cmaj T0 P40"] * 29)
        given = ids(f"BOS BPM_19 TS_4/4 #D SEP {drums} #P33 SEP {bass} EOS")
        (part,) = in_parts(given, Constraints(fill="bass:30-31"), 440).parts
        assert (part.begin, part.stop) == (29, 31) and part.first <= 25 and part.end >= 35
        left[name] = 60 - (part.end - part.first)
    assert left["busy"] > left["quiet"]


WISHES = [
    (Constraints(fill="bass:5-9"), 2000),
    (Constraints(fill="bass:3-12"), 190),  # in parts
    (Constraints(fill="5-6"), 600),
    (Constraints(fill="piano"), 190),
    (Constraints(fill="12"), 230),
    (Constraints(add="strings,flute"), 2000),
    (Constraints(add="strings,flute"), 330),
]


@pytest.mark.parametrize(("wanted", "tokens"), WISHES)
def test_what_is_asked_for_is_written_and_all_else_stays(wanted, tokens):
    given = song_of("#D #P33 #P0", 12)
    parts = in_parts(given, wanted, tokens)
    assert (len(parts.parts) > 1) == (tokens in (190, 330)), parts.parts
    done = write_all(parts)
    assert wanted.add or grammar.errors([done]) == [None]
    before, chords = grid_song(fields.compute(given))
    after, same_chords = grid_song(fields.compute(done))
    assert np.array_equal(chords, same_chords[: len(chords)]) and np.array_equal(
        after.bars.signature, before.bars.signature
    )
    hidden = parts.given.hidden
    for number, track in enumerate(before.tracks):
        bar, new = track.notes["bar"], after.tracks[number].notes
        if hidden and number in hidden.tracks:
            is_kept = (bar < hidden.first) | (bar >= hidden.stop)
            is_new = (new["bar"] >= hidden.first) & (new["bar"] < hidden.stop)
            assert np.array_equal(new[~is_new], track.notes[is_kept]) and is_new.any()
        else:
            assert np.array_equal(new, track.notes)
    programs = [track.program for track in after.tracks]
    assert programs == [128, 33, 0, *([48, 73] if wanted.add else [])]
    assert np.array_equal(encode_song(after, same_chords, hidden).ids, done)


@pytest.mark.parametrize(("fill", "tokens"), [("3-290", 1500), ("drums:100-140", 2000), ("299-300", 1100)])
def test_a_part_of_a_long_song_sees_as_much_around_it_as_there_is_room_for(fill, tokens):
    song = song_of("#D #P33 #P0 #P0 #P25 #P16 #P89 #P48 #P11 #P56 #P81 #P99", 300)
    parts = in_parts(song, Constraints(fill=fill), tokens)
    asked = parts.given.hidden
    assert parts.parts[0].begin == asked.first and parts.parts[-1].stop == asked.stop
    for before, after in zip(parts.parts, parts.parts[1:], strict=False):
        assert before.stop == after.begin and after.first < after.begin  # it sees what was written
    for part in parts.parts:
        assert part.first <= part.begin < part.stop <= part.end
        made = parts.plan(parts.begun(), part)
        given = plan.prefix(made)
        assert len(given) < tokens and (len(asked.tracks) > 1 or len(given) > tokens / 2)
        assert (given == vocab.MASK).sum() == (part.stop - part.begin) * len(asked.tracks)
    last = parts.parts[-1]
    assert last.end > last.stop or last.stop == 300


@pytest.mark.parametrize(
    "asked", [dict(chords="Am F"), dict(chords="Am F", chord_notes="all"), dict(density="8-16")], ids=str
)
def test_each_part_has_room_for_what_must_hold(asked):
    song = encode(compose(0)).ids
    for tokens in range(500, 1700, 60):
        made = in_parts(song, Constraints(fill="#2:9-16,#3:9-16", **asked), tokens)
        for part in made.parts:
            made.plan(made.begun(), part)


def test_a_window_begins_with_the_tempo_and_meter_in_force_there():
    bars = ["Cmaj T0 P36 L1 V20", *["Cmaj T0 P36"] * 9, "Cmaj TS_3/4 BPM_25 T0 P36", *["Cmaj T0 P36"] * 40]
    bass = [bars[0], *["Cmaj T0 P36"] * 50]
    song = ids(f"BOS BPM_19 TS_4/4 #D SEP {' '.join(bars)} #P33 SEP {' '.join(bass)} EOS")
    parts = in_parts(song, Constraints(fill="bass:40"), 160)
    (part,) = parts.parts
    assert part.first > 11
    assert [vocab.NAMES[token] for token in parts.plan(parts.begun(), part).script[:3]] == ["BOS", "BPM_25", "TS_3/4"]


def test_what_the_model_does_not_see_is_told_or_refused():
    song = song_of("#D #P33", 40)
    assert in_parts(song, Constraints(fill="bass:20"), 2000).notice == ""
    seen = in_parts(song, Constraints(fill="bass:20"), 300).notice
    assert seen.startswith("the model saw bars ")
    assert seen.endswith("of 40 (--max-length 300); the file holds all of them")
    in_several = in_parts(song, Constraints(add="strings"), 300).notice
    assert "parts, for the model sees no more at once (--max-length 300): bars 1-" in in_several
    with pytest.raises(InputError, match="too long for the model to see all of it at once"):
        in_parts(song, Constraints(fill="bass:20", strict=True), 300).notice  # noqa: B018
    with pytest.raises(InputError, match="not even bar 20 of the given song fits; raise --max-length"):
        in_parts(song, Constraints(fill="bass:20"), 60)
    with pytest.raises(InputError, match="--bars 3: the given song has 40 bars, which it keeps"):
        in_parts(song, Constraints(add="strings", bars=3), 300)


def test_new_notes_never_touch_those_that_are_there():
    notes = lambda *rows: np.array(list(rows), GRID_NOTE)
    bars = Bars(np.full(3, vocab.SIGNATURES.index((4, 4)), np.int32))
    there = notes((0, 0, 60, 96, 20), (2, 0, 60, 6, 20))
    new = notes((0, 90, 60, 6, 9), (1, 0, 60, 6, 9), (1, 90, 60, 96, 9), (1, 93, 64, 96, 9), (2, 0, 60, 24, 9))
    assert fitted(there, new, bars).tolist() == [
        (0, 0, 60, 96, 20),
        (1, 0, 60, 6, 9),
        (1, 90, 60, 6, 9),  # shortened
        (1, 93, 64, 96, 9),
        (2, 0, 60, 6, 20),
    ]
