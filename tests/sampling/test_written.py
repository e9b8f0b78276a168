"""The files of a song come one after another, whole: MIDI and JSON first, then the picture and the sound. What was
interrupted in between goes on, and nobody else's file is written over.
"""

import dataclasses
import os

import pytest

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import outputs, sound
from jax_impl.sampling.sample import Sample
from jax_impl.training.record import plain
from tests.rows import ids
from tokenizer.disk.atomic import WriteError

SONG = Sample(ids("BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P60 L4 V20 T8 P64 Gmaj T0 P67 EOS"), True, 0, 0)
OTHER = dataclasses.replace(SONG, ids=ids("BOS BPM_19 TS_4/4 #P0 SEP Cmaj T0 P62 L4 V20 EOS"))
ORIGIN = outputs.Origin("run", 5, "00", plain(SampleConfig()), plain(Constraints()), None, {}, [], None, None)


@pytest.fixture
def formats(tmp_path, monkeypatch):
    """Picture and sound, which cost nothing: see files_of."""
    draw = lambda score, path, **_: path.write_text(f"{score}", encoding="utf-8")
    monkeypatch.setattr(outputs.pianoroll, "piano_roll", draw)
    monkeypatch.setattr(sound, "play", lambda song, path, _: path.write_bytes(song + b"played"))
    return outputs.Formats(picture=True, soundfont=tmp_path / "font.sf2")


def files_of(song: Sample) -> dict[str, bytes]:
    """What is written of it but for the JSON."""
    content = song.midi()[0]
    return {"x.mid": content, "x.png": f"{song.on_grid()}".encode(), "x.wav": content + b"played"}


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_song_is_there_before_its_picture_is_drawn(tmp_path, formats, monkeypatch):
    draw, there = outputs.pianoroll.piano_roll, []

    def look(score, path, **more):
        there.extend(name for name in names(tmp_path) if not name.startswith(".tmp"))
        assert outputs.is_whole(tmp_path / "x.mid", outputs.Formats(picture=False, soundfont=None))
        draw(score, path, **more)

    monkeypatch.setattr(outputs.pianoroll, "piano_roll", look)
    outputs.write(SONG, ORIGIN, tmp_path / "x.mid", formats)
    assert there == ["x.json", "x.mid"] and names(tmp_path) == ["x.json", "x.mid", "x.png", "x.wav"]
    assert outputs.is_whole(tmp_path / "x.mid", formats)


def test_where_the_picture_cannot_be_written_the_song_stays_and_the_error_says_so(tmp_path, formats, monkeypatch):
    def full(score, path, **more):
        path.write_bytes(b"half a pic")
        raise WriteError(path, OSError(28, "No space left on device"))

    with monkeypatch.context() as patch, pytest.raises(InputError) as error:
        patch.setattr(outputs.pianoroll, "piano_roll", full)
        outputs.write(SONG, ORIGIN, tmp_path / "x.mid", formats)
    assert str(error.value).startswith(f"{tmp_path / 'x.png'}: no space left on the disk")
    assert str(error.value).endswith(f"; the song itself is written: {tmp_path / 'x.mid'}")
    assert names(tmp_path) == ["x.json", "x.mid"]
    assert not outputs.is_whole(tmp_path / "x.mid", formats)
    outputs.refuse_to_replace_any(tmp_path / "x.mid", formats, [], overwrite=False)


@pytest.mark.parametrize("before", [None, SONG, OTHER], ids=["nothing", "the same song", "another song"])
@pytest.mark.parametrize("moment", range(7))
def test_what_was_interrupted_at_any_moment_may_go_on_and_counts_as_whole_only_when_it_is(
    tmp_path, formats, monkeypatch, before, moment
):
    """Before the first, second, ... file takes its place."""
    path, replace, replaced = tmp_path / "x.mid", os.replace, []
    if before:
        outputs.write(before, ORIGIN, path, formats)

    def stops(*names):
        if len(replaced) == moment:
            raise KeyboardInterrupt
        replaced.append(names)
        replace(*names)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stops)
        outputs.write(SONG, ORIGIN, path, formats)
        raise KeyboardInterrupt  # all were replaced
    outputs.refuse_to_replace_any(path, formats, [], overwrite=False)
    if outputs.is_whole(path, formats):
        assert contents(tmp_path) == files_of(outputs.beside(path).sample)
    outputs.write(SONG, ORIGIN, path, formats)
    assert outputs.is_whole(path, formats) and contents(tmp_path) == files_of(SONG)


def test_what_another_made_is_not_written_over_after_an_interruption_either(tmp_path, formats, monkeypatch):
    path = tmp_path / "x.mid"
    outputs.write(OTHER, ORIGIN, path, formats)
    older = {file: file.read_bytes() for file in formats.files(path)}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(outputs.pianoroll, "piano_roll", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        outputs.write(SONG, ORIGIN, path, formats)
    path.with_suffix(".png").write_bytes(b"a photograph")
    with pytest.raises(InputError, match=r"x.png: exists already"):
        outputs.refuse_to_replace_any(path, formats, [], overwrite=False)
    outputs.write(SONG, ORIGIN, path, formats)  # as with --overwrite
    assert not outputs.read(path.with_suffix(".json")).replaces
    path.write_bytes(older[path])
    with pytest.raises(InputError, match=r"x.mid: exists already"):
        outputs.refuse_to_replace_any(path, formats, [], overwrite=False)


def test_sound_that_is_added_later_leaves_the_picture_as_it_was_written(tmp_path, formats):
    path = tmp_path / "x.mid"
    outputs.write(SONG, ORIGIN, path, dataclasses.replace(formats, soundfont=None))
    picture = path.with_suffix(".png").read_bytes()
    outputs.write(SONG, ORIGIN, path, dataclasses.replace(formats, picture=False))
    assert path.with_suffix(".png").read_bytes() == picture and outputs.is_whole(path, formats)
