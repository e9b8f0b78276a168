"""decode(encode(x)) == snap(x), for every score; and each awkward case with its tokens written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rows import ids
from tests.scores import score_of, scores
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import ScoreTooLong
from tokenizer.grid.quantize import snap
from tokenizer.music import midi
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Track
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode
from tokenizer.vocabulary import Class


def words(score: Score) -> str:
    """Tokens of a score by name, every chord written as *."""
    return " ".join(
        "*" if vocab.CLASS[token] == Class.CHORD else vocab.NAMES[token] for token in encode(score).ids.tolist()
    )


def onsets(score: Score, track: int = 0) -> list[int]:
    return score.tracks[track].notes["onset_ticks"].tolist()


# ---------------------------------------------------------------- for every score


@settings(max_examples=250)
@given(scores())
def test_any_score_comes_back_from_its_tokens_as_it_was_snapped(score):
    snapped, tokens = snap(score), encode(score)
    assert decode(tokens.ids) == snapped
    assert snap(snapped) == snapped
    assert encode(snapped) == tokens


@settings(max_examples=60)
@given(scores())
def test_any_score_comes_back_through_a_file(tmp_path_factory, score):
    path = tmp_path_factory.getbasetemp() / "score.mid"
    snapped = snap(score)
    midi.write(snapped, path)
    assert midi.read(path) == snapped
    assert snap(midi.read(path)) == snapped


@settings(max_examples=150)
@given(
    st.lists(
        st.integers(0, vocab.SIZE - 1)
        | st.sampled_from(
            (
                vocab.SEP,
                vocab.MASK,
                vocab.UNK,
                6,
                7,
                223,
                230,
                238,
                299,
                367,
                368,
                400,
                500,
                530,
                538,
                550,
                611,
                645,
                676,
                692,
                700,
                708,
                723,
            )
        ),
        max_size=80,
    )
)
def test_any_ids_decode_to_a_valid_score(tokens):
    score = decode(np.array(tokens, np.int32))
    assert snap(score) == score
    assert decode(encode(score).ids) == score
    for track in score.tracks:
        assert (
            len(track.notes) and (track.notes["duration_ticks"] > 0).all() and (track.notes["onset_ticks"] >= 0).all()
        )


def test_length_and_velocity_are_those_of_their_track_and_else_the_defaults():
    """What no encoder writes: a track's first note without L or V. It lasts a sixteenth, at velocity 66."""
    song = ids("BOS BPM_19 TS_4/4 #P33 SEP N T0 P40 L8 V25 #P0 SEP N T0 P60 T8 P64 L3 EOS")
    first, second = decode(song).tracks
    assert first.notes[["duration_ticks", "velocity"]].tolist() == [(8 * 120, 102)]
    assert second.notes[["duration_ticks", "velocity"]].tolist() == [(120, 66), (3 * 120, 66)]


def test_real_songs_come_back_exactly(songs, tmp_path):
    assert songs
    for path in songs:
        score = midi.read(path)
        snapped, tokens = snap(score), encode(score)
        midi.write(snapped, tmp_path / "again.mid")
        again = midi.read(tmp_path / "again.mid")
        assert decode(tokens.ids) == snapped == again == snap(again), path
        assert encode(again) == tokens, path


# ---------------------------------------------------------------- one by one


def test_a_song_in_full():
    score = score_of((0, [(480, 480, 60, 80), (960, 480, 64, 80)]), (DRUMS, [(0, 120, 36, 100)]))
    assert words(score) == "BOS BPM_19 TS_4/4 #D SEP * T0 P36 L1 V25 #P0 SEP * T4 P60 L4 V20 T8 P64 EOS"


def test_a_track_that_starts_late_has_its_silent_bars():
    score = score_of((DRUMS, [(0, 120, 36, 100)]), (0, [(7 * 1920, 480, 60, 80)]))
    assert (
        words(score)
        == "BOS BPM_19 TS_4/4 #D SEP * T0 P36 L1 V25" + " *" * 7 + " #P0 SEP" + " *" * 8 + " T0 P60 L4 V20 EOS"
    )


def test_tracks_stand_in_hid_order_and_equal_programs_stay_apart():
    note = [(0, 480, 60, 80)]
    score = score_of((73, note), (0, note), (9, note), (33, note), (0, note), (DRUMS, note), (48, note))
    tracks = [name for name in words(score).split() if name.startswith("#")]
    assert tracks == ["#D", "#P33", "#P0", "#P0", "#P48", "#P9", "#P73"]


