"""check says whether a file survives the tokenizer."""

from collections import Counter

import tokenizer.tokens.check
from jax_impl.cli import songs
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.tokens.check import check


def test_a_song_is_exact_and_counted(tmp_path):
    midi.write(compose(0), tmp_path / "song.mid")
    result = check(tmp_path / "song.mid")
    assert result.exact and result.error is None
    assert result.notes > 300 and result.tokens > 2 * result.notes and 0 < result.seconds < 10


def test_a_bad_file_is_an_answer_not_an_exception(tmp_path):
    (tmp_path / "bad.mid").write_text("nothing", encoding="utf-8")
    result = check(tmp_path / "bad.mid")
    assert not result.exact and "bad.mid" in result.error


def test_a_tokenizer_that_loses_a_note_is_found(tmp_path, monkeypatch):
    midi.write(compose(0), tmp_path / "song.mid")
    monkeypatch.setattr("tokenizer.tokens.check.decode", lambda ids: compose(1))
    assert not check(tmp_path / "song.mid").exact


def test_files_are_told_in_their_order_whichever_is_done_first(tmp_path, monkeypatch, capsys):
    files = [tmp_path / f"{number}.mid" for number in range(4)]
    for number, path in enumerate(files[:3]):
        midi.write(compose(number), path)
    asked = []

    def backwards(function, tasks, workers, engine):
        asked.append((workers, engine))
        return map(function, reversed(tasks))

    monkeypatch.setattr("tokenizer.dataset.workers.run", backwards)
    assert songs.check(tuple(files), workers=3) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [f"{number}.mid" in line for number, line in enumerate(lines[1:])] == [True] * 4
    assert asked == [(3, "local")], "on all cores"


def test_each_step_is_taken_once(tmp_path, monkeypatch):
    """Of the file and of what is written of it: read, put on the grid, encoded."""
    midi.write(compose(0), tmp_path / "song.mid")
    calls = Counter()
    for name in ("quantize", "encode_grid", "decode"):
        function = getattr(tokenizer.tokens.check, name)
        monkeypatch.setattr(
            tokenizer.tokens.check,
            name,
            lambda *given, name=name, function=function: (calls.update([name]), function(*given))[1],
        )
    assert check(tmp_path / "song.mid").exact
    assert calls == {"quantize": 2, "encode_grid": 2, "decode": 1}
