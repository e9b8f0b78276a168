"""decode(encode(x)) == snap(x), for every score; and each awkward case with its tokens written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scores import score_of, scores
from tokenizer import vocabulary as vocab
from tokenizer.grid.meter import ScoreTooLong
from tokenizer.grid.quantize import snap
from tokenizer.music import midi
from tokenizer.music.score import DRUMS, Score, Signature
from tokenizer.tokens.decode import DEFAULT_DURATION, DEFAULT_VELOCITY, decode
from tokenizer.tokens.encode import encode

CHORDS = {name for name in vocab.NAMES[vocab.CHORD : vocab.POSITION]}


def words(score: Score) -> str:
    """Tokens of a score by name, every chord written as *."""
    return " ".join("*" if vocab.NAMES[token] in CHORDS else vocab.NAMES[token] for token in encode(score).ids)


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
        | st.sampled_from((vocab.SEP, 6, 7, 223, 230, 238, 299, 367, 368, 400, 500, 530, 538, 550, 611)),
        max_size=80,
    )
)
def test_any_ids_decode_to_a_valid_score(ids):
    score = decode(np.array(ids, np.int32))
    assert snap(score) == score
    assert decode(encode(score).ids) == score
    for track in score.tracks:
        assert (
            len(track.notes) and (track.notes["duration_ticks"] > 0).all() and (track.notes["onset_ticks"] >= 0).all()
        )


def test_length_and_velocity_are_those_of_their_track_and_else_the_defaults():
    """What no encoder writes: a track's first note without L or V."""
    names = {name: token for token, name in enumerate(vocab.NAMES)}
    words = "BOS BPM_19 TS_4/4 #P33 SEP N T0 P40 L8 V25 #P0 SEP N T0 P60 T8 P64 L3 EOS"
    first, second = decode(np.array([names[word] for word in words.split()])).tracks
    assert first.notes[["duration_ticks", "velocity"]].tolist() == [(8 * 120, vocab.bin_velocity(25))]
    assert second.notes[["duration_ticks", "velocity"]].tolist() == [
        (duration * 120, vocab.bin_velocity(DEFAULT_VELOCITY)) for duration in (DEFAULT_DURATION, 3)
    ]


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
    ("signature", "bars"),
    [
        ((8, 4), "4/4 4/4"),
        ((11, 8), "4/4 3/8"),
        ((7, 16), "7/8"),
        ((1, 8), "1/4"),
        ((3, 32), "3/8"),
        ((4, 2), "4/2"),
        ((12, 8), "12/8"),
        ((5, 2), "4/4 6/4"),
    ],
)
def test_a_signature_without_a_token_becomes_bars_of_the_same_length(signature, bars):
    length = 480 * 4 * signature[0] // signature[1]
    unit = sum(int(n) * 1920 // int(d) for n, d in (bar.split("/") for bar in bars.split()))
    assert unit % length == 0
    snapped = snap(score_of((0, [(0, 120, 60, 80), (3 * unit - 240, 60, 60, 80)]), signatures=((0, *signature),)))
    expected, tick = [], 0
    for bar in bars.split() * 3:
        numerator, denominator = map(int, bar.split("/"))
        if not expected or (expected[-1].numerator, expected[-1].denominator) != (numerator, denominator):
            expected.append(Signature(tick, numerator, denominator))
        tick += 1920 * numerator // denominator
    assert list(snapped.signatures) == expected[: len(snapped.signatures)]
    assert len(snapped.signatures) == len(expected)


def test_a_bar_cut_short_by_a_change_becomes_a_bar_of_that_length():
    score = score_of(
        (0, [(0, 480, 60, 80), (1200, 480, 60, 80), (1200 + 1440, 480, 60, 80)]), signatures=((0, 4, 4), (1200, 3, 4))
    )
    assert words(score) == "BOS BPM_19 TS_5/8 #P0 SEP * T0 P60 L4 V20 * TS_3/4 T0 P60 * T0 P60 EOS"


def test_a_single_eighth_joins_the_bar_before_it():
    score = score_of(
        (0, [(0, 480, 60, 80), (1680, 240, 62, 80), (1920, 480, 60, 80)]),
        signatures=((0, 7, 8), (1680, 1, 8), (1920, 4, 4)),
    )
    assert words(score) == "BOS BPM_19 TS_4/4 #P0 SEP * T0 P60 L4 V20 T14 P62 L2 * T0 P60 L4 EOS"


def test_a_change_off_the_eighths_moves_to_the_nearest_and_its_downbeat_with_it():
    score = score_of((0, [(0, 480, 60, 80), (2000, 480, 60, 80)]), signatures=((0, 4, 4), (2000, 3, 4)))
    assert words(score) == "BOS BPM_19 TS_4/4 #P0 SEP * T0 P60 L4 V20 * TS_3/4 T0 P60 EOS"


@pytest.mark.parametrize(
    ("signature", "step_ticks", "steps"), [((4, 4), 120, 16), ((7, 8), 120, 14), ((5, 4), 240, 10), ((12, 8), 240, 12)]
)
def test_the_grid_is_sixteenths_up_to_sixteen_of_them_else_eighths(signature, step_ticks, steps):
    rows = [(step * step_ticks, step_ticks, 60, 80) for step in range(steps + 1)]
    text = words(score_of((0, rows), signatures=((0, *signature),)))
    assert f"T{steps - 1} P60 * T0 P60 EOS" in text
    assert f"T{steps}" not in text.split()


def test_a_note_past_the_last_step_rounds_into_the_next_bar():
    assert words(score_of((0, [(1920 - 10, 480, 60, 80)]))).endswith("SEP * * T0 P60 L4 V20 EOS")
    assert words(score_of((0, [(1920 - 61, 480, 60, 80)]))).endswith("SEP * T15 P60 L4 V20 EOS")
    assert words(score_of((0, [(1920 - 60, 480, 60, 80)]))).endswith("SEP * * T0 P60 L4 V20 EOS"), (
        "half a step goes later"
    )


def test_durations_are_one_to_64_steps():
    assert " L1 " in words(score_of((0, [(0, 0, 60, 80)])))
    assert " L64 " in words(score_of((0, [(0, 10**6, 60, 80)])))


def test_an_overlapped_note_ends_where_the_next_of_its_pitch_begins():
    assert words(score_of((0, [(0, 1920, 60, 80), (480, 480, 60, 80)]))).endswith("T0 P60 L4 V20 T4 P60 EOS")


def test_equal_onsets_of_a_pitch_merge_into_the_longest_and_loudest():
    assert words(score_of((0, [(0, 480, 60, 100), (10, 960, 60, 20)]))).endswith("* T0 P60 L8 V25 EOS")


def test_a_note_that_ends_between_two_steps_of_its_bar_is_cut_to_the_last_one_before():
    # 5/4 counts eighths; the next bar's second sixteenth is between two
    rows = [(0, 5 * 480, 60, 80), (2400 + 120, 480, 60, 80)]
    text = words(score_of((0, rows), signatures=((0, 5, 4), (2400, 4, 4))))
    assert text.endswith("* T0 P60 L10 V20 * TS_4/4 T1 P60 L4 EOS")


def test_velocity_and_tempo_go_to_their_bins():
    assert words(score_of((0, [(0, 480, 60, 1), (480, 480, 60, 127)]))).endswith("T0 P60 L4 V0 T4 P60 V31 EOS")
    assert "BPM_0 " in words(score_of((0, [(0, 480, 60, 80)]), tempos=((0, 20),)))
    assert "BPM_31 " in words(score_of((0, [(0, 480, 60, 80)]), tempos=((0, 300),)))
    snapped = snap(score_of((0, [(0, 480, 60, 1)])))
    assert snapped.tracks[0].notes["velocity"].tolist() == [2], "bin 0 must not become velocity 0, which is a note-off"


def test_a_song_without_notes_is_its_header():
    assert words(score_of(signatures=((0, 3, 4),), tempos=((0, 61),))) == "BOS BPM_7 TS_3/4 EOS"


def test_a_song_of_drums_alone_has_no_chords():
    tokens = encode(score_of((DRUMS, [(0, 120, 36, 100), (1920, 120, 38, 100)])))
    assert (tokens.ids[(tokens.ids >= vocab.CHORD) & (tokens.ids < vocab.POSITION)] == vocab.CHORD).all()


def test_a_note_in_the_far_future_is_an_error_not_a_flood():
    with pytest.raises(ScoreTooLong, match="32000 bars"):
        encode(score_of((0, [(10**12, 480, 60, 80)])))
