"""What a song has room for, how tracks share it, and what the user's numbers mean: by writers that stand in for a
model.
"""

import json
import re
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import Constraints, InputError
from tests.rows import ids
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import N_PARTS, Bars
from tokenizer.grid.quantize import quantize
from tokenizer.music.composer import compose
from tokenizer.tokens import fields, follow, grammar, plan, room
from tokenizer.tokens.crop import window
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import bar_maps, encode
from tokenizer.tokens.example import example
from tokenizer.tokens.given import given_song
from tokenizer.tokens.grammar import CHORD, CLASS, EOS, TRACK

MODEL_BARS = 64
OPENS, ENDS = CLASS == CHORD, np.isin(CLASS, (TRACK, EOS))


def planned(prompt, wanted: Constraints, tokens: int) -> tuple[plan.Plan, str]:
    made = plan.make_plan(given_song(prompt, wanted), wanted, tokens, tokens // 4, MODEL_BARS, vocab.SIZE)
    return made.plan, "; ".join(made.notices)


def usual_room(prompt, wanted: Constraints) -> plan.Room:
    return plan.usual_room(given_song(prompt, wanted), wanted)


def written(
    made: plan.Plan, tokens_per_bar: list[int], bars: int = MODEL_BARS, seed: int = 0
) -> tuple[np.ndarray, bool]:
    """A song along the plan, and whether it was cut short: by a writer that fills each bar of track n with at least
    tokens_per_bar[n] tokens where it may, would end a track after so many bars, and has another track where it may.
    """
    state, place, random = grammar.begin(1, MODEL_BARS), np.zeros(1, np.int32), np.random.default_rng(seed)
    song, spans, in_bar, cut_short = [], 0, 0, False
    while EOS not in CLASS[song[-1:]]:
        choice = follow.choices(made, place, state, np.array([len(song)]), np.array([spans]))
        token = choice.forced
        is_full = in_bar >= tokens_per_bar[max(int(state.tracks[0]) - 1, 0)]
        last = ENDS if state.bar[0] + 1 >= bars else OPENS
        liked = (last & (CLASS != EOS), last, OPENS | ENDS) if is_full else (~OPENS & ~ENDS, OPENS)
        if token[0] == plan.FREE:
            preferred = (*(choice.allowed[0] & mask for mask in liked), choice.allowed[0])
            token = random.choice(np.flatnonzero(next(mask for mask in preferred if mask.any())), 1)
        cut_short |= bool(follow.cuts_short(choice, token)[0])
        place, state = follow.advance(made, place, token), grammar.push(state, token)
        spans += int(OPENS[token[0]])
        in_bar = 0 if OPENS[token[0]] else in_bar + 1
        song.append(int(token[0]))
    assert len(song) <= made.max_tokens and spans <= made.max_spans
    return np.array(song, np.int32), cut_short


def of_tracks(song: np.ndarray) -> list[tuple[int, int]]:
    """(tokens, bars) of each track."""
    starts = np.flatnonzero(CLASS[song] == TRACK)
    sections = np.split(song[:-1], starts)[1:]
    return [(len(section), int(OPENS[section].sum())) for section in sections]


# ---------------------------------------------------------------- nothing is asked


@pytest.mark.parametrize("song", [encode(compose(3)).ids, encode(compose(8)).ids])
def test_where_nothing_is_asked_a_writer_may_write_any_song(song):
    """Its first bars too, in which nothing has sounded yet."""
    assert refused(planned(None, Constraints(), 4 * len(song))[0], song) is None


def refused(made: plan.Plan, song: np.ndarray) -> str | None:
    """The first token of a song that may not be written along a plan."""
    state, place, spans = grammar.begin(1, MODEL_BARS), np.zeros(1, np.int32), 0
    for number, token in enumerate(song):
        choice = follow.choices(made, place, state, np.array([number]), np.array([spans]))
        may_come = choice.allowed[0, token] if choice.forced[0] == plan.FREE else choice.forced[0] == token
        if not may_come:
            return vocab.NAMES[token]
        place = follow.advance(made, place, np.array([token]))
        state = grammar.push(state, np.array([token]))
        spans += int(OPENS[token])
    return None


def test_the_song_of_a_model_that_has_seen_other_orders_comes_in_any():
    """Held to HID's, a track that is late in it would leave the model the end alone."""
    whole = window(encode(compose(3)), 0, MODEL_BARS)
    n_tracks = len(whole.song.tracks)
    song = example(whole.in_order(np.arange(n_tracks)[::-1])).tokens.ids
    in_order = lambda wanted, any_order: (
        plan.make_plan(None, wanted, 4 * len(song), len(song), MODEL_BARS, vocab.SIZE, any_order).plan
    )
    assert n_tracks > 2 and refused(in_order(Constraints(), True), song) is None
    second = vocab.NAMES[song[CLASS[song] == TRACK][1]]
    assert refused(in_order(Constraints(), False), song) == second
    assert refused(in_order(Constraints(pitches="C0-C9"), True), song) == second  # what must hold leans on the order


def test_a_song_whose_instruments_nobody_asked_for_has_a_channel_for_each():
    """A model that has lost its way writes one flute after another; that it was stopped is no want of room."""
    made = plan.make_plan(None, Constraints(bars=1), 4000, 1000, MODEL_BARS, vocab.SIZE, any_order=True).plan
    song, cut_short = written(made, [6] * 40)
    assert len(of_tracks(song)) == room.MOST_TRACKS and not cut_short
    many = ",".join(["flute"] * 20)
    assert len(of_tracks(written(planned(None, Constraints(bars=1, instruments=many), 4000)[0], [6] * 40)[0])) == 20


# ---------------------------------------------------------------- room for tracks


def test_each_track_has_its_share_of_too_little_room_and_all_go_to_the_last_bar():
    """Else the first, which would fill all of it, leaves the others an empty bar after another."""
    made, _ = planned(None, Constraints(instruments="drums,bass,piano", bars=20, meter="4/4"), 600)
    song, cut_short = written(made, [1000, 1000, 1000])
    assert cut_short
    (drums, *_), (bass, _), (piano, _) = tracks = of_tracks(song)
    assert [bars for _, bars in tracks] == [20, 20, 20]
    usual = [room.tokens_per_bar(program) for program in (128, 33, 0)]
    shares = np.array(usual) / sum(usual) * 600
    assert np.abs(np.array([drums, bass, piano]) - shares).max() < 40


def test_what_a_track_leaves_of_its_share_the_later_ones_may_take():
    made, _ = planned(None, Constraints(instruments="drums,bass,piano", bars=20, meter="4/4"), 600)
    song, _ = written(made, [3, 1000, 1000])
    (drums, _), (bass, _), (piano, _) = of_tracks(song)
    assert drums < 150 and bass > 270 and piano > 120


def test_a_song_whose_length_nobody_asked_for_ends_where_its_first_track_has_had_its_share():
    made, _ = planned(None, Constraints(instruments="drums,bass,piano", meter="4/4"), 600)
    (drums, bars), (bass, _), (piano, _) = of_tracks(written(made, [30, 30, 30])[0])
    assert 6 < bars < 14 and drums < 340 and bass > 100 and piano > 100


def test_tracks_that_go_on_share_by_what_they_took_so_far():
    dense = " ".join(f"T{step} P{36 + step}{' L1 V20' if step == 0 else ''}" for step in range(16))
    bar = f"Cmaj {dense}"
    thin = "Cmaj T0 P40 L4 V20"
    given = ids(f"BOS BPM_19 TS_4/4 #P33 SEP {bar} #P33 SEP {thin} EOS")
    made, _ = planned(given, Constraints(bars=15), 500)
    (dense_tokens, _), (thin_tokens, _) = of_tracks(written(made, [1000, 1000])[0])
    assert 1.1 < dense_tokens / thin_tokens < 1.6  # 33 tokens a bar to the 27 of any bass


# ---------------------------------------------------------------- cut short, or not


@pytest.mark.parametrize(
    ("wanted", "tokens", "bars", "is_cut"),
    [
        (Constraints(instruments="drums,piano", bars=8), 2000, 8, False),
        (Constraints(instruments="drums,piano", bars=8), 145, 8, True),
        (Constraints(), 100, 3, True),  # another track was wanted and withheld
        (Constraints(instruments="drums"), 2000, MODEL_BARS + 1, True),  # the model has no more bars
        (Constraints(instruments="drums"), 2000, 10, False),
        (Constraints(instruments="drums", bars=MODEL_BARS, meter="4/4"), 2000, MODEL_BARS, False),
    ],
)
def test_a_song_that_room_ended_says_so_and_no_other(wanted, tokens, bars, is_cut):
    _, cut_short = written(planned(None, wanted, tokens)[0], [12] * 100, bars)
    assert cut_short == is_cut


# ---------------------------------------------------------------- the room that is given


def test_what_tracks_usually_take_is_what_was_measured():
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "tokens_per_bar.json"
    measured = json.loads(path.read_text(encoding="utf-8"))["results"]
    for program in range(129):
        assert room.tokens_per_bar(program) == round(measured[room.group(program)]["nine_in_ten"])
    assert round(measured["song"]["nine_in_ten"]) == room.SONG_TOKENS_PER_BAR


def test_a_given_song_usually_fits_with_what_is_added():
    given = compose(0)
    tokens = encode(given)
    bars = int(tokens.bar.max()) + 1
    accompanied = usual_room(given, Constraints(add="bass,strings"))
    assert accompanied.tokens - len(tokens) > bars * (room.tokens_per_bar(33) + room.tokens_per_bar(48))
    continued = usual_room(given, Constraints(bars=bars + 10))
    assert len(tokens) < continued.tokens < 2 * len(tokens) and continued.spans > (tokens.span.max() + 1) + 10
    for wanted, needed in ((Constraints(add="bass,strings"), accompanied), (Constraints(bars=bars + 10), continued)):
        made = plan.make_plan(given_song(given, wanted), wanted, needed.tokens, needed.spans, 2048, vocab.SIZE)
        assert made.left_out == 0 and made.notices == []


def test_new_songs_have_room_for_the_bars_that_are_asked():
    few, many = (usual_room(None, Constraints(instruments="drums,bass", bars=bars)) for bars in (10, 200))
    assert few.tokens < 1000 and many.tokens > 200 * (room.tokens_per_bar(128) + room.tokens_per_bar(33))
    assert usual_room(None, Constraints(bars=200)).tokens > 200 * room.SONG_TOKENS_PER_BAR


# ---------------------------------------------------------------- the user's numbers


def song_of(bars: int) -> np.ndarray:
    """Drums, a piano that begins in the last bar."""
    drums = " ".join(["Cmaj T0 P36 L1 V25 T4 P38 T8 P36 T12 P38"] + ["Cmaj T0 P36 T4 P38 T8 P36 T12 P38"] * (bars - 1))
    piano = " ".join(["Cmaj"] * (bars - 1) + ["Cmaj T0 P60 L4 V20"])
    return ids(f"BOS BPM_19 TS_4/4 #D SEP {drums} #P0 SEP {piano} EOS")


def bars_of(made: plan.Plan) -> tuple[int, int]:
    """Given bars of the first track, and bars of the whole."""
    return int(OPENS[made.script[: np.flatnonzero(made.script == vocab.SEP)[1]]].sum()), int(made.min_measures)


def test_bars_count_from_the_beginning_of_the_given_song_even_where_that_is_left_out():
    whole, cropped = (planned(song_of(40), Constraints(bars=44), tokens) for tokens in (1000, 300))
    assert bars_of(whole[0]) == (40, 44) and whole[1] == ""
    given, total = bars_of(cropped[0])
    assert given < 30 and total - given == 4
    seen = f"the model saw the last {given} of 40 bars (--max-length 300)"
    assert cropped[1] == f"{seen}; the file holds all of them"


def test_a_song_of_more_bars_than_the_model_has_loses_those_that_do_not_fit():
    made, notice = planned(song_of(62), Constraints(bars=72), 4000)
    assert bars_of(made) == (54, 64)
    assert notice.startswith("the model saw the last 54 of 62 bars (this model has room for 64 bars)")
    with pytest.raises(InputError, match="--bars 126: 64 more than the given song has; this model has room for 64"):
        planned(song_of(62), Constraints(bars=126), 4000)


def test_bars_that_are_kept_may_end_in_silence():
    drums = " ".join(["Cmaj T0 P36 L1 V25"] + ["Cmaj T0 P36 T8 P36"] * 30 + ["Cmaj"] * 8 + ["Cmaj T0 P36"])
    given = ids(f"BOS BPM_19 TS_4/4 #D SEP {drums} EOS")
    made, notice = planned(given, Constraints(keep_bars=38, bars=40), 64)
    first, total = int(made.behind), int(made.min_measures)
    assert 7 < first < 14 and total == first + 2 and notice.startswith(f"the model saw the last {first} of 38 bars")


def test_a_song_that_fits_with_what_is_asked_keeps_all_of_its_bars():
    """Though it takes more than three quarters of the room."""
    given = song_of(40)
    needed = usual_room(given, Constraints(bars=41))
    assert len(given) > plan.GIVEN_SHARE * needed.tokens
    assert planned(given, Constraints(bars=41), needed.tokens)[1] == ""


@pytest.mark.parametrize(
    ("wanted", "tokens", "ways"),
    [
        (Constraints(strict=True, bars=44), 300, "raise --max-length or lower --keep-bars"),
        (Constraints(strict=True, bars=72), 4000, "lower --keep-bars"),
    ],
)
def test_strict_refuses_and_says_what_would_help(wanted, tokens, ways):
    with pytest.raises(InputError, match=rf"would see only the last \d+ of 40 bars \(.*\); {ways}$"):
        planned(song_of(40), wanted, tokens)


# ---------------------------------------------------------------- meters that alternate


def song_in(*meters: str) -> np.ndarray:
    """Drums that strike once a bar, and a bass in the first."""
    said = [
        f"Cmaj {f'TS_{meter} ' if bar and meter != meters[bar - 1] else ''}T0 P36{' L1 V20' if bar == 0 else ''}"
        for bar, meter in enumerate(meters)
    ]
    return ids(f"BOS BPM_19 TS_{meters[0]} #D SEP {' '.join(said)} #P33 SEP Cmaj T0 P40 L1 V20 EOS")


def meters_of(song: np.ndarray) -> list[str]:
    signature, _, _ = bar_maps(fields.compute(song))
    return ["{}/{}".format(*vocab.SIGNATURES[meter]) for meter in signature]


@pytest.mark.parametrize(
    ("meters", "new"),
    [
        (["4/4", "3/8"] * 3, ["4/4", "3/8", "4/4", "3/8", "4/4"]),
        (["4/4", "4/4", "2/4"] * 2, ["4/4", "4/4", "2/4", "4/4", "4/4"]),
        (["2/4", *["3/4", "6/8", "6/8", "5/8"] * 2], ["3/4", "6/8", "6/8", "5/8", "3/4"]),
    ],
)
@pytest.mark.parametrize("tokens", [2000, 85])
def test_new_bars_after_alternating_meters_alternate_on(meters, new, tokens):
    """Also where room is short: then without a note that is not needed."""
    made, _ = planned(song_in(*meters), Constraints(bars=len(meters) + 5), tokens)
    song, cut_short = written(made, [10, 10])
    assert meters_of(song)[int(made.behind) :] == new and grammar.errors([song]) == [None]
    assert cut_short == (tokens == 85)


def test_the_least_room_holds_the_meters_that_alternate():
    """In the fewest tokens of which the plan says that they are enough."""
    given, wanted = given_song(song_in(*["4/4", "3/8"] * 3), Constraints(bars=36)), Constraints(bars=36)
    for tokens in range(60, 300, 2):
        try:
            made = plan.make_plan(given, wanted, tokens, tokens, MODEL_BARS, vocab.SIZE).plan
            break
        except InputError as error:
            assert "raise --max-length" in str(error)
    song, _ = written(made, [10, 10])
    assert meters_of(song)[int(made.behind) :] == ["4/4", "3/8"] * 15 and made.max_tokens - len(song) < 30


@pytest.mark.parametrize("meters", [["4/4"] * 6, ["3/4", "4/4", "3/8"], ["4/4", "3/8", "3/8", "3/8"]])
def test_the_model_chooses_meters_after_any_others(meters):
    made, _ = planned(song_in(*meters), Constraints(bars=9), 2000)
    assert (made.signatures == -1).all()
    accompanied, _ = planned(song_in("4/4", "3/8", "4/4", "3/8"), Constraints(add="bass"), 2000)
    assert (accompanied.signatures == -1).all()


def test_numpy_and_jax_follow_alternating_meters_alike():
    bars = " ".join(
        f"Cmaj {'TS_5/4 ' if bar else ''}T0 P36{' L1 V20' if bar == 0 else ''} Cmaj Cmaj TS_3/8" for bar in range(3)
    )
    made, _ = planned(
        ids(f"BOS BPM_19 TS_5/4 #D SEP {bars} T0 P36 #P33 SEP Cmaj T0 P40 L1 V20 EOS"), Constraints(bars=10), 300
    )
    song, _ = written(made, [4, 4])
    rows = np.arange(len(song))
    state, place, spans = grammar.begin(1, MODEL_BARS), np.zeros(1, np.int32), 0
    states, places, all_spans = [], [], []
    for token in song:
        states, places, all_spans = [*states, state], [*places, place[0]], [*all_spans, spans]
        place, state = follow.advance(made, place, np.array([token])), grammar.push(state, np.array([token]))
        spans += int(OPENS[token])
    together = grammar.State(*(np.concatenate(parts) for parts in zip(*states, strict=True)))
    arguments = (np.array(places), together, rows, np.array(all_spans))
    here = follow.choices(made, *arguments)
    there = jax.jit(partial(follow.choices, xp=jnp))(made, *arguments)
    assert all(map(np.array_equal, here, there)) and (here.forced != made.script[places]).sum() == 4


# ---------------------------------------------------------------- measures, which people call bars


def measures_of(song: np.ndarray) -> list[str]:
    """Their meters, by the bar of the last note of all."""
    bars = quantize(decode(song)).bars
    return ["{}/{}".format(*vocab.SIGNATURES[meter]) for meter in bars.signature[bars.part == 0]]


def least_tokens(prompt, wanted: Constraints) -> int:
    """Of which the plan says that they are enough."""
    with pytest.raises(InputError, match="raise --max-length") as error:
        planned(prompt, wanted, 33)
    return int(re.search(r"at least (\d+) tokens", str(error.value))[1])


@pytest.mark.parametrize("meter", ["4/4", "5/4", "12/8", "9/16", "1/16", "9/8", "4/2"])
@pytest.mark.parametrize("more", [4, 60])
def test_so_many_bars_are_so_many_measures_of_the_meter_asked_for(meter, more):
    """Of all tracks, also where room is short, with a chord for each: in both of its parts where it has two."""
    wanted = Constraints(instruments="drums,bass,flute", bars=5, meter=meter, chords="C Am F", transpose=2)
    made, _ = planned(None, wanted, least_tokens(None, wanted) + more)
    song, _ = written(made, [9, 9, 9])
    assert grammar.errors([song]) == [None]
    assert measures_of(song) == [meter] * 5
    measure = quantize(decode(song)).bars.measure
    chords = [vocab.NAMES[token] for token in song[OPENS[song]]]
    asked = ["Dmaj", "Bmin", "Gmaj"]
    assert chords == [asked[number % 3] for number in measure.tolist()] * 3


@pytest.mark.parametrize("seed", range(2))
def test_whatever_meters_are_chosen_there_is_room_for_as_many_measures_as_asked(seed):
    """Of tokens, spans and the model's bars: where a measure of two would have none, one of a single bar is written."""
    for wanted, more in ((Constraints(instruments="drums,bass", bars=20), 30), (Constraints(bars=60), 200)):
        made, _ = planned(None, wanted, least_tokens(None, wanted) + more)
        song, _ = written(made, [3] * 100, wanted.bars, seed=seed)
        assert grammar.errors([song]) == [None] and len(measures_of(song)) == wanted.bars
        assert fields.compute(song).bar.max() < MODEL_BARS


@pytest.mark.parametrize(
    ("meters", "last_part", "new"),
    [
        (["5/4"] * 4, True, ["5/4"]),
        (["5/4"] * 4, False, ["5/4"]),
        (["4/4", "4/4", "12/8"], False, ["12/8"]),
        (["5/4"] * 2 + ["4/4"] * 2, True, ["4/4"]),
        (["5/4", "4/4"] * 3, True, ["5/4", "4/4"]),
        (["5/4", "5/4", "3/4"] * 2, True, ["5/4", "5/4", "3/4"]),
        (["9/16", "12/8"] * 2, False, ["9/16", "12/8"]),
    ],
)
@pytest.mark.parametrize("has_room", [False, True])
def test_a_song_goes_on_after_whole_measures(meters, last_part, new, has_room):
    """Also where its last note begins in the first part of the last one."""
    bars = Bars(np.repeat([signature(meter) for meter in meters], [N_PARTS[signature(meter)] for meter in meters]))
    parts = [
        f"Cmaj {f'TS_{meters[m]} ' if p == 0 and m and meters[m] != meters[m - 1] else ''}"
        f"T0 P36{' L1 V20' if m == p == 0 else ''}"
        for m, p in zip(bars.measure, bars.part, strict=True)
        if last_part or p == 0 or m < len(meters) - 1
    ]
    given = ids(f"BOS BPM_19 TS_{meters[0]} #D SEP {' '.join(parts)} #P33 SEP Cmaj T0 P40 L1 V20 EOS")
    assert grammar.errors([given]) == [None]
    wanted = Constraints(bars=len(meters) + 5, chords="F G")
    made, notice = planned(given, wanted, 400 if has_room else 130)
    assert notice == "" or not has_room
    song, _ = written(made, [6, 6], bars=made.behind + 1)
    assert grammar.errors([song]) == [None]
    kept, found = int(made.min_measures) - 5, measures_of(song)
    assert made.behind == bars.part[bars.measure >= len(meters) - kept].size
    assert len(found) == kept + 5 and found[:kept] == meters[len(meters) - kept :]
    if len(new) > 1:
        assert found[kept:] == [new[number % len(new)] for number in range(5)]
    measure = quantize(decode(song)).bars.measure
    chords = [vocab.NAMES[token] for token in song[OPENS[song]]][: len(measure)]
    said = [(chord, number - kept) for chord, number in zip(chords, measure.tolist(), strict=True) if number >= kept]
    assert said == [(("Fmaj", "Gmaj")[number % 2], number) for _, number in said]


def signature(meter: str) -> int:
    return vocab.SIGNATURES.index(tuple(map(int, meter.split("/"))))


def test_kept_bars_are_measures_and_what_is_told_counts_them():
    bar = "Cmaj T0 P36 Cmaj T0 P36"
    given = ids(f"BOS BPM_19 TS_5/4 #D SEP Cmaj T0 P36 L1 V20 Cmaj T0 P36 {' '.join([bar] * 29)} EOS")
    made, notice = planned(given, Constraints(keep_bars=20, bars=22), 2000)
    assert (int(made.behind), int(made.min_measures), notice) == (40, 22, "")
    made, notice = planned(given, Constraints(bars=33), 2000)
    assert int(made.behind) == 58 and notice.startswith(
        "the model saw the last 29 of 30 bars (this model has room for 32 bars of 5/4)"
    )
    for wanted, message in (
        (Constraints(keep_bars=31), "--keep-bars 31: the given song has 30 bars"),
        (Constraints(bars=30), "--bars 30: the given song takes 30 and one is to be added"),
        (Constraints(bars=63), "--bars 63: 33 more than the given song has; this model has room for 32 of 5/4 in all"),
    ):
        with pytest.raises(InputError, match=message):
            planned(given, wanted, 2000)
    with pytest.raises(InputError, match="--bars 33: this model has room for 32 of 12/8"):
        planned(None, Constraints(meter="12/8", bars=33), 2000)


# ---------------------------------------------------------------- many notes at once


def test_a_track_in_which_nearly_all_pitches_sound_comes_to_an_end():
    """With notes of sixteen bars, of which a writer wants as many as there are."""
    notes = " ".join(f"P{pitch}{' L256 V20' if pitch == 0 else ''}" for pitch in range(125))
    given = ids(f"BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 {notes} Cmaj T0 P125 EOS")
    for tokens in (220, 400):
        song, _ = written(planned(given, Constraints(bars=12), tokens)[0], [20])
        assert grammar.errors([song]) == [None] and len(measures_of(song)) == 12
