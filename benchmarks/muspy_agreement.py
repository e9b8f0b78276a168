"""Our metrics beside MusPy's own functions, song by song.

    python -m venv muspy && muspy/bin/pip install muspy==0.5.0 numpy
    PYTHONPATH=. muspy/bin/python benchmarks/muspy_agreement.py --songs ../shared/data/midi

MusPy brings music21 and 480 MB, so it has an environment of its own and is no dependency of the tests: they compare
with what MusPy said here (tests/evaluation/test_metrics.py). Songs of the built-in composer, and real ones spread over
their folders, each read on the grid, in MusPy's units of 24 steps a beat. What compares measures is compared where all
are of one length, as MusPy wants it. Writes benchmarks/results/muspy_agreement.json.
"""

import argparse
import math
from pathlib import Path

import muspy
from report import write_report

from jax_impl.evaluation import metrics
from jax_impl.evaluation.notes import BEAT, Notes, notes_of
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import GridSong
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import DRUMS

COMPOSED, REAL = 8, 20  # songs
LARGEST = 40_000  # bytes of a file, so that the tests read them all in a moment

OURS = {
    "pitch_range": metrics.pitch_range,
    "n_pitches_used": metrics.pitches_used,
    "n_pitch_classes_used": metrics.pitch_classes_used,
    "pitch_class_entropy": metrics.pitch_class_entropy,
    "scale_consistency": metrics.scale_consistency,
    "polyphony": metrics.polyphony,
    "polyphony_rate": metrics.polyphony_rate,
    "empty_beat_rate": metrics.empty_beat_rate,
    "drum_pattern_consistency": metrics.drum_pattern_consistency,
}
OURS_OF_MEASURES = {
    "groove_consistency": metrics.groove_consistency,
    "empty_measure_rate": metrics.empty_measure_rate,
}


def music_of(notes: Notes) -> muspy.Music:
    """The same notes as MusPy has them, a track for each program."""
    tracks = []
    for program in sorted(set(notes.program.tolist())):
        track = muspy.Track(program=program % DRUMS, is_drum=program == DRUMS)
        for index in (notes.program == program).nonzero()[0].tolist():
            onset, length = int(notes.onset[index]), int(notes.end[index] - notes.onset[index])
            track.notes.append(muspy.Note(time=onset, pitch=int(notes.pitch[index]), duration=length))
        tracks.append(track)
    return muspy.Music(resolution=BEAT, tracks=tracks)


def of_song(song: GridSong) -> dict:
    """MusPy's values, None for its NaN, and the largest difference of ours from them."""
    notes = notes_of(song)
    music, lengths = music_of(notes), set((notes.lines[1:] - notes.lines[:-1]).tolist())
    said = {name: getattr(muspy, name)(music) for name in OURS}
    ours = {name: function(notes) for name, function in OURS.items()}
    if len(lengths) == 1:
        length = lengths.pop()
        said |= {name: getattr(muspy, name)(music, length) for name in OURS_OF_MEASURES}
        ours |= {name: function(notes) for name, function in OURS_OF_MEASURES.items()}
    if said["pitch_range"] < 0:  # the range of no pitch at all, which MusPy calls -127
        said["pitch_range"] = None
    said = {name: None if value is None or math.isnan(value) else float(value) for name, value in said.items()}
    assert all((said[name] is None) == (ours[name] is None) for name in said), (said, ours)
    apart = max(abs(said[name] - ours[name]) for name in said if said[name] is not None)
    return {"notes": len(notes), "sum_of_onsets": int(notes.onset.sum()), "muspy": said, "largest_difference": apart}


def spread(songs: Path) -> list[Path]:
    """Of each folder the same number, evenly spread over it."""
    files = [path for path in sorted(songs.rglob("*.mid")) if path.stat().st_size < LARGEST]
    folders = sorted({path.parent for path in files})
    chosen = []
    for number, folder in enumerate(folders):
        own = [path for path in files if path.parent == folder]
        wanted = (REAL - len(chosen)) // (len(folders) - number)
        chosen += own[:: max(len(own) // wanted, 1)][:wanted]
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    songs = parser.parse_args().songs
    composed = {str(seed): of_song(quantize(compose(seed))) for seed in range(COMPOSED)}
    real = {path.relative_to(songs).as_posix(): of_song(quantize(midi.read(path))) for path in spread(songs)}
    apart = max(song["largest_difference"] for song in (*composed.values(), *real.values()))
    write_report(
        "muspy_agreement",
        {"muspy": muspy.__version__, "largest_difference": apart, "composed": composed, "real": real},
    )


if __name__ == "__main__":
    main()
