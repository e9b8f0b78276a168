"""Pictures of what alignment did: notes of both halves stand one above the other, lines where beats are."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PolyCollection

from configs import CheckConfig, InputError
from jax_impl.cli import songs as verbs
from jax_impl.cli.checked import named_pictures
from tests.scores import score_of
from tokenizer.dataset import beats_plot
from tokenizer.dataset.beats_plot import MEASURES, figure
from tokenizer.grid.align import Aligned, align
from tokenizer.grid.time_map import TimeMap, retimed
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS, Score, Signature, Tempo

LIMITS = CheckConfig()
BAR = 1920
MELODY = (0, [(240 * n, 200, 60 + n % 9, 80) for n in range(200)])
PICKUP = score_of(MELODY, signatures=((0, 1, 4), (480, 4, 4)))
KIT = (DRUMS, [(240 * n, 120, (36, 38, 42)[n % 3], 100) for n in range(30)])
SCORES = {
    "composed": compose(1),
    "pickup": PICKUP,
    "one note": score_of((0, [(0, 480, 60, 80)])),
    "drums alone": score_of(KIT),
    "long silence": score_of((0, [(40 * BAR, 480, 60, 80), (45 * BAR, 480, 62, 80)])),
    "100 tracks": score_of(*((program, [(480 * program, 480, 20 + program, 80)]) for program in range(100)), KIT),
    "short bars": score_of(MELODY, signatures=((0, 1, 8), (240 * 30, 3, 4))),
}


def later(score: Score, ticks: int) -> Aligned:
    """The score shifted."""
    time = TimeMap.shifted(ticks)
    moved = retimed(score, time, score.ticks_per_beat, score.tempos, score.signatures)
    return Aligned(moved, "shift", shift_beats=ticks / score.ticks_per_beat, time=time)


def freely(score: Score) -> Aligned:
    """Played at 96 BPM, though the file says 120, and from half a beat before its first tick on."""
    time = TimeMap(np.array([0, 600]), np.array([240, 720]))
    moved = retimed(score, time, 480, (Tempo(0, 625_000),), (Signature(0, 3, 4),))
    return Aligned(moved, "beats", shift_beats=0.5, confidence=0.9, time=time)


def left_edges(axis) -> np.ndarray:
    """Seconds at which the drawn notes begin."""
    found = [path.vertices[0, 0] for c in axis.collections if isinstance(c, PolyCollection) for path in c.get_paths()]
    return np.sort(found)


def lines(axis, width: float) -> np.ndarray:
    """Seconds of the lines of that width."""
    drawn = [c for c in axis.collections if isinstance(c, LineCollection) and c.get_linewidths()[0] == width]
    return np.sort([path.vertices[0, 0] for c in drawn for path in c.get_paths()])


THICK, THIN = 1.6, 0.5


@pytest.mark.parametrize("aligned", [align(PICKUP), later(PICKUP, 350), freely(PICKUP)], ids=lambda a: a.kind)
def test_the_notes_of_both_halves_stand_one_above_the_other(aligned):
    raw, found = figure(PICKUP, aligned, "song.mid").axes
    assert len(left_edges(raw)) > 30
    assert np.allclose(left_edges(raw), left_edges(found), atol=2e-3)
    assert raw.get_xlim() == found.get_xlim()


def test_lines_lie_where_beats_and_measures_of_each_score_are():
    raw, found = figure(PICKUP, align(PICKUP), "song.mid").axes
    assert np.allclose(lines(raw, THICK)[:3], [0, 0.5, 2.5])
    assert np.allclose(lines(found, THICK)[:3], [-1.5, 0.5, 2.5])
    assert np.allclose(lines(raw, THIN)[:3], [1, 1.5, 2])
    assert np.allclose(lines(found, THIN)[:3], [-1, -0.5, 0]), "also in the silence in front"
    assert len(lines(found, THICK)) == MEASURES + 1


def test_beats_that_were_found_lie_where_they_were_found_by_the_clock():
    _, found = figure(PICKUP, freely(PICKUP), "song.mid").axes
    beats = np.union1d(lines(found, THICK), lines(found, THIN))
    assert np.allclose(beats[:4], [-0.3125, 0.3125, 0.9375, 1.5625])
    assert np.allclose(np.diff(lines(found, THICK)), 3 * 0.625)


@pytest.mark.parametrize(
    ("signature", "beats"), [((4, 4), 3), ((6, 8), 1), ((12, 8), 3), ((3, 8), 2), ((5, 4), 4), ((2, 2), 1)]
)
def test_a_measure_has_the_beats_of_its_signature(signature, beats):
    raw, _ = figure(*(s := score_of(MELODY, signatures=((0, *signature),)), align(s)), "song.mid").axes
    start, end = lines(raw, THICK)[:2]
    assert ((lines(raw, THIN) > start) & (lines(raw, THIN) < end)).sum() == beats


def test_a_long_silence_in_front_is_not_all_that_is_seen():
    score = SCORES["long silence"]
    raw, _ = figure(score, align(score), "song.mid").axes
    assert left_edges(raw).tolist() == [80.0, 90.0]
    assert raw.get_xlim()[0] == pytest.approx(78, abs=1)


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_no_text_lies_over_another_or_over_the_notes(score):
    drawn = figure(score, align(score), "a/long/path/" * 30)
    FigureCanvasAgg(drawn).draw()
    frame = drawn.bbox.padded(2)
    within = [axis.get_window_extent() for axis in drawn.axes]
    outside = [drawn.legends[0].get_window_extent(), drawn._suptitle.get_window_extent()]
    for axis in drawn.axes:
        outside.append(axis._left_title.get_window_extent())
        for texts in (axis.texts, axis.get_yticklabels()):
            boxes = [text.get_window_extent() for text in texts if text.get_text()]
            assert boxes and not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
            assert not any(box.overlaps(other) for box in boxes for other in outside)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in outside)
    assert not any(box.overlaps(axis) for box in outside for axis in within)


# ---------------------------------------------------------------- the verb


@pytest.fixture
def folder(tmp_path):
    """Two songs of one name, and what cannot be drawn."""
    for place, score in (("a", PICKUP), ("b", compose(1))):
        (tmp_path / "midi" / place).mkdir(parents=True)
        midi.write(score, tmp_path / "midi" / place / "song.mid")
    (tmp_path / "midi" / "text.mid").write_text("no music", encoding="utf-8")
    midi.write(score_of((0, [])), tmp_path / "midi" / "no notes.mid")
    return tmp_path / "midi"


def test_check_draws_each_file_that_has_music_and_says_where(folder, capsys):
    plots = folder.parent / "new" / "plots"
    verbs.check((folder,), LIMITS, plot=str(plots), workers=1, json=True)
    *each, _ = map(json.loads, capsys.readouterr().out.splitlines())
    pictures = {entry["file"].removeprefix(f"{folder}/"): entry.get("picture") for entry in each}
    assert pictures == {
        "a/song.mid": str(plots / "song.png"),
        "b/song.mid": str(plots / "song-2.png"),
        "text.mid": None,
        "no notes.mid": None,
    }
    assert sorted(path.name for path in plots.iterdir()) == ["song-2.png", "song.png"]
    drawn = [matplotlib.image.imread(path) for path in plots.iterdir()]
    assert all(len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20 for picture in drawn)


def test_a_file_without_beats_is_drawn_too(folder, monkeypatch, capsys):
    doubtful = replace(later(PICKUP, 120), kind="off_grid", confidence=0.2)
    for module in ("accept", "check"):
        monkeypatch.setattr(f"tokenizer.dataset.{module}.align", lambda score: doubtful)
    path = folder.parent / "beats.png"
    assert verbs.check((folder / "a" / "song.mid",), LIMITS, plot=str(path), workers=1) == 1
    assert path.exists() and f"    picture: {path}" in capsys.readouterr().out.splitlines()


def test_pictures_that_are_there_are_written_over_when_that_is_said(folder):
    plots = folder.parent / "plots"
    plots.mkdir()
    (plots / "song-2.png").write_bytes(b"of a person")
    with pytest.raises(InputError, match=r"song-2.png: exists already.*--overwrite"):
        verbs.check((folder,), LIMITS, plot=str(plots), workers=1)
    assert [path.name for path in plots.iterdir()] == ["song-2.png"], "known before work starts"
    verbs.check((folder,), LIMITS, plot=str(plots), overwrite=True, workers=1)
    assert (plots / "song-2.png").read_bytes()[:4] == b"\x89PNG"


def test_a_picture_that_cannot_be_finished_leaves_what_was_there(tmp_path, monkeypatch):
    beats_plot.draw(PICKUP, align(PICKUP), "song.mid", tmp_path / "song.png")
    before = (tmp_path / "song.png").read_bytes()

    def interrupted(self, path, **how):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", interrupted)
    with pytest.raises(KeyboardInterrupt):
        beats_plot.draw(PICKUP, align(PICKUP), "song.mid", tmp_path / "song.png")
    assert [path.name for path in tmp_path.iterdir()] == ["song.png"]
    assert (tmp_path / "song.png").read_bytes() == before


def test_pictures_of_files_of_one_name_do_not_meet():
    files = [Path(name) for name in ("a/x.mid", "b/x.mid", "x-2.mid", "c/X.kar", "y.mid", "d/x.mid")]
    names = [picture.name for picture in named_pictures(files, Path("plots"))]
    assert names == ["x.png", "x-3.png", "x-2.png", "X-4.png", "y.png", "x-5.png"]


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        ({"align": "off"}, {"plot": "plots"}, "--plot shows what beats were found, and --align off looks for none"),
        ({}, {"overwrite": True}, "--overwrite says that --plot may write over pictures; add --plot"),
        ({}, {"plot": "all.png"}, "--plot all.png: is one picture, and there are 4 files; name a folder"),
        ({}, {"plot": "beats.mid"}, "--plot beats.mid: is the name of a MIDI file"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_work(folder, monkeypatch, settings, flags, message):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr("jax_impl.cli.checked.run", None)
    with pytest.raises(InputError, match=message):
        verbs.check((folder,), replace(LIMITS, **settings), workers=1, **flags)
    assert [path.name for path in folder.parent.iterdir()] == ["midi"]


@pytest.mark.parametrize("name", ["$\\frac$", "\u65e5\u672c"])
def test_a_title_is_the_name_whatever_letters_it_has(tmp_path, name, recwarn):
    beats_plot.draw(PICKUP, align(PICKUP), name, tmp_path / "song.png")
    assert not recwarn.list and (tmp_path / "song.png").exists()
