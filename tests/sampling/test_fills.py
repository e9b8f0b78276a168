"""Bars that a model writes into a given song, in one part or several; random weights will do."""

import mido
import numpy as np
import pytest

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import asked
from jax_impl.sampling.sample import generate, generate_files
from jax_impl.sampling.stream import Stream
from tests.sampling.small import HOT, sampler_for
from tokenizer import vocabulary as vocab
from tokenizer.music import midi
from tokenizer.tokens import grammar


def played(score) -> list[list]:
    return [track.notes.tolist() for track in score.tracks]


def test_hidden_bars_are_written_anew_and_all_else_is_as_it_was(model, given):
    """Eight at once, one like another before its first new token, and none like another behind it."""
    sampler = sampler_for(model, SampleConfig(**HOT | {"num_samples": 3}), given, Constraints(fill="bass:2-3"))
    assert sampler.task.whole.measures_anew == (1, 3)
    assert sampler.task.notice == "bars 2-3 of #2 Fingered Bass are written anew"
    songs = list(sampler.samples())
    assert grammar.errors([song.ids for song in songs]) == [None] * 3 and all(song.finished for song in songs)
    assert len({song.ids.tobytes() for song in songs}) == 3
    for song in songs:
        drums, bass, piano = played(song.score())
        was_drums, was_bass, was_piano = played(given)
        assert (drums, piano) == (was_drums, was_piano)
        outside = lambda notes: [note for note in notes if not 1920 <= note[0] < 3 * 1920]
        assert outside(bass) == outside(was_bass) and len(bass) > len(outside(bass))


def test_a_song_written_in_parts_is_one_song(model, given):
    settings = SampleConfig(**HOT | {"num_samples": 2, "max_length": 120})
    sampler = sampler_for(model, settings, given, Constraints(fill="piano"))
    assert len(sampler.task.parts.parts) > 1 and "parts, for the model sees no more at once" in sampler.task.notice
    lengths: list[int] = []
    songs = sampler.group(range(2), lambda length, _: lengths.append(length))
    assert lengths == sorted(lengths)
    assert grammar.errors([song.ids for song in songs]) == [None] * 2 and all(song.finished for song in songs)
    assert [(song.ids == vocab.MASK).sum() for song in songs] == [4, 4]
    for song in songs:
        assert played(song.score())[:2] == played(given)[:2]
    again = sampler.group(range(2))
    assert all(np.array_equal(song.ids, same.ids) for song, same in zip(songs, again, strict=True))


def test_a_model_that_saw_no_hidden_bars_refuses_to_fill_any(run_dir, given, tmp_path):
    midi.write(given, tmp_path / "a.mid")
    with pytest.raises(InputError, match=r"--fill: the model of .* never saw hidden bars"):
        asked.task(run_dir, tmp_path / "a.mid", Constraints(fill="bass:2"), SampleConfig(), "best")


def test_from_python_a_given_file_comes_back_itself(run_dir, given, tmp_path):
    """With what no Score holds, here a lyric."""
    midi.write(given, tmp_path / "a.mid")
    file = mido.MidiFile(tmp_path / "a.mid")
    file.tracks[2].insert(0, mido.MetaMessage("lyrics", text="la"))
    file.save(tmp_path / "a.mid")
    settings = SampleConfig(**HOT)
    (content,) = generate_files(run_dir, prompt=tmp_path / "a.mid", constraints=Constraints(bars=5), sampler=settings)
    (score,) = generate(run_dir, prompt=tmp_path / "a.mid", constraints=Constraints(bars=5), sampler=settings)
    (tmp_path / "b.mid").write_bytes(content)
    assert midi.read(tmp_path / "b.mid") == score
    assert mido.MetaMessage("lyrics", text="la") in mido.MidiFile(tmp_path / "b.mid").tracks[2]


def test_bars_inside_a_song_are_not_streamed(model, given):
    sampler = sampler_for(model, SampleConfig(**HOT), given, Constraints(fill="bass:2"))
    with pytest.raises(InputError, match="--stream"):
        next(iter(Stream(sampler)))
