"""What must hold in the notes holds whatever is drawn: by writers that stand in for a model, and read back by loops
that know nothing of the rules.
"""

import numpy as np
import pytest

from configs import Constraints, InputError
from tests.rows import ids
from tests.tokenizer.test_plan import written
from tokenizer import vocabulary as vocab
from tokenizer.grid.chords import TONES
from tokenizer.grid.meter import N_PARTS
from tokenizer.music.score import DRUMS
from tokenizer.tokens import follow, grammar, held, key_names, names, plan
from tokenizer.tokens.decode import decode
from tokenizer.tokens.given import given_song
from tokenizer.tokens.grammar import CHORD, CLASS, DURATION, PITCH, POSITION, SIGNATURE, TRACK, VALUE
from tokenizer.tokens.parts import InParts

MODEL_BARS = 24


def planned(prompt, wanted: Constraints, tokens: int = 1500, vocab_size: int = vocab.SIZE) -> plan.Plan:
    given = given_song(prompt, wanted)
    if wanted.add or wanted.fill:
        parts = InParts.of(given, wanted, plan.Room(tokens, tokens // 4), MODEL_BARS, vocab_size)
        (part,) = parts.parts
        return parts.plan(parts.begun(), part)
    return plan.make_plan(given, wanted, tokens, tokens // 4, MODEL_BARS, vocab_size).plan


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
        state = grammar.State(*(_kept(over, *pair) for pair in zip(pushed, state, strict=True)))
        place = _kept(over, moved, place)
        if (over | (token == vocab.EOS)).all():
            break
    found = [row[: int(np.argmax(row == vocab.EOS)) + 1] for row in written]
    assert all(len(song) > 1 for song in found), "a song without an end"
    assert (spans <= made.max_spans).all()
    return found


def _kept(over: np.ndarray, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Songs that are over stay as they are."""
    return np.where(over.reshape(-1, *[1] * (new.ndim - 1)), old, new)


def sections(tokens: np.ndarray) -> list[tuple[int, list[list[tuple[int, int, int]]], list[tuple[int, int, int]]]]:
    """Of each track of a song, in the order of its tokens: its program; of each of its bars the notes (onset, end,
    pitch) in fine steps of the song; and of each bar (start, signature, measure), all by counting along.
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
            of_beat = lambda onset: (onset - start) // beat  # noqa: B023
            assert all(p % 12 in allowed or of_beat(end - 1) == of_beat(onset) for onset, end, p in notes)
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

METERS = ["", "5/4", "6/8", "1/16"]


@pytest.mark.parametrize("meter", METERS)
def test_a_bar_has_from_the_fewest_to_the_most_strikes(meter):
    fewest, most = (1, 1) if meter == "1/16" else (7, 9)
    for tokens in walked(planned(None, Constraints(density=f"{fewest}-{most}", meter=meter), 250), 3):
        for _, played, bars in sections(tokens):
            counts = strikes(played, bars)
            assert fewest <= counts.min() and counts.max() <= most


def test_tracks_that_the_model_chooses_go_to_the_last_bar_where_they_have_fewest_strikes():
    songs = walked(planned(None, Constraints(density="2-3", meter="2/4", bars=3), 400), 4)
    tracks = [track for song in songs for track in sections(song)]
    assert len(tracks) > 2 * len(songs)
    assert all(len(played) == 3 and strikes(played, bars).min() >= 2 for _, played, bars in tracks)


@pytest.mark.parametrize(("meter", "fewest", "most"), [("", 3, 5), ("9/8", 2, 2), ("1/16", 1, 1)])
def test_from_the_fewest_to_the_most_notes_sound_wherever_one_is_struck(meter, fewest, most):
    wanted = Constraints(polyphony=f"{fewest}-{most}", meter=meter, instruments="piano,strings", bars=3)
    for tokens in walked(planned(None, wanted, 250), 4):
        for _, played, _ in sections(tokens):
            assert {min(sounding(played)), max(sounding(played))} <= set(range(fewest, most + 1))


def test_pitches_are_those_of_the_key_and_of_each_instrument_s_range():
    wanted = Constraints(key="A minor", pitches="bass:E1-G2,C3-C5,drums:36", instruments="drums,bass,piano", bars=3)
    ranges = {DRUMS: (36, 36), 33: (28, 43), 0: (48, 72)}
    for tokens in walked(planned(None, wanted, 300), 4):
        labels = [vocab.NAMES[token] for token in tokens if CLASS[token] == CHORD]
        assert all(name == "N" or tones(name) <= {9, 11, 0, 2, 4, 5, 7} for name in labels)
        for program, played, _ in sections(tokens):
            low, high = ranges[program]
            for pitch in (pitch for notes in played for *_, pitch in notes):
                assert low <= pitch <= high and (program == DRUMS or pitch % 12 in {9, 11, 0, 2, 4, 5, 7})


@pytest.mark.parametrize(("mode", "meter"), [("all", "4/4"), ("beats", "6/8"), ("beats", "")])
def test_notes_are_tones_of_the_asked_chords_and_the_lowest_track_says_their_root(mode, meter):
    """Also where they ring into bars of other chords; and without --polyphony the leading track says all tones."""
    asked = ["Cmaj", "Amin7", "N", "F9"] * 6
    wanted = Constraints(
        chords="C Am7 N F9", chord_notes=mode, meter=meter, instruments="drums,bass,piano,strings", bars=4
    )
    for tokens in walked(planned(None, wanted, 400), 2):
        assert_chords_hold(tokens, asked, mode == "all")
        (piano,) = (track for track in sections(tokens) if track[0] == 0)
        for notes, (start, signature, measure) in zip(*piano[1:], strict=False):
            if notes and asked[measure] != "N":
                first = notes[0][0]
                rang = {pitch % 12 for bar in piano[1] for onset, end, pitch in bar if onset <= first < end}
                assert tones(asked[measure]) <= rang
                assert notes[0][2] % 12 == {"Cmaj": 0, "Amin7": 9, "F9": 5}[asked[measure]]
                lasts = min(2 * held.BEAT[signature], grammar.LENGTH[signature, 0])
                assert notes[0][1] - start > lasts - vocab.SIXTEENTH  # the longest length that a token says
                if mode == "all":
                    assert notes[0][2] == min(pitch for *_, pitch in notes)
                    assert len({end for onset, end, _ in notes if onset == first}) == 1


@pytest.mark.parametrize(
    ("meter", "on", "off"),
    [
        ("6/8", "T6", "T4"),
        ("3/4", "T4", "T6"),
        ("2/2", "T4", "T2"),
        ("7/8", "T8", "T6"),
        ("3/16", "T0", "T1"),
    ],
)
def test_beats_are_quarters_or_dotted_ones(meter, on, off):
    made = planned(None, Constraints(chords="C", instruments="piano", meter=meter, bars=1))

    def may_come(position: str) -> set[int]:
        begun = "T0 P60 L1/2 V20 P64 P67 " if position != "T0" else ""
        state = grammar.begin(1, MODEL_BARS)
        for token in ids(f"BOS BPM_19 TS_{meter} #P0 SEP Cmaj {begun}{position}"):
            state = grammar.push(state, np.array([token]))
        legal = (grammar.allowed(state) & held.allowed(made, state))[0]
        return {int(pitch) % 12 for pitch in VALUE[legal & (CLASS == PITCH)]}

    assert may_come(on) <= {0, 4, 7} and len(may_come(off)) == 12


def test_the_chord_finder_hears_the_asked_chords():
    """A writer without any sense of them is heard in most bars under `all`, in few where notes are free."""
    found = {}
    for mode in ("all", "free"):
        wanted = Constraints(chords="C Dm G7 F", chord_notes=mode, meter="2/4", instruments="bass,piano", bars=6)
        made = planned(None, wanted, 380)
        counts = [held.heard(made.chords, decode(tokens)) for tokens in walked(made, 4)]
        assert {asked for _, asked in counts} == {6}
        found[mode] = sum(heard for heard, _ in counts) / 24
    assert found["all"] > 0.6 > 0.3 > found["free"]


TOGETHER = dict(density="drums:8-16,bass:2-4", polyphony="bass:1,piano:2-4", pitches="bass:E1-G3,C3-C6", key="A minor")


def assert_together(tokens, first_measure: int = 0) -> None:
    for program, played, bars in sections(tokens):
        new = [notes for notes, (*_, measure) in zip(played, bars, strict=False) if measure >= first_measure]
        counts = strikes(played, bars)[first_measure:]
        if program in (DRUMS, 33):
            assert (2 if program == 33 else 8) <= counts.min() and counts.max() <= (4 if program == 33 else 16)
        if program in (0, 33) and first_measure == 0:
            assert set(sounding(played)) <= ({1} if program == 33 else {2, 3, 4})
        if program != DRUMS:
            pitches = {pitch for notes in new for *_, pitch in notes}
            assert {pitch % 12 for pitch in pitches} <= {9, 11, 0, 2, 4, 5, 7}
            assert all((28 if program == 33 else 48) <= pitch <= (55 if program == 33 else 84) for pitch in pitches)


@pytest.mark.parametrize(("meter", "tokens"), [("4/4", 700), ("5/4", 600), ("7/8", 430)])
def test_all_together_and_where_room_is_short(meter, tokens):
    """The last two leave hardly more room than what is asked takes."""
    wanted = Constraints(chords="Am Dm", instruments="drums,bass,piano", bars=3, meter=meter, **TOGETHER)
    for song in walked(planned(None, wanted, tokens), 3):
        assert_together(song)
        assert_chords_hold(song, ["Amin", "Dmin"] * 12, always=False)
        assert grammar.errors([song]) == [None]


@pytest.mark.parametrize(("meter", "bars"), [("4/4", 22), ("5/4", 11)])
def test_the_least_room_is_enough(meter, bars):
    """The fewest tokens of which the plan says so, for writers who want more."""
    wanted = Constraints(density="2-60", meter=meter, bars=bars, instruments="drums")
    with pytest.raises(InputError, match="takes at least") as error:
        planned(None, wanted, 40)
    least = int(str(error.value).split("at least ")[1].split()[0])
    tokens, cut_short = written(planned(None, wanted, least), [100])
    ((_, played, of),) = sections(tokens)
    assert cut_short and len(strikes(played, of)) == bars and strikes(played, of).min() >= 2


def given_band() -> np.ndarray:
    """Notes that nothing of what is asked would allow, the last ringing into the bars to come."""
    drums = "#D SEP Cmaj T0 P36 L1 V25 Cmaj T0 P36"
    bass = "#P33 SEP Cmaj T0 P20 L8 V20 Cmaj T12 P90 L6"
    piano = "#P0 SEP Cmaj T4 P61 L2 V22 P66 Cmaj T8 P63 L12"
    return ids(f"BOS BPM_19 TS_4/4 {drums} {bass} {piano} EOS")


def test_new_bars_of_a_given_song_keep_to_it_and_given_ones_stay():
    given = given_band()
    for tokens in walked(planned(given, Constraints(bars=4, chords="Am F", **TOGETHER), 500), 3):
        assert_together(tokens, first_measure=2)
        assert_chords_hold(tokens, ["Cmaj", "Cmaj"] + ["Amin", "Fmaj"] * 11, always=False, first_measure=2)
        assert sections(tokens)[1][1][:2] == sections(given)[1][1]
        for _, played, _ in sections(tokens)[1:]:
            new = [notes for notes in played[2:] if notes]
            most = max(sum(s <= time < e for bar in played for s, e, _ in bar) for bar in new for time, *_ in bar)
            assert most <= (1 if played[0][0][2] == 20 else 4)  # with what rings in


def test_tracks_that_are_added_to_a_given_song_keep_to_it():
    wanted = Constraints(add="strings,drums", density="drums:8-16,strings:2-6", polyphony="3-4", key="E major")
    for tokens in walked(planned(given_band(), wanted, 1500), 3):
        assert [program for program, *_ in sections(tokens)[3:]] == [DRUMS, 48]
        for program, played, bars in sections(tokens)[3:]:
            assert set(strikes(played, bars)) <= set(range(8, 17) if program == DRUMS else range(2, 7))
            assert set(sounding(played)) <= {3, 4}
            if program == 48:
                assert {pitch % 12 for notes in played for *_, pitch in notes} <= {4, 6, 8, 9, 11, 1, 3}


@pytest.mark.parametrize("fill", ["piano", "#3:2", "2"])
def test_bars_that_are_written_anew_keep_to_it(fill):
    """Also where others stand before them."""
    wanted = Constraints(fill=fill, density="2-6", key="E major", chords="E B7")
    for tokens in walked(planned(given_band(), wanted, 1500), 3):
        *_, (program, played, bars) = sections(tokens)[3:]
        assert program == 0 and set(strikes(played, bars)[: len(played)]) <= set(range(2, 7))
        assert {pitch % 12 for notes in played for *_, pitch in notes} <= {4, 6, 8, 9, 11, 1, 3}


def test_a_whole_chord_lasts_as_long_as_a_length_says():
    """14 of the 18 fine steps of this bar have no token, and a tone that the next chord lacks rings no longer."""
    wanted = Constraints(instruments="flute,bass", bars=3, meter="3/16", chords="C Am F G")
    for seed in range(6):
        for tokens in walked(planned(None, wanted, 400), 4, seed):
            assert_chords_hold(tokens, ["Cmaj", "Amin", "Fmaj", "Gmaj"], always=False)


def test_the_track_that_leads_a_song_leads_in_its_hidden_bars():
    """It says the root, the first one that is no bass sounds the whole chord; so does it where it alone is hidden."""
    for fill in ("1-2", "piano"):
        for tokens in walked(planned(given_band(), Constraints(fill=fill, chords="C F"), 1500), 3):
            played = {program: bars for program, bars, _ in sections(tokens)[3:]}
            assert list(played) == ([DRUMS, 33, 0] if fill == "1-2" else [0])
            for bar, (root, name) in enumerate(((0, "Cmaj"), (5, "Fmaj"))):
                bass = min(((start, pitch) for start, _, pitch in played.get(33, [[(0, 0, root)]] * 2)[bar]))
                assert bass[1] % 12 == root
                first = min(start for start, *_ in played[0][bar])
                sounds = {pitch % 12 for notes in played[0] for start, end, pitch in notes if start <= first < end}
                assert sounds >= tones(name)


def test_without_a_wish_nothing_is_held():
    assert planned(None, Constraints(instruments="drums", bars=3, chords="C", chord_notes="free")).held is None


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            dict(pitches="flute:C4-C5", instruments="bass,drums"),
            "--pitches flute:C4-C5: no flute is written, but Drums, F",
        ),
        (dict(key="A minor", chords="Am E7"), "--chords: bar 2 is E7, whose G# --key A minor has not; change one"),
        (dict(density="drums:8", meter="1/16", instruments="drums"), "--density drums:8: .* not fit a bar of 1/16"),
        (
            dict(pitches="bass:C2-C2", key="B major", instruments="bass"),
            "--key B major and --pitches .*: Fingered Bass",
        ),
        (
            dict(pitches="C4-D4", polyphony="3-4", key="C major", instruments="piano"),
            "has not 3 pitches that may be struck",
        ),
        (dict(polyphony="4-5", density="1-3"), "cannot have 4 notes at once at least and no more than 3 strikes"),
        (dict(chords="C F", pitches="C4-E4", instruments="bass"), "has not a pitch that .* under each of the chords"),
        (dict(density="40", polyphony="1", instruments="bass", bars=2), "what is asked fits no bar of any meter"),
        (dict(density="drums:16", instruments="drums,bass", bars=20), "takes at least .* tokens; raise --max-length"),
    ],
)
def test_what_cannot_be_is_refused_by_flag_before_any_work(wanted, message):
    with pytest.raises(InputError, match=message):
        planned(None, Constraints(**wanted), 600)


def test_a_given_note_that_leaves_no_room_is_told():
    given = ids("BOS BPM_19 TS_4/4 #P33 SEP Cmaj T0 P40 L64 V20 EOS")
    with pytest.raises(
        InputError, match=r"--polyphony bass:1: notes of the given song ring into bar 2 \(Fingered Bass\)"
    ):
        planned(given, Constraints(bars=3, polyphony="bass:1"))


# ---------------------------------------------------------------- what people write


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("A minor", {9, 11, 0, 2, 4, 5, 7}),
        ("Am", {9, 11, 0, 2, 4, 5, 7}),
        ("Bb", {10, 0, 2, 3, 5, 7, 9}),
        ("B flat major", {10, 0, 2, 3, 5, 7, 9}),
        ("d dorian", {2, 4, 5, 7, 9, 11, 0}),
        ("F# harmonic minor", {6, 8, 9, 11, 1, 2, 5}),
        ("CM", {0, 2, 4, 5, 7, 9, 11}),
    ],
)
def test_keys_are_scales(text, classes):
    assert key_names.key(text, "--key") == classes


