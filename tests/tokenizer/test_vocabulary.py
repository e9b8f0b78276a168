"""The vocabulary: v1.2.1's, checked against the facts read from that program, and ours behind it."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest

from tests import GOLDEN
from tokenizer import vocabulary as vocab
from tokenizer.grid.song import HID_RANK
from tokenizer.music.score import DRUMS
from tokenizer.vocabulary import Class

FACTS = GOLDEN / "vocab_facts.json"


@pytest.mark.parametrize(
    ("token", "name"),
    [
        (0, "PAD"), (1, "BOS"), (2, "EOS"), (4, "SEP"), (6, "N"), (7, "Cmaj"), (24, "C5"), (25, "C#maj"), (222, "B5"),
        (223, "T0"), (238, "T15"),
        (239, "P0"), (366, "P127"), (367, "#D"), (368, "#P0"), (495, "#P127"), (496, "BPM_0"), (527, "BPM_31"),
        (528, "TS_1/4"), (531, "TS_4/4"), (546, "TS_8/8"), (547, "L1"), (610, "L64"), (611, "V0"), (642, "V31"),
        (643, "T1/2"), (644, "T2/3"), (645, "T1+1/3"), (646, "T1+1/2"), (674, "T15+1/2"), (675, "L1/2"),
        (690, "L7+1/2"), (691, "L80"), (698, "L256"), (699, "TS_1/8"), (700, "TS_1/16"), (707, "TS_15/16"),
        (708, "BPM_-8"), (715, "BPM_-1"), (716, "BPM_32"), (723, "BPM_39"),
    ],
)  # fmt: skip
def test_tokens_have_their_ids(token, name):
    assert vocab.NAMES[token] == name
    assert vocab.NAMES.index(name) == token


def test_the_fingerprint_is_that_of_this_vocabulary():
    """Datasets and checkpoints carry it: if this fails, either undo the change or accept that none of them can be read
    any more.
    """
    assert vocab.V121_FINGERPRINT == "18cc16e3edc79cf8"
    assert vocab.FINGERPRINT == "9170ff71368f1553"


def test_class_value_and_token_are_one_table():
    assert len(vocab.NAMES) == len(set(vocab.NAMES)) == len(vocab.CLASS) == len(vocab.VALUE) == vocab.SIZE == 724
    there = [vocab.TOKEN[class_][value] for class_, value in zip(vocab.CLASS, vocab.VALUE, strict=True)]
    assert there == list(range(724)) and [vocab.ID[name] for name in vocab.NAMES] == there
    assert sum(int((tokens >= 0).sum()) for tokens in vocab.TOKEN) == 724, "none is said twice"
    assert (vocab.CLASS[:6] == range(6)).all() and (vocab.CLASS[6:] >= Class.CHORD).all()


def test_ours_stand_behind_v121s_in_blocks():
    """32 positions, 16 durations, 8 long ones, 9 signatures, 16 tempi: ids, classes and values reckoned anew."""
    places = [step for step in range(96) if step % 6 and (step % 3 == 0 or step % 4 == 0)]
    blocks = [(Class.POSITION, step) for step in places] + [(Class.DURATION, step) for step in places if step <= 48]
    blocks += [(Class.DURATION, 6 * sixteenths) for sixteenths in (80, 96, 112, 128, 160, 192, 224, 256)]
    assert len(places) == 32 and len(blocks) == 56
    blocks += [(Class.SIGNATURE, number) for number in range(19, 28)]
    blocks += [(Class.TEMPO, number) for number in (*range(8), *range(40, 48))]
    assert list(zip(vocab.CLASS[643:].tolist(), vocab.VALUE[643:].tolist(), strict=True)) == blocks
    assert vocab.SIGNATURES[19:] == ((1, 8), *((n, 16) for n in (1, 3, 5, 7, 9, 11, 13, 15)))


def test_names_of_times_count_sixteenths():
    for class_, letter in ((Class.POSITION, "T"), (Class.DURATION, "L")):
        for token in np.flatnonzero(vocab.CLASS == class_).tolist():
            said = sum(map(Fraction, vocab.NAMES[token].removeprefix(letter).split("+")))
            assert said * 6 == vocab.VALUE[token] and vocab.NAMES[token].startswith(letter)


def test_each_length_of_one_to_sixteen_sixteenths_has_a_signature():
    assert {Fraction(16 * n, d) for n, d in vocab.SIGNATURES} >= set(range(1, 17))


def test_track_tokens_and_programs_are_each_others_inverse():
    assert vocab.NAMES[vocab.track_token(DRUMS)] == "#D"
    assert vocab.NAMES[vocab.track_token(33)] == "#P33"
    assert [vocab.VALUE[vocab.track_token(program)] for program in range(129)] == list(range(129))


def test_tempi_rise_by_one_ratio_around_v121s_and_the_nearest_is_taken_of_two_the_lower():
    ratio = (250 / 40) ** (1 / 31)
    assert list(vocab.TEMPOS_BPM) == [round(40 * ratio**step) for step in range(-8, 40)]
    assert vocab.TEMPOS_BPM[8:11] == (40, 42, 45) and vocab.TEMPOS_BPM[39] == 250
    named = {
        bpm: vocab.NAMES[vocab.TOKEN[Class.TEMPO][vocab.tempo_bin(bpm)]] for bpm in (5, 25, 41, 41.1, 120, 250, 999)
    }
    assert named == {
        5: "BPM_-8", 25: "BPM_-8", 41: "BPM_0", 41.1: "BPM_1", 120: "BPM_19", 250: "BPM_31", 999: "BPM_39"
    }  # fmt: skip


def test_a_model_of_v121_is_offered_its_own_tokens_but_for_the_meters_that_it_counted_otherwise():
    assert vocab.offered(724).all()
    missing = [vocab.NAMES[token] for token in np.flatnonzero(~vocab.offered(643))]
    assert missing[:7] == [f"TS_{name}" for name in ("5/4", "6/4", "7/4", "3/2", "4/2", "9/8", "12/8")]
    assert missing[7:] == list(vocab.NAMES[643:])


def test_velocities_keep_their_bin_and_never_become_a_note_off():
    velocities = np.arange(128)
    back = vocab.bin_velocity(vocab.velocity_bin(velocities))
    assert np.array_equal(vocab.velocity_bin(back), vocab.velocity_bin(velocities))
    assert back.min() >= 1 and back.max() <= 127


def test_tracks_stand_drums_first_then_bass_piano_guitar_organ_pads_strings():
    assert sorted(HID_RANK, key=HID_RANK.get)[:4] == [DRUMS, 32, 33, 34]
    order = [DRUMS, 32, 0, 24, 16, 88, 40, 8, 56, 80, 96, 52, 104, 127]
    assert sorted(order, key=HID_RANK.get) == order


def test_everything_agrees_with_the_facts_read_from_v121():
    if not FACTS.exists():
        assert vocab.V121_SIZE == 643  # the facts do not travel with the project
        return
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    assert list(vocab.NAMES[:643]) == facts["vocab"]
    assert list(vocab.TEMPOS_BPM[8:40]) == facts["tempo"]["values_bpm"]
    bins = {int(bpm): bin_ for bpm, bin_ in facts["tempo"]["quantize_table_20_to_300"].items()}
    assert all(vocab.tempo_bin(bpm) == 8 + bin_ for bpm, bin_ in bins.items() if 40 <= bpm <= 250)
    assert vocab.velocity_bin(np.arange(128)).tolist() == facts["velocity"]["quantize_table"]
    assert [f"{n}/{d}" for n, d in vocab.SIGNATURES[:19]] == facts["time_signature"]["values"]
    edges = [0, *(1 + np.flatnonzero(np.diff(np.maximum(vocab.CLASS[:643], Class.UNK)))).tolist(), 643]
    spans = [[first, end - 1] for first, end in itertools.pairwise(edges)]
    assert spans == sorted(facts["ranges_inclusive"].values())
    tokens = [vocab.ID[name] for name in facts["instrument_priority"]["order"]]
    assert vocab.VALUE[tokens].tolist() == sorted(HID_RANK, key=HID_RANK.get)
