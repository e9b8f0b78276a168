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


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("count", [1, 9_876_543])
def test_no_text_of_the_report_lies_over_another(lengths, count):
    lengths = np.array(lengths)
    report = summarize(np.full(vocab.SIZE, count), lengths, seconds=9000.0, rejected=REASONS)
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


def test_numbers_of_songs_are_whole():
    lengths = np.array([700])
    drawn = figure(summarize(np.ones(vocab.SIZE, int), lengths, 60.0, {}), lengths)
    for axis in (drawn.axes[0], drawn.axes[4]):
        labels = [tick.get_text() for tick in axis.get_yticklabels()]
        assert labels[:2] == ["0", "1"] and len(set(labels)) == len(labels)