def test_duration_and_velocity_are_written_when_they_change():
    rows = [(0, 240, 60, 80), (240, 240, 62, 80), (480, 480, 64, 80), (960, 480, 65, 90)]
    assert words(score_of((0, rows))).endswith("* T0 P60 L2 V20 T2 P62 T4 P64 L4 T8 P65 V22 EOS")


def test_signature_and_tempo_changes_stand_in_the_first_track():
    score = score_of(
        (0, [(0, 480, 60, 80), (1920 + 1440, 480, 60, 80)]),
        (40, [(1920, 480, 60, 80)]),
        signatures=((0, 4, 4), (1920, 3, 4)),
        tempos=((0, 120), (1920 + 1440, 61)),
    )
    assert (
        words(score)
        == "BOS BPM_19 TS_4/4 #P0 SEP * T0 P60 L4 V20 * TS_3/4 * BPM_7 T0 P60 #P40 SEP * * T0 P60 L4 V20 EOS"
    )


def test_a_tempo_change_inside_a_bar_is_weighted_by_time():
    score = score_of((0, [(0, 480, 60, 80), (1920, 480, 60, 80)]), tempos=((0, 120), (960, 40)))
    assert words(score).startswith("BOS BPM_7 TS_4/4")  # 4 beats in 1 + 3 seconds are 60 BPM
    assert "* BPM_0 T0" in words(score)


