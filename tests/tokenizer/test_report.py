"""The picture of a dataset can be read, however many songs it has and however long they are."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tokenizer import vocabulary as vocab
from tokenizer.dataset.report import figure, summarize

LENGTHS = {
    "one": [700],
    "short": range(30, 90),
    "demo": range(1700, 4500, 100),
    "wide": [64, 700, 60_000, 400_000],
}
REASONS = {"duplicate": 123_456, "a reason that is longer than any label may be, by far": 3}
CHANGES = {"aligned": {"none": 700, "beats": 8, "off_grid": 1, "off": 3}}


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("count", [1, 9_876_543])
def test_no_text_of_the_report_lies_over_another(lengths, count):
    lengths = np.array(lengths)
    report = summarize(np.full(vocab.SIZE, count), lengths, seconds=9000.0, rejected=REASONS, changes=CHANGES)
    drawn = figure(report, lengths)
    FigureCanvasAgg(drawn).draw()
    frame = drawn.bbox.padded(2)
    titles = []
    for axis in drawn.axes:
        for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels if label.get_text()]
            assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))
        inside = axis.get_window_extent().padded(2)
        for number in axis.texts:
            assert inside.x1 >= number.get_window_extent().x1
        titles += [axis.title.get_window_extent(), axis.xaxis.label.get_window_extent()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(titles, 2))
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in titles)


def test_what_is_counted_is_named_by_what_it_says():
    counts = np.zeros(vocab.SIZE, int)
    said = {"T0": 6, "T15+1/2": 2, "L1": 7, "L256": 1, "L1+1/3": 2, "P0": 3, "P127": 4, "BPM_-8": 5, "BPM_39": 1}
    said |= {"TS_15/16": 2, "TS_4/4": 9, "#D": 2, "#P127": 1, "N": 3, "B5": 4}
    for name, count in said.items():
        counts[vocab.ID[name]] = count
    report = summarize(counts, np.array([700]), 60.0, {}, {})
    assert report["notes"] == 7
    assert report["positions_beside_sixteenths"] == 0.25 and report["durations_beside_sixteenths"] == 0.2
    assert report["meters_written"] == {"4/4": 9, "15/16": 2}
    assert report["tempi_written"] == {"25 bpm": 5, "401 bpm": 1}
    assert list(report["tracks_by_instrument"].values()) == [2, 1]
    assert report["chords_of_bars"] == {"5": 4, "none": 3}


def test_numbers_of_songs_are_whole():
    lengths = np.array([700])
    drawn = figure(summarize(np.ones(vocab.SIZE, int), lengths, 60.0, {}, {}), lengths)
    for axis in (drawn.axes[0], drawn.axes[4]):
        labels = [tick.get_text() for tick in axis.get_yticklabels()]
        assert labels[:2] == ["0", "1"] and len(set(labels)) == len(labels)
