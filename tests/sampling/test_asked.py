"""What Python hands to `generate` and `stream` works or is refused by the argument's name, before a model is loaded."""

from dataclasses import replace

import numpy as np
import pytest

from configs import Constraints, InputError
from jax_impl.sampling import asked, sample, stream
from jax_impl.training.found import step_named
from tests.played import BEAT, aligned_as, played
from tokenizer.grid.song import HID_RANK
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import Signature
from tokenizer.tokens.encode import encode


@pytest.mark.parametrize("entrance", [sample.generate, stream.stream])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run": 5}, "run must be the path of a training run, got int"),
        ({"prompt": "nowhere.mid"}, r"nowhere\.mid: cannot be read"),
        ({"prompt": 5}, "prompt must be a Score, tokens, or the path of a MIDI file, got 5"),
        ({"prompt": []}, "prompt must be a Score"),
        ({"prompt": np.array([1.5])}, "prompt must be a Score"),
        ({"prompt": np.ones((2, 2), int)}, "prompt must be a Score"),
        ({"prompt": b"a.mid"}, "prompt must be a Score"),
        ({"prompt": [1, 724]}, "prompt: tokens are from 0 to 723, got 1 to 724"),
        ({"checkpoint": "500x"}, "checkpoint must be best, latest or a step, got '500x'"),
        ({"checkpoint": "³"}, "checkpoint must be best, latest or a step, got '³'"),
        ({"checkpoint": None}, "checkpoint must be best"),
        ({"checkpoint": 2.5}, "checkpoint must be best"),
        ({"checkpoint": True}, "checkpoint must be best"),
        ({"constraints": {"bars": 3}}, r"constraints must be Constraints\(\.\.\.\), got {'bars': 3}"),
        ({"constraints": None}, "constraints must be Constraints"),
        ({"constraints": Constraints(add=["blorp"])}, "--add: unknown instrument 'blorp'"),
        ({"sampler": Constraints()}, r"sampler must be SampleConfig\(\.\.\.\)"),
        ({"run": "nowhere"}, "nowhere: no checkpoints here"),
    ],
)
def test_what_cannot_be_is_refused_by_the_argument_s_name(entrance, arguments, message):
    arguments = {"run": "nowhere"} | arguments
    with pytest.raises(InputError, match=message):
        entrance(**arguments)


def test_a_song_is_a_score_its_tokens_or_a_file(tmp_path):
    score = compose(0)
    midi.write(score, tmp_path / "a.mid")
    tokens = encode(score)
    assert asked.given(None, "extend", "auto") == (None, [])
    for prompt in (score, tmp_path / "a.mid", str(tmp_path / "a.mid")):
        song, notices = asked.given(prompt, "extend", "auto")
        assert np.array_equal(song.ids, tokens.ids) and notices == []
        assert [tempo.microseconds_per_beat for tempo in song.tempos] == [score.tempos[0].microseconds_per_beat]
    for ids in (tokens, tokens.ids, tokens.ids.tolist(), tokens.ids.astype(np.uint16)):
        song, _ = asked.given(ids, "extend", "auto")
        assert np.array_equal(song.ids, tokens.ids) and song.ids.dtype == np.int32 and song.tempos == ()


@pytest.mark.parametrize(("pedalled", "notes"), [(1, "1 note"), (240, "240 notes")])
def test_what_reading_a_file_changed_is_told(monkeypatch, pedalled, notes):
    """In the words of the reader, and what the pedal does to the notes, as far as it is asked to."""

    def parse(raw, path, pedal):
        return midi.Reading(compose(0), ("clipped 3 data bytes in track 2",), 0, pedalled if pedal == "extend" else 0)

    monkeypatch.setattr(midi, "load", lambda path: b"")
    monkeypatch.setattr(midi, "parse", parse)
    lengthens = f"a.mid: the sustain pedal lengthens {notes}; --pedal ignore plays them as the keys were held"
    assert asked.given("a.mid", "extend", "auto")[1] == ["a.mid: clipped 3 data bytes in track 2", lengthens]
    assert asked.given("a.mid", "ignore", "auto")[1] == ["a.mid: clipped 3 data bytes in track 2"]


