"""check says whether a file survives the tokenizer."""

from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.tokens.check import check


def test_a_song_is_exact_and_counted(tmp_path):
    midi.write(compose(0), tmp_path / "song.mid")
    result = check(tmp_path / "song.mid")
    assert result.exact and result.error is None
    assert result.notes > 300 and result.tokens > 2 * result.notes and 0 < result.seconds < 10


def test_a_bad_file_is_an_answer_not_an_exception(tmp_path):
    (tmp_path / "bad.mid").write_text("nothing")
    result = check(tmp_path / "bad.mid")
    assert not result.exact and "bad.mid" in result.error


def test_a_tokenizer_that_loses_a_note_is_found(tmp_path, monkeypatch):
    midi.write(compose(0), tmp_path / "song.mid")
    monkeypatch.setattr("tokenizer.tokens.check.decode", lambda ids: compose(1))
    assert not check(tmp_path / "song.mid").exact
