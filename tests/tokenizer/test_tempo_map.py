"""A score's own tempo map on the grid: what the score says where it can be, and every bar line at its time."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.scores import score_of, scores
from tokenizer.grid.meter import TICKS_PER_BEAT
from tokenizer.grid.quantize import layout_of, snap
from tokenizer.grid.tempo_map import SLOWEST, own_tempos, seconds_at, with_tempos
from tokenizer.music import midi
from tokenizer.music.score import Score, Tempo

NOTE_AT = 60, 90  # pitch, velocity


def plain_seconds(tempos, ticks_per_beat, tick) -> Fraction:
    """Of a tick, which may be a fraction; change by change."""
    total = 0
    for number, tempo in enumerate(tempos):
        if tempo.tick >= tick:
            break
        end = tempos[number + 1].tick if number + 1 < len(tempos) else tick
        total += (min(end, tick) - tempo.tick) * tempo.microseconds_per_beat
    return Fraction(total, ticks_per_beat * 10**6)


def plain_source(score, layout, grid_tick) -> Fraction:
    """The source tick of a tick of the grid, stretch by stretch; the start of the song is its start."""
    if grid_tick == 0:
        return Fraction(0)
    time, source, grid = grid_tick * score.ticks_per_beat, layout.source.tolist(), layout.grid.tolist()
    stretch = max((number for number, start in enumerate(grid) if start <= time), default=0)
    moved = min([source[stretch] + time - grid[stretch], *source[stretch + 1 : stretch + 2]])
    return Fraction(max(moved, 0), TICKS_PER_BEAT)


def assert_bars_in_time(score, most_ticks=1.0):
    """Every bar line is within most_ticks of the grid, at the slowest tempo, of its time in the score."""
    layout = layout_of(score)
    tempos = own_tempos(score, layout)
    slowest = max(tempo.microseconds_per_beat for tempo in (*tempos, *score.tempos)) / 1e6
    for line in layout.bars.start_ticks.tolist():
        there = plain_seconds(score.tempos, score.ticks_per_beat, plain_source(score, layout, line))
        here = plain_seconds(tempos, TICKS_PER_BEAT, line)
        # A tempo is a whole number of microseconds: half of one is lost a beat.
        assert abs(here - there) <= most_ticks * slowest / TICKS_PER_BEAT + line / TICKS_PER_BEAT * 0.6e-6, line


@settings(max_examples=40)
@given(scores(), st.data())
def test_seconds_are_those_of_a_plain_count(score, data):
    ticks = data.draw(st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
    fast = seconds_at(score.tempos, score.ticks_per_beat, np.array(ticks))
    assert fast == pytest.approx([float(plain_seconds(score.tempos, score.ticks_per_beat, tick)) for tick in ticks])


@settings(max_examples=40)
@given(scores())
def test_a_score_on_the_grid_keeps_its_tempo_map(score):
    on_grid = snap(score)
    end = layout_of(on_grid).bars.start_ticks[-1]
    tempos = {0: 500_001} | {int(end * part): 400_000 + part for part in (1, 2) if end}
    said = tuple(Tempo(tick, length) for tick, length in sorted({**tempos, 7: 123_457}.items()))
    mine = Score(TICKS_PER_BEAT, on_grid.tracks, said, on_grid.signatures)
    kept = own_tempos(mine, layout_of(mine))
    assert kept == said[: len(kept)] and all(tempo.tick > end for tempo in said[len(kept) :])
    assert own_tempos(with_tempos(mine, kept), layout_of(mine)) == with_tempos(mine, kept).tempos


@settings(max_examples=40)
@given(scores())
def test_bar_lines_are_at_their_times(score):
    tempos = own_tempos(score, layout_of(score))
    assert tempos[0].tick == 0 and all(1 <= tempo.microseconds_per_beat <= SLOWEST for tempo in tempos)
    assume(not {1, SLOWEST} & {tempo.microseconds_per_beat for tempo in tempos})  # no tempo has room for it
    assert_bars_in_time(score)


METERS = {
    "3/16": [(0, 3, 16)],
    "bars of 11/16": [(0, 11, 16)],
    "one bar of 11/16": [(0, 11, 16), (11 * 120, 4, 4)],
    "a pickup of an eighth": [(0, 1, 8), (240, 4, 4)],
    "a pickup of five sixteenths": [(0, 5, 16), (600, 4, 4)],
    "a pickup of a thirty-second": [(0, 1, 32), (60, 4, 4)],
    "a pickup of three thirty-seconds": [(0, 3, 32), (180, 5, 4)],
    "a pickup by a change": [(0, 4, 4), (300, 4, 4)],
    "17/16": [(0, 17, 16), (3 * 2040, 5, 4)],
    "measures in two parts": [(0, 5, 4), (4800, 9, 8)],
    "changes beside sixteenths": [(0, 4, 4), (2000, 3, 4), (3301, 4, 4), (6000, 7, 8)],
    "a bar without room": [(0, 4, 4), (1900, 3, 4), (1950, 4, 4)],
    "a change behind the last bar": [(0, 4, 4), (73 * 240 + 120, 4, 4)],
    "a lone eighth in the middle": [(0, 4, 4), (1920, 1, 8), (2160, 4, 4)],
}


@pytest.mark.parametrize("signatures", METERS.values(), ids=METERS)
@pytest.mark.parametrize(
    "tempos",
    [[(0, 120)], [(0, 100), (1000, 30), (1930, 250), (2100, 90), (17640, 90)]],
    ids=["one tempo", "five tempi"],
)
def test_meters_that_the_grid_moves_last_as_long_as_they_did(signatures, tempos):
    rows = [(240 * number, 240, *NOTE_AT) for number in range(8)]
    assert_bars_in_time(score_of((0, rows), signatures=signatures, tempos=tempos))


def test_the_drawn_bar():
    """A bar of 23/32 between two of 4/4 is one of 6/8 on the grid, at 24/23 of the tempo."""
    rows = [(480 * number, 480, *NOTE_AT) for number in range(11)]
    score = score_of((0, rows), signatures=[(0, 4, 4), (1920, 23, 32), (1920 + 23 * 60, 4, 4)])
    assert own_tempos(score, layout_of(score)) == (Tempo(0, 500_000), Tempo(1920, 479_167), Tempo(3360, 500_000))


def test_odd_bars_that_the_vocabulary_has_change_no_tempo():
    signatures = [(0, 3, 16), (360, 17, 16), (360 + 2040, 9, 8), (360 + 2040 + 2160, 11, 16)]
    score = score_of((0, [(480 * number, 480, *NOTE_AT) for number in range(14)]), signatures=signatures)
    assert own_tempos(score, layout_of(score)) == (Tempo(0, 500_000),)


def test_of_several_changes_on_one_tick_of_the_grid_none_is_lost_in_time():
    """Between the ticks of the grid fast and slow alternate: the slow ones have no tick of their own."""
    changes = [(0, 120)] + [(tick, 60 if tick % 4 == 1 else 240) for tick in range(1, 8000) if tick % 4 in (1, 2)]
    score = score_of((0, [(0, 480, *NOTE_AT), (9000, 480, *NOTE_AT)]), tempos=changes, ticks_per_beat=960)
    layout = layout_of(score)
    tempos = own_tempos(score, layout)
    for tick in (4000, 8000, 9600):
        there = plain_seconds(score.tempos, 960, tick)
        assert float(plain_seconds(tempos, TICKS_PER_BEAT, tick // 2)) == pytest.approx(float(there), rel=1e-3)


@pytest.mark.parametrize("ticks_per_beat", [384, 32767])
def test_maps_of_thousands_of_changes_keep_their_tempi_and_their_seconds(ticks_per_beat):
    random = np.random.default_rng(ticks_per_beat)
    ticks = np.unique(random.integers(1, 200 * ticks_per_beat, 4000)).tolist()
    bpm = [(0, 100), *zip(ticks, (100 + 40 * np.sin(np.arange(len(ticks)) / 99)).tolist(), strict=True)]
    score = score_of(
        (0, [(0, 1, *NOTE_AT), (200 * ticks_per_beat, 1, *NOTE_AT)]), tempos=bpm, ticks_per_beat=ticks_per_beat
    )
    assert_bars_in_time(score)
    tempos = own_tempos(score, layout_of(score))
    said = {tempo.microseconds_per_beat for tempo in score.tempos}
    assert all(tempo.microseconds_per_beat in said for tempo in tempos)


def test_a_change_lies_on_the_nearest_tick():
    score = score_of((0, [(5000, 1, *NOTE_AT)]), tempos=[(0, 120), (999, 90), (2001, 60)], ticks_per_beat=1000)
    assert [tempo.tick for tempo in own_tempos(score, layout_of(score))] == [0, 480, 960]


def test_tempi_at_the_limits_of_a_midi_file_are_kept_and_written(tmp_path):
    rows = [(1920 * number, 480, *NOTE_AT) for number in range(3)]
    score = Score(480, score_of((0, rows)).tracks, (Tempo(0, 1), Tempo(1920, SLOWEST)), score_of().signatures)
    tempos = own_tempos(score, layout_of(score))
    assert tempos == score.tempos
    midi.write(with_tempos(snap(score), tempos), tmp_path / "song.mid")
    assert midi.read(tmp_path / "song.mid").tempos == tempos


def test_changes_that_no_note_can_meet_are_not_kept():
    score = score_of((0, [(0, 480, *NOTE_AT)]), tempos=[(0, 120), (480, 60), (10**15, 90)])
    tempos = own_tempos(score, layout_of(score))
    assert tempos == score.tempos[:2]
    assert with_tempos(snap(score), (*tempos, Tempo(481, 7))).tempos == tempos
    assert with_tempos(snap(score), ()) == snap(score)