@pytest.mark.parametrize(
    ("signature", "measures"),
    [
        ((8, 4), "4/2"),
        ((10, 8), "5/4"),
        ((6, 16), "3/8"),
        ((11, 8), "4/4 3/8"),
        ((17, 16), "4/4 1/16"),
        ((9, 4), "4/4 5/4"),
        ((5, 2), "4/4 6/4"),
        ((3, 32), "3/16"),
        ((33, 32), "4/4 4/4 1/16"),
    ],
)
def test_a_signature_without_a_token_becomes_measures_of_the_same_length(signature, measures):
    length = 480 * 4 * signature[0] // signature[1]
    unit = sum(int(n) * 1920 // int(d) for n, d in (name.split("/") for name in measures.split()))
    assert unit % length == 0
    snapped = snap(score_of((0, [(0, 120, 60, 80), (3 * unit - 60, 60, 60, 80)]), signatures=((0, *signature),)))
    assert onsets(snapped) == [0, 3 * unit - 60]
    expected, tick = [], 0
    for name in measures.split() * 3:
        numerator, denominator = map(int, name.split("/"))
        if not expected or (expected[-1].numerator, expected[-1].denominator) != (numerator, denominator):
            expected.append(Signature(tick, numerator, denominator))
        tick += 1920 * numerator // denominator
    assert list(snapped.signatures) == expected


PARTS = {  # sixteenths of each bar that a measure is written in
    (4, 4): [16], (7, 8): [14], (9, 16): [9], (13, 16): [13], (15, 16): [15], (1, 16): [1], (1, 8): [2], (2, 2): [16],
    (5, 4): [12, 8], (6, 4): [12, 12], (12, 8): [12, 12], (7, 4): [16, 12], (9, 8): [12, 6], (3, 2): [16, 8],
    (4, 2): [16, 16],
}  # fmt: skip


@pytest.mark.parametrize("signature", PARTS)
def test_every_sixteenth_of_a_measure_stays_where_it_is_and_no_bar_has_more_than_sixteen(signature):
    """Two measures and the downbeat of the next."""
    rows = [(120 * i, 120, 60, 80) for i in range(2 * sum(PARTS[signature]) + 1)]
    score = score_of((0, rows), signatures=((0, *signature),))
    bars = [" ".join(f"T{step} P60" for step in range(steps)) for steps in [*PARTS[signature] * 2, 1]]
    said = " ".join(f"* {bar}" for bar in bars).replace("P60", "P60 L1 V20", 1)
    assert words(score) == f"BOS BPM_19 TS_{signature[0]}/{signature[1]} #P0 SEP {said} EOS"
    assert snap(score).tracks == (Track(0, np.array([(*row[:3], 82) for row in rows], NOTE)),)
    assert snap(score).signatures == score.signatures


def test_a_meter_is_said_where_its_measure_begins_and_tempo_in_any_part():
    rows = [(0, 480, 60, 80), (1440, 480, 60, 80), (2400, 480, 60, 80), (3840, 480, 60, 80), (4800, 480, 60, 80)]
    score = score_of((0, rows), signatures=((0, 5, 4), (4800, 3, 4)), tempos=((0, 120), (1440, 61)))
    assert words(score) == (
        "BOS BPM_19 TS_5/4 #P0 SEP * T0 P60 L4 V20 * BPM_7 T0 P60 * T0 P60 * T0 P60 * TS_3/4 T0 P60 EOS"
    )
    assert decode(encode(score).ids).signatures == score.signatures


@pytest.mark.parametrize("pickup", [(1, 16), (3, 16), (5, 16), (1, 8), (9, 16)])
def test_a_pickup_of_whole_sixteenths_is_a_measure_of_its_own(pickup):
    """By a signature of its own, or by a change that comes before the first measure is over."""
    begins = 1920 * pickup[0] // pickup[1]
    rows = [(120 * i, 120, 60 + i % 2, 80) for i in range(40)]
    own = score_of((0, rows), signatures=((0, *pickup), (begins, 4, 4)))
    cut_short = score_of((0, rows), signatures=((0, 4, 4), (begins, 4, 4)))
    assert onsets(snap(own)) == onsets(own)
    assert snap(own).signatures == own.signatures and snap(cut_short) == snap(own)


@pytest.mark.parametrize(("signature", "length"), [((1, 32), 60), ((3, 32), 180), ((4, 4), 60), ((5, 64), 150)])
def test_a_pickup_beside_sixteenths_is_filled_up_in_front(signature, length):
    """The downbeat moves to the next sixteenth, and all the notes are as far from it as they were."""
    rows = [(0, 60, 62, 80), *((length + 120 * i, 120, 60, 80) for i in range(20))]
    snapped = snap(score_of((0, rows), signatures=((0, *signature), (length, 4, 4))))
    downbeat = -(-length // 120) * 120
    assert [(s.tick, s.numerator, s.denominator) for s in snapped.signatures[1:]] == [(downbeat, 4, 4)]
    assert snapped.signatures[0].numerator * 1920 == downbeat * snapped.signatures[0].denominator
    fill = downbeat - length
    assert onsets(snapped)[1:] == [onset + fill for onset, *_ in rows[1:]]
    assert fill % 60 or onsets(snapped)[0] == fill


def test_a_pickup_of_a_thirty_second_in_tokens():
    score = score_of((0, [(0, 60, 62, 80), (60, 480, 60, 80)]), signatures=((0, 1, 32), (60, 4, 4)))
    assert words(score) == "BOS BPM_19 TS_1/16 #P0 SEP * T1/2 P62 L1/2 V20 * TS_4/4 T0 P60 L4 EOS"


def test_a_bar_cut_short_by_a_change_becomes_a_bar_of_that_length():
    score = score_of(
        (0, [(0, 480, 60, 80), (1200, 480, 60, 80), (1200 + 1440, 480, 60, 80)]), signatures=((0, 4, 4), (1200, 3, 4))
    )
    assert words(score) == "BOS BPM_19 TS_5/8 #P0 SEP * T0 P60 L4 V20 * TS_3/4 T0 P60 * T0 P60 EOS"


def test_a_single_eighth_between_two_meters_is_a_measure():
    score = score_of(
        (0, [(0, 480, 60, 80), (1680, 240, 62, 80), (1920, 480, 60, 80)]),
        signatures=((0, 7, 8), (1680, 1, 8), (1920, 4, 4)),
    )
    assert words(score) == "BOS BPM_19 TS_7/8 #P0 SEP * T0 P60 L4 V20 * TS_1/8 T0 P62 L2 * TS_4/4 T0 P60 L4 EOS"


@pytest.mark.parametrize(("tick", "rest"), [(1970, ""), (2000, "* TS_1/16 ")])
def test_a_change_off_the_sixteenths_moves_to_the_nearest_and_its_downbeat_with_it(tick, rest):
    score = score_of((0, [(0, 480, 60, 80), (tick, 480, 60, 80)]), signatures=((0, 4, 4), (tick, 3, 4)))
    assert words(score) == f"BOS BPM_19 TS_4/4 #P0 SEP * T0 P60 L4 V20 {rest}* TS_3/4 T0 P60 EOS"


@pytest.mark.parametrize(
    ("division", "positions", "length"),
    [
        (4, "T0 T1 T2 T3 T4 T5 T6 T7", "L1"),
        (3, "T0 T1+1/3 T2+2/3 T4 T5+1/3 T6+2/3", "L1+1/3"),
        (8, "T0 T1/2 T1 T1+1/2 T2 T2+1/2 T3 T3+1/2 T4 T4+1/2 T5 T5+1/2 T6 T6+1/2 T7 T7+1/2", "L1/2"),
        (6, "T0 T2/3 T1+1/3 T2 T2+2/3 T3+1/3 T4 T4+2/3 T5+1/3 T6 T6+2/3 T7+1/3", "L2/3"),
    ],
)
def test_a_quarter_is_divided_in_four_three_eight_or_six(division, positions, length):
    score = score_of((0, [(480 * i // division, 480 // division, 60, 80) for i in range(2 * division)]))
    notes = " ".join(f"{position} P60" for position in positions.split()).replace("P60", f"P60 {length} V20", 1)
    assert words(score) == f"BOS BPM_19 TS_4/4 #P0 SEP * {notes} EOS"
    assert onsets(snap(score)) == onsets(score)


def test_three_against_four_stay_apart():
    three, four = ([(1920 * b + 1440 * i // n, 240, 60, 80) for b in range(3) for i in range(n)] for n in (3, 4))
    triplets = [(160 * i, 160, 72, 80) for i in range(12)]
    score = score_of((0, three), (40, four), (73, triplets))
    assert [onsets(snap(score), track) for track in range(3)] == [onsets(score, track) for track in range(3)]


def test_a_note_past_the_last_place_of_a_bar_goes_to_the_next_one():
    assert words(score_of((0, [(1920 - 10, 480, 60, 80)]))).endswith("SEP * * T0 P60 L4 V20 EOS")
    assert words(score_of((0, [(1920 - 60, 480, 60, 80)]))).endswith("SEP * T15+1/2 P60 L4 V20 EOS")


def test_durations_go_from_a_thirty_second_to_sixteen_bars():
    assert " L1/2 " in words(score_of((0, [(0, 0, 60, 80)])))
    assert " L256 " in words(score_of((0, [(0, 10**6, 60, 80)])))


@pytest.mark.parametrize("bars", [4, 5, 6, 7, 8, 10, 12, 14, 16])
def test_long_notes_are_as_long_as_they_are(bars):
    score = score_of((0, [(0, bars * 1920, 60, 80), (bars * 1920, 120, 60, 80)]))
    assert f" L{16 * bars} " in words(score)
    assert snap(score).tracks[0].notes["duration_ticks"].tolist() == [bars * 1920, 120]


def test_an_overlapped_note_ends_where_the_next_of_its_pitch_begins():
    assert words(score_of((0, [(0, 1920, 60, 80), (480, 480, 60, 80)]))).endswith("T0 P60 L4 V20 T4 P60 EOS")


def test_a_note_that_ends_between_two_durations_is_cut_to_the_last_one_before():
    """70 sixteenths, where there are 64 and 80."""
    text = words(score_of((0, [(0, 80 * 120, 60, 80), (70 * 120, 480, 60, 80)])))
    assert text.endswith("SEP * T0 P60 L64 V20 * * * * T6 P60 L4 EOS")


def test_equal_onsets_of_a_pitch_merge_into_the_longest_and_loudest():
    assert words(score_of((0, [(0, 480, 60, 100), (10, 960, 60, 20)]))).endswith("* T0 P60 L8 V25 EOS")


def test_velocity_and_tempo_go_to_their_bins():
    assert words(score_of((0, [(0, 480, 60, 1), (480, 480, 60, 127)]))).endswith("T0 P60 L4 V0 T4 P60 V31 EOS")
    for bpm, name in ((20, "BPM_-8"), (40, "BPM_0"), (250, "BPM_31"), (299, "BPM_34"), (500, "BPM_39")):
        assert f"BOS {name} TS" in words(score_of((0, [(0, 480, 60, 80)]), tempos=((0, bpm),)))
    snapped = snap(score_of((0, [(0, 480, 60, 1)])))
    assert snapped.tracks[0].notes["velocity"].tolist() == [2], "bin 0 must not become velocity 0, which is a note-off"


def test_a_song_without_notes_is_its_header():
    assert words(score_of(signatures=((0, 3, 4),), tempos=((0, 61),))) == "BOS BPM_7 TS_3/4 EOS"


def test_a_song_of_drums_alone_has_no_chords():
    tokens = encode(score_of((DRUMS, [(0, 120, 36, 100), (1920, 120, 38, 100)])))
    assert [vocab.NAMES[token] for token in tokens.ids[vocab.CLASS[tokens.ids] == Class.CHORD]] == ["N", "N"]


def test_a_note_in_the_far_future_is_an_error_not_a_flood():
    with pytest.raises(ScoreTooLong, match="32000 bars"):
        encode(score_of((0, [(10**12, 480, 60, 80)])))