def test_ranges_are_of_one_instrument_or_of_all_and_the_one_for_itself_holds():
    basses, pianos = tuple(range(32, 40)), tuple(range(8))  # what people call so
    assert names.pitches("bass:E1-G3, Bb2-F#5", "--pitches") == [("", (), 46, 78), ("bass", basses, 28, 55)]
    assert names.pitches("28-55;drums:36", "--pitches") == [("", (), 28, 55), ("drums", (128,), 36, 36)]
    assert names.pitches("C-1-G9", "--pitches") == [("", (), 0, 127)]
    assert names.strikes("drums:8-16,4", "--density") == [("", (), 4, 4), ("drums", (128,), 8, 16)]
    assert names.voices("piano:1-4,38:2", "--polyphony") == [("piano", pianos, 1, 4), ("38", (38,), 2, 2)]
    assert names.notices(Constraints(density="grand:1-4")) == [
        "grand -> Acoustic Grand Piano (0) (also: Electric Grand Piano (2))"
    ]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (dict(polyphony="piano:1-4,piano:2"), "--polyphony piano:1-4,piano:2: piano is said twice"),
        (dict(polyphony="bass:1-4,38:2"), "--polyphony bass:1-4,38:2: 38 is said twice"),
        (dict(density="1,2-3"), "--density 1,2-3: all of them is said twice"),
        (dict(chord_notes="all"), "--chord-notes all says how --chords are played; give some"),
        (dict(key="H minor"), "--key: unknown key 'H minor'; H is B here. A key is such as C major, A minor"),
        (dict(key="A blues"), "--key: unknown key 'A blues'"),
        (dict(pitches="bass:E1-X3"), "--pitches: 'E1-X3' is no range of pitches. It is such as E1-G3"),
        (dict(pitches="G3-E1"), "--pitches: G3-E1 goes down"),
        (dict(pitches="C4-C10"), "--pitches: 'C4-C10' is no range"),
        (dict(density="drums:many"), "--density: 'many' is no number and no two, fewest and most, such as 8 or 8-16"),
        (dict(density="9-3"), "--density: 9-3 goes down"),
        (dict(density="0"), "--density: 0 asks for none"),
        (dict(polyphony="0-3"), "--polyphony: 0-3 asks for none"),
        (dict(polyphony="theremin:3"), "--polyphony: unknown instrument 'theremin'"),
        (dict(density=","), "--density: say for which instrument"),
    ],
)
def test_words_that_mean_nothing_are_refused_by_flag(wanted, message):
    with pytest.raises(InputError, match=message):
        names.check(Constraints(**wanted))
