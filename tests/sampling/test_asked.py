"""What Python hands to `generate` and `stream` works or is refused by the argument's name, before a model is loaded."""

from pathlib import Path

import numpy as np
import pytest

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import asked, sample, stream
from jax_impl.training.checkpoint import step_named
from tokenizer.music import midi
from tokenizer.music.composer import compose
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
        ({"prompt": [1, 643]}, "prompt: tokens are from 0 to 642, got 1 to 643"),
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
    assert asked.song(None) is None and asked.song(score) is score
    for path in (tmp_path / "a.mid", str(tmp_path / "a.mid")):
        assert asked.song(path) == midi.read(path)
    for ids in (tokens, tokens.ids, tokens.ids.tolist(), tokens.ids.astype(np.uint16)):
        assert np.array_equal(asked.song(ids), tokens.ids) and asked.song(ids).dtype == np.int32


def test_a_step_is_a_number_however_it_is_written():
    assert [step_named(step) for step in (500, "500", np.int64(500), "0500")] == [500] * 4
    assert [step_named(word) for word in ("best", "latest")] == ["best", "latest"]
    run, *_ = asked.checked("run", None, Constraints(), SampleConfig(), "best")
    assert run == Path("run")


def test_what_became_something_else_is_a_warning_where_generate_was_called():
    def generate(notice):
        asked.tell(notice)

    with pytest.warns(UserWarning, match="C13 -> C7") as warned:
        generate("C13 -> C7")
        generate("")
    assert [warning.filename for warning in warned] == [__file__]
