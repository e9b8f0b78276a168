"""What Python hands to `generate` and `stream` works or is refused by the argument's name, before a model is loaded."""

from dataclasses import replace

import numpy as np
import pytest

from configs import Constraints, InputError
from jax_impl.sampling import asked, sample, stream
from jax_impl.training.checkpoint import step_named
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.score import Signature
from tokenizer.tokens.encode import encode


@pytest.mark.parametrize("entrance", [sample.generate, stream.stream])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run": None}, "run must be the path of a training run, got NoneType"),
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

    def read_told(path, pedal):
        return midi.Reading(compose(0), ("clipped 3 data bytes in track 2",), 0, pedalled if pedal == "extend" else 0)

    monkeypatch.setattr(midi, "read_told", read_told)
    lengthens = f"a.mid: the sustain pedal lengthens {notes}; --pedal ignore plays them as the keys were held"
    assert asked.given("a.mid", "extend", "auto")[1] == ["a.mid: clipped 3 data bytes in track 2", lengthens]
    assert asked.given("a.mid", "ignore", "auto")[1] == ["a.mid: clipped 3 data bytes in track 2"]


def test_bars_that_are_written_otherwise_than_they_stand_in_the_file_are_told(tmp_path):
    song = replace(compose(0), signatures=(Signature(0, 11, 8),))
    midi.write(song, tmp_path / "a.mid")
    (said,) = asked.given(tmp_path / "a.mid", "extend", "auto")[1]
    assert "11/8: " in said and said.endswith("--bars and --keep-bars count bars as they are written")


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
