"""MusPy's metrics: by hand, and beside what MusPy's own functions said (benchmarks/muspy_agreement.py)."""

import json

import numpy as np
import pytest

from jax_impl.evaluation import metrics
from jax_impl.evaluation.notes import Notes, notes_of
from tests import ROOT, SONGS
from tests.evaluation.songs import BAR, SCALE, line, notes
from tokenizer.grid.quantize import quantize
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS

MUSPY = json.loads((ROOT / "benchmarks" / "results" / "muspy_agreement.json").read_text(encoding="utf-8"))["results"]
OTHER_NAMES = {"n_pitches_used": "pitches_used", "n_pitch_classes_used": "pitch_classes_used"}
ROUNDING = 1e-12  # sums of a few thousand terms, in another order

SOME_DRUMS = (DRUMS, line([36, 38, 37, 38]))


def as_muspy_said(song: Notes, said: dict) -> None:
    assert (len(song), int(song.onset.sum())) == (said["notes"], said["sum_of_onsets"]), (
        "the grid reads this song otherwise now: run benchmarks/muspy_agreement.py"
    )
    ours = {name: getattr(metrics, OTHER_NAMES.get(name, name))(song) for name in said["muspy"]}
    for name, value in said["muspy"].items():
        assert ours[name] == (None if value is None else pytest.approx(value, rel=0, abs=ROUNDING)), name


@pytest.mark.parametrize("seed", MUSPY["composed"])
def test_composed_songs_measure_as_muspy_says(seed):
    as_muspy_said(notes_of(quantize(compose(int(seed)))), MUSPY["composed"][seed])


@pytest.mark.parametrize("name", MUSPY["real"])
def test_real_songs_measure_as_muspy_says(name):
    if not (SONGS / name).exists():
        pytest.skip("there are no real songs")
    as_muspy_said(notes_of(quantize(midi.read(SONGS / name))), MUSPY["real"][name])


def test_a_major_scale_has_seven_pitch_classes_evenly_and_is_consistent():
    song = notes((0, line(SCALE)), SOME_DRUMS)
    assert metrics.pitch_class_entropy(song) == pytest.approx(np.log2(7))
    assert metrics.scale_consistency(song) == 1
    assert (metrics.pitch_range(song), metrics.pitches_used(song), metrics.pitch_classes_used(song)) == (11, 7, 7)


def test_a_note_outside_of_the_scale_counts_as_one_note():
    song = notes((0, line([*SCALE, 61])))  # F sharp or B flat would be another scale's
    assert metrics.scale_consistency(song) == pytest.approx(7 / 8)
    assert metrics.scale_consistency(notes((0, line([57, 59, 60, 62, 64, 65, 67])))) == 1, "A minor, the natural one"


def test_pitches_an_octave_apart_are_one_class():
    song = notes((0, line([60, 72, 48, 60])))
    assert metrics.pitch_class_entropy(song) == 0
    assert (metrics.pitch_range(song), metrics.pitches_used(song), metrics.pitch_classes_used(song)) == (24, 3, 1)


def test_polyphony_counts_each_pitch_once_and_only_time_in_which_one_sounds():
    held = [(0, 1920, 60), (480, 480, 64), (480, 480, 67)]  # 1 3 1 1 beats of pitches
    again = [(0, 960, 60)]  # in another track
    song = notes((0, held), (40, again), (DRUMS, line([36] * 8)))
    assert metrics.polyphony(song) == pytest.approx(6 / 4)
    assert metrics.polyphony_rate(song) == pytest.approx(1 / 8), "one beat of more than two, of eight with the drums"
    assert metrics.polyphony(notes((0, [(0, 240, 60), (960, 240, 60)]))) == 1


def test_grooves_differ_in_the_places_of_their_onsets():
    steps = 96
    twice = [(start + place, 120, 60) for start in (0, BAR) for place in (0, 480, 960)]
    assert metrics.groove_consistency(notes((0, twice))) == 1
    changed = [*twice[:-1], (BAR + 1200, 120, 60)]  # one place is left, another one taken
    assert metrics.groove_consistency(notes((0, changed))) == pytest.approx(1 - 2 / steps)
    assert metrics.groove_consistency(notes((0, changed), (33, changed))) == pytest.approx(1 - 2 / steps)
    assert metrics.groove_consistency(notes((0, twice[:3]))) is None, "there is one measure"


def test_only_measures_of_one_length_are_compared():
    rows = [(at, 120, 60) for at in (0, BAR, BAR + 1440, BAR + 2880, BAR + 3360)]
    song = notes((0, rows), signatures=((0, 4, 4), (BAR, 3, 4)))
    assert metrics.groove_consistency(song) == pytest.approx(1 - 1 / (2 * 72)), "two pairs of 3/4, one more place"


def test_beats_and_measures_are_empty_where_no_note_sounds():
    song = notes((0, [(0, 240, 60), (1440, 720, 64), (3 * BAR, 240, 60)]))
    # beats 0, 3, 4 and 12 of 0 to 12; measures 0, 1 and 3 of four
    assert metrics.empty_beat_rate(song) == pytest.approx(9 / 13)
    assert metrics.empty_measure_rate(song) == pytest.approx(1 / 4)
    assert metrics.empty_measure_rate(notes((0, [(0, BAR, 60)]))) == 0, "as MusPy counts, it sounds in a second one"


def test_drums_keep_a_pattern_on_sixteenths_or_on_triplets():
    assert metrics.drum_pattern_consistency(notes((DRUMS, line([36] * 8, 120)))) == 1
    assert metrics.drum_pattern_consistency(notes((DRUMS, line([36] * 6, 160)))) == 1
    assert metrics.drum_pattern_consistency(notes((DRUMS, line([36] * 8, 60)))) == pytest.approx(1 / 2)


def test_what_is_not_there_has_no_number():
    drums, nothing = notes(SOME_DRUMS), notes()
    for name in ("pitch_range", "pitch_class_entropy", "scale_consistency", "polyphony"):
        assert getattr(metrics, name)(drums) is None and getattr(metrics, name)(nothing) is None
    for name in ("groove_consistency", "empty_beat_rate", "empty_measure_rate", "polyphony_rate"):
        assert getattr(metrics, name)(nothing) is None
    assert metrics.drum_pattern_consistency(notes((0, line(SCALE)))) is None