def test_bars_that_are_written_otherwise_than_they_stand_in_the_file_are_told(tmp_path):
    song = replace(compose(0), signatures=(Signature(0, 11, 8),))
    midi.write(song, tmp_path / "a.mid")
    (said,) = asked.given(tmp_path / "a.mid", "extend", "auto")[1]
    assert "11/8: " in said and said.endswith("--bars and --keep-bars count bars as they are written")


# ---------------------------------------------------------------- where its beats are


FREE, AS_BEATS = played(0)


def aligned_so(monkeypatch, kind: str) -> None:
    monkeypatch.setattr(asked, "align", lambda score: aligned_as(score, kind, AS_BEATS.time, BEAT))


SAID = {
    "pickup": "a pickup is filled up in front: its bar counts as bar 1",
    "shift": "all of it lies beside its beats by the same time, and so does what is new",
    "meter": "its time signature cannot be meant: bars of 4/4 were found, and are counted",
    "beats": "its beats were found, at about 120 BPM: bars of 4/4 are counted by them",
    "off_grid": "its beats were found, at about 120 BPM: bars of 4/4 are counted by them; a guess, --align off counts "
    "the bars of the file",
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_done_to_the_time_of_a_given_song_is_told(monkeypatch, tmp_path, kind):
    """A guess is taken where it is asked for."""
    aligned_so(monkeypatch, kind)
    midi.write(FREE, tmp_path / "a.mid")
    of_score, said = asked.given(FREE, "extend", "keep")
    assert said == [f"the given song: {SAID[kind]}"]
    of_file, said = asked.given(tmp_path / "a.mid", "extend", "keep")
    assert said[0] == f"{tmp_path / 'a.mid'}: {SAID[kind]}"
    assert of_score.own.time is of_file.own.time is AS_BEATS.time
    assert np.array_equal(of_score.ids, encode(AS_BEATS.score).ids)


def test_beats_that_are_not_heard_well_enough_are_those_of_the_file_unless_a_guess_is_wanted(monkeypatch):
    aligned_so(monkeypatch, "off_grid")
    song, (said,) = asked.given(FREE, "extend", "auto")
    assert np.array_equal(song.ids, encode(FREE).ids)
    own = song.own
    tracks = sorted((track for track in FREE.tracks if len(track.notes)), key=lambda track: HID_RANK[track.program])
    assert own.score == replace(FREE, tracks=tuple(tracks))
    assert np.array_equal(own.back(np.array([0, 480])), [0, FREE.ticks_per_beat])
    assert said.startswith("the given song: its beats are not heard well enough") and "--align keep" in said


def test_where_the_file_s_beats_are_wanted_no_others_are_looked_for(monkeypatch):
    monkeypatch.setattr(asked, "align", lambda score: pytest.fail("looked for"))
    song, said = asked.given(FREE, "extend", "off")
    assert said == [] and np.array_equal(song.ids, encode(FREE).ids)
    assert np.array_equal(song.own.back(np.array([0, 480])), [0, FREE.ticks_per_beat])
    song, said = asked.given(encode(FREE), "extend", "auto")  # of tokens no others are
    assert song.own is None and said == []


def test_a_pickup_is_filled_up_and_comes_back_as_it_was():
    score = replace(compose(0), signatures=(Signature(0, 1, 4), Signature(480, 4, 4)))
    song, (said,) = asked.given(score, "extend", "auto")
    assert said == f"the given song: {SAID['pickup']}"
    assert np.array_equal(song.own.back(np.array([0, 1440, 1920])), [-1440, 0, 480])


def test_a_step_is_a_number_however_it_is_written():
    assert [step_named(step) for step in (500, "500", np.int64(500), "0500")] == [500] * 4
    assert [step_named(word) for word in ("best", "latest")] == ["best", "latest"]


def test_what_became_something_else_is_a_warning_where_generate_was_called():
    def generate(notice):
        asked.tell(notice)

    with pytest.warns(UserWarning, match="C13 -> C7") as warned:
        generate("C13 -> C7")
        generate("")
    assert [warning.filename for warning in warned] == [__file__]
