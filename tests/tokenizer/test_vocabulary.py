"""The vocabulary is v1.2.1's: checked against the facts read from that program, and a few of them written out."""

import json

import numpy as np
import pytest

from tests import GOLDEN
from tokenizer import vocabulary as vocab
from tokenizer.grid.song import HID_RANK
from tokenizer.music.score import DRUMS

FACTS = GOLDEN / "vocab_facts.json"


@pytest.mark.parametrize(
    ("token", "name"),
    [
        (0, "PAD"), (1, "BOS"), (2, "EOS"), (4, "SEP"), (6, "N"), (7, "Cmaj"), (24, "C5"), (25, "C#maj"), (222, "B5"),
        (223, "T0"), (238, "T15"),
        (239, "P0"), (366, "P127"), (367, "#D"), (368, "#P0"), (495, "#P127"), (496, "BPM_0"), (527, "BPM_31"),
        (528, "TS_1/4"), (531, "TS_4/4"), (546, "TS_8/8"), (547, "L1"), (610, "L64"), (611, "V0"), (642, "V31"),
    ],
)  # fmt: skip
def test_tokens_have_their_ids(token, name):
    assert vocab.NAMES[token] == name
    assert vocab.NAMES.index(name) == token


def test_the_fingerprint_is_that_of_this_vocabulary():
    """Datasets and checkpoints carry it: if this fails, either undo the change or accept that none of them can be read
    any more.
    """
    assert vocab.FINGERPRINT == "18cc16e3edc79cf8"


def test_track_tokens_and_programs_are_each_others_inverse():
    assert vocab.NAMES[vocab.track_token(DRUMS)] == "#D"
    assert vocab.NAMES[vocab.track_token(33)] == "#P33"
    assert [vocab.token_program(vocab.track_token(program)) for program in range(129)] == list(range(129))


def test_tempo_goes_to_the_nearest_bin_and_of_two_to_the_lower():
    assert vocab.TEMPOS_BPM[:3] == (40, 42, 45) and vocab.TEMPOS_BPM[-1] == 250
    assert [vocab.tempo_bin(bpm) for bpm in (20, 41, 41.1, 120, 300)] == [0, 0, 1, 19, 31]


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
        assert vocab.SIZE == 643  # the facts do not travel with the project
        return
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    assert list(vocab.NAMES) == facts["vocab"]
    assert list(vocab.TEMPOS_BPM) == facts["tempo"]["values_bpm"]
    assert {int(bpm): vocab.tempo_bin(int(bpm)) for bpm in facts["tempo"]["quantize_table_20_to_300"]} == {
        int(bpm): bin_ for bpm, bin_ in facts["tempo"]["quantize_table_20_to_300"].items()
    }
    assert vocab.velocity_bin(np.arange(128)).tolist() == facts["velocity"]["quantize_table"]
    assert [f"{n}/{d}" for n, d in vocab.SIGNATURES] == facts["time_signature"]["values"]
    blocks = (
        vocab.CHORD,
        vocab.POSITION,
        vocab.PITCH,
        vocab.TRACK,
        vocab.TEMPO,
        vocab.SIGNATURE,
        vocab.DURATION,
        vocab.VELOCITY,
    )
    spans = zip((0, *blocks), (*blocks, vocab.SIZE), strict=True)
    assert [[first, end - 1] for first, end in spans] == sorted(facts["ranges_inclusive"].values())
    tokens = [vocab.NAMES.index(name) for name in facts["instrument_priority"]["order"]]
    assert [vocab.token_program(token) for token in tokens] == sorted(HID_RANK, key=HID_RANK.get)
