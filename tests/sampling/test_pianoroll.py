"""Pictures of songs are written whole, for songs of all kinds, and can be read."""

import itertools
import subprocess
import sys
from dataclasses import replace

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jax_impl.sampling import pianoroll
from tests import ROOT
from tests.scores import score_of
from tokenizer.grid.quantize import snap
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS

KIT = (DRUMS, [(240 * n, 120, (36, 38, 42)[n % 3], 100) for n in range(30)])
SCORES = {
    "composed": compose(1),
    "empty": score_of(),
    "one note": score_of((0, [(0, 480, 60, 80)])),
    "one stroke": score_of((DRUMS, [(0, 120, 36, 100)])),
    "drums alone": score_of(KIT),
    "1200 bars": score_of((0, [(1920 * n, 480, 60 + n % 20, 80) for n in range(1200)]), KIT),
    "100 tracks": score_of(*((program, [(480 * program, 480, 20 + program, 80)]) for program in range(100)), KIT),
    "short bars": score_of(
        (0, [(240 * n, 200, 60 + n % 9, 80) for n in range(200)]), signatures=((0, 4, 4), (19200, 1, 8), (24000, 3, 4))
    ),
}


@pytest.mark.parametrize("name", ["composed", "empty", "drums alone", "1200 bars"])
def test_a_piano_roll_shows_something_and_leaves_nothing_else(tmp_path, name):
    pianoroll.piano_roll(SCORES[name], tmp_path / "roll.png")
    assert [path.name for path in tmp_path.iterdir()] == ["roll.png"]
    picture = matplotlib.image.imread(tmp_path / "roll.png")
    assert picture.shape[1] >= 900
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 20


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_no_text_lies_over_another_or_over_the_notes(score):
    figure = pianoroll.draw(score, title="a/long/path/" * 30)
    FigureCanvasAgg(figure).draw()
    within = [axis.get_window_extent() for axis in figure.axes]
    outside = [figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()]
    in_a_row = [
        figure.axes[0].texts,
        figure.axes[-1].get_xticklabels(),
        *(axis.get_yticklabels() for axis in figure.axes),
    ]
    for texts in in_a_row:
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
        outside += boxes
    frame = figure.bbox.padded(2)
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in outside)
    assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in outside)
    assert not any(box.overlaps(axis) for box in outside[:2] for axis in within)


def test_pitches_are_whole_and_drums_have_names():
    labels = lambda axis: [text.get_text() for text in axis.get_yticklabels()]
    drums = score_of((DRUMS, [(0, 120, 36, 100), (240, 120, 42, 100), (480, 120, 99, 100)]))
    assert [labels(axis) for axis in pianoroll.draw(drums).axes] == [["Bass Drum", "Closed Hi-Hat", "99"]]
    for name in ("empty", "one note", "composed"):
        pitches = pianoroll.draw(SCORES[name]).axes[0]
        assert len(labels(pitches)) >= 3 and all(label.isdecimal() for label in labels(pitches))
        assert np.ptp(pitches.get_ylim()) >= 24


def test_of_forty_tracks_each_has_a_color_of_its_own():
    figure = pianoroll.draw(score_of(*((program, [(0, 480, 60, 80)]) for program in range(40))))
    colors = {tuple(patch.get_facecolor()) for patch in figure.legends[0].get_patches()}
    assert len(colors) == 40


def test_drawing_leaves_the_backend_of_those_who_import_it_alone():
    program = "import sys, jax_impl.sampling.pianoroll; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_bars_are_numbered_as_people_count_them():
    notes = [(2400 * bar, 400, 60 + bar, 80) for bar in range(6)]
    axis = pianoroll.draw(score_of((0, notes), signatures=((0, 5, 4),)), chords=list("ABCDEF")).axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == list("123456")
    assert axis.get_xticks().tolist() == [2400 * bar for bar in range(6)]
    assert [text.get_text() for text in axis.texts] == list("ABCDEF") and not axis.patches


def test_bars_that_were_written_anew_are_shaded():
    score = score_of((0, [(2400 * bar, 400, 60 + bar, 80) for bar in range(6)]), KIT, signatures=((0, 5, 4),))
    for axis in pianoroll.draw(score, anew=(1, 3)).axes:
        (shade,) = axis.patches
        assert (shade.get_x(), shade.get_width()) == (2400, 2 * 2400)


def test_what_is_new_has_its_track_s_color_and_what_was_given_is_grey():
    score = score_of((0, [(480 * n, 480, 60, 127) for n in range(4)]), KIT)
    score = snap(score)
    drums, piano = score.tracks
    figure = pianoroll.draw(score, new=(replace(drums, notes=drums.notes[:2]), replace(piano, notes=piano.notes[2:3])))
    shades = [collection.get_facecolor()[:, :3] for axis in figure.axes for collection in axis.collections[:-1]]
    is_grey = np.concatenate([np.isclose(faces, pianoroll.GIVEN, atol=0.01).all(axis=1) for faces in shades])
    assert is_grey.sum() == 3 + len(drums.notes) - 2 and (~is_grey).sum() == 1 + 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["given", "Drums", "Acoustic Grand Piano"]


@pytest.mark.parametrize("tracks", [1, 9, 17, 25])
def test_no_track_has_the_color_of_given_notes(tracks):
    colors = pianoroll._colors(tracks)
    assert len(set(colors)) == tracks and np.ptp(colors, axis=1).min() > pianoroll.GREYISH
