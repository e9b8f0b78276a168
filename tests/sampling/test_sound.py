"""What --wav makes of songs: what plays them and with which SoundFont, and what is heard, of real renders."""

import importlib.util
import wave
from pathlib import Path

import numpy as np
import pytest

from configs import InputError
from jax_impl.sampling import sound
from tests.scores import score_of
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music import midi
from tokenizer.music.composer import compose
from tokenizer.music.messages import file_of
from tokenizer.music.score import DRUMS, Score

SONG = midi.to_bytes(score_of((0, [(0, 480, 60, 80)])), "song")[0]


def sound_font(path: Path, more: int = 0) -> Path:
    """The least that is a SoundFont; more: bytes that it says it has beyond those."""
    path.write_bytes(b"RIFF" + (4 + more).to_bytes(4, "little") + b"sfbk")
    return path


def stand_in(folder: Path, script: str) -> None:
    """For FluidSynth, which need not be installed where tests run."""
    program = folder / "fluidsynth"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


@pytest.fixture
def no_fluidsynth(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("SOUNDFONT", raising=False)


def test_where_nothing_makes_sound_it_is_said_what_to_install(no_fluidsynth, monkeypatch):
    find_spec = importlib.util.find_spec
    for missing in ("midirenderer", "pretty_midi"):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, missing=missing: None if name == missing else find_spec(name)
        )
        with pytest.raises(
            InputError, match=r"pip install 'hid-museformer\[sound\]', or HID_EXTRAS=sound before ./hid"
        ):
            sound.find_soundfont()


# ---------------------------------------------------------------- SoundFonts and FluidSynth


def test_sound_is_what_fluidsynth_makes_of_the_song(tmp_path, monkeypatch):
    stand_in(tmp_path, 'echo "$@" > "$5"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SOUNDFONT", str(sound_font(tmp_path / "font.sf2")))
    assert sound.find_soundfont() == tmp_path / "font.sf2"
    sound.play(SONG, tmp_path / "x.wav", sound.find_soundfont())
    played = (tmp_path / "x.wav").read_text(encoding="utf-8")
    assert str(tmp_path / "font.sf2") in played and "song.mid" in played


@pytest.mark.parametrize("has_fluidsynth", [True, False])
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none.sf2", "cannot be read (No such file or directory)"),
        ("folder.sf2", "cannot be read (Is a directory)"),
        ("text.sf2", "is no SoundFont"),
        ("empty.sf2", "is no SoundFont"),
        ("short.sf2", "is cut short: 12 of 112 bytes"),
    ],
)
def test_a_soundfont_that_is_none_is_named(tmp_path, monkeypatch, name, problem, has_fluidsynth):
    """FluidSynth would play with another one and say nothing."""
    (tmp_path / "folder.sf2").mkdir()
    (tmp_path / "text.sf2").write_text("a text of some length", encoding="utf-8")
    (tmp_path / "empty.sf2").touch()
    sound_font(tmp_path / "short.sf2", more=100)
    stand_in(tmp_path, "true")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin" if has_fluidsynth else "")
    monkeypatch.setenv("SOUNDFONT", str(tmp_path / name))
    with pytest.raises(InputError) as error:
        sound.find_soundfont()
    assert f"SOUNDFONT={tmp_path / name}: {problem}" in str(error.value)
    monkeypatch.delenv("SOUNDFONT")
    monkeypatch.setattr(sound, "SOUNDFONTS", [str(tmp_path)])
    assert sound.find_soundfont().name == sound.PACKAGED  # FluidSynth plays with it too
    whole = sound_font(tmp_path / "whole.sf2")
    assert sound.find_soundfont() == whole if has_fluidsynth else sound.find_soundfont().name == sound.PACKAGED


def test_a_font_that_fluidsynth_does_not_take_after_all_is_told(tmp_path, monkeypatch):
    stand_in(tmp_path, 'echo sound > "$5"; echo "Failed to load the SoundFont" >&2')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(InputError, match=r"FluidSynth failed with .*font.sf2 \(Failed to load"):
        sound.play(SONG, tmp_path / "x.wav", tmp_path / "font.sf2")


def test_a_full_disk_is_told_though_fluidsynth_ends_well(tmp_path, monkeypatch):
    stand_in(tmp_path, 'echo half > "$5"; echo "error: Audio file write error: No space left on device." >&2')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(InputError, match=r"a\.wav: no space left on the disk"):
        sound.play(file_of(1, 480, [([], 0)]), tmp_path / "a.wav", sound_font(tmp_path / "a.sf2"))
    assert not (tmp_path / "a.wav").exists()


def test_a_font_that_is_damaged_inside_is_named_before_a_song_is_made(tmp_path, no_fluidsynth, monkeypatch):
    """midirenderer stops at one with an error, at the other with a panic, which is no Exception."""
    content = sound.find_soundfont().read_bytes()
    (tmp_path / "zeros.sf2").write_bytes(content[:100] + bytes(len(content) - 100))
    of_samples = content.rindex(b"shdr") + 8  # 46 bytes of each, at 20 where it begins
    out_of_range = bytearray(content)
    for at in range(of_samples, len(content) - 46, 46):
        out_of_range[at + 20 : at + 28] = b"\xff\xff\xff\x6f" * 2
    (tmp_path / "panic.sf2").write_bytes(out_of_range)
    monkeypatch.setenv("SOUNDFONT", str(tmp_path / "zeros.sf2"))
    with pytest.raises(InputError, match=r"midirenderer failed with .*zeros.sf2 \(SoundFont error"):
        sound.find_soundfont()
    with pytest.raises(InputError, match=r"midirenderer failed with .*panic.sf2"):
        sound.play(SONG, tmp_path / "x.wav", tmp_path / "panic.sf2")


# ---------------------------------------------------------------- what is heard


@pytest.fixture
def heard(tmp_path, no_fluidsynth):
    """The sound of a song as midirenderer plays it: float64[N, 2], full scale at 1."""

    def heard(song: Score | bytes) -> np.ndarray:
        content = song if isinstance(song, bytes) else midi.to_bytes(song, "song")[0]
        sound.play(content, tmp_path / "x.wav", sound.find_soundfont())
        with wave.open(str(tmp_path / "x.wav")) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, 44100)
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768

    return heard


def length(score: Score) -> float:
    """Seconds up to the end of the last note."""
    end = max(int((track.notes["onset_ticks"] + track.notes["duration_ticks"]).max()) for track in score.tracks)
    return float(seconds_at(score.tempos, score.ticks_per_beat, np.array([end]))[0])


def loudness(part: np.ndarray) -> float:
    return float(np.sqrt((part**2).mean()))


def between(song: np.ndarray, begin: float, end: float) -> np.ndarray:
    """From one second to another."""
    return song[round(begin * 44100) : round(end * 44100)]


def pitch(part: np.ndarray) -> float:
    """Hertz of the loudest partial."""
    frames = 1 << 18
    return float(np.abs(np.fft.rfft(part.sum(axis=1) * np.hanning(len(part)), frames)).argmax() * 44100 / frames)


def test_a_song_is_heard_from_its_first_to_its_last_second_and_rings_out(heard):
    score = compose(7)
    song, seconds = heard(score), length(score)
    assert seconds < len(song) / 44100 < seconds + sound.TAIL
    assert all(loudness(between(song, second, second + 1)) > 0.01 for second in range(int(seconds)))
    assert loudness(song[-2205:]) < 0.001 and 0.1 < np.abs(song).max() < 0.999
    assert loudness(song[:, 0] - song[:, 1]) > 0.001  # the sides differ


@pytest.mark.parametrize(("program", "tail"), [(0, 0.2), (96, 3.5)])
def test_the_last_note_is_not_cut_and_the_tail_is_as_long_as_it_rings(heard, program, tail):
    song = heard(score_of((program, [(0, 960, 60, 110)])))
    assert 1 + tail < len(song) / 44100 < 2.5 + tail and loudness(song[-2205:]) < 0.001


def test_notes_sound_at_their_times_whatever_the_changes_of_tempo(heard):
    onsets = [0, 960, 1920, 3840]
    score = score_of((13, [(tick, 60, 72, 110) for tick in onsets]), tempos=((0, 120), (1000, 61), (2000, 187)))
    song = heard(score)
    for second in seconds_at(score.tempos, 480, np.array(onsets[1:])):
        assert loudness(between(song, second + 0.01, second + 0.06)) > 20 * loudness(
            between(song, second - 0.06, second - 0.01)
        )


def test_drums_are_drums_and_programs_are_their_instruments(heard):
    note = [(0, 1440, 38, 110)]
    spectrum = lambda program: np.abs(np.fft.rfft(heard(score_of((program, note)))[:44100].sum(axis=1)))
    middle = lambda program: float(np.average(np.arange(22051), weights=spectrum(program)))  # Hertz
    assert middle(DRUMS) > 2 * middle(0)
    held = lambda program: loudness(between(heard(score_of((program, note))), 1.0, 1.4))
    assert held(16) > 10 * held(13)  # an organ, a xylophone


def test_pitch_bends_bend(heard):
    said = [(0, bytes([0xC0, 73])), (0, bytes([0x90, 69, 100])), (960, bytes([0xE0, 0x7F, 0x7F]))]
    song = heard(file_of(0, 480, [([*said, (1920, bytes([0x80, 69, 0]))], 1920)]))
    before, after = pitch(between(song, 0.2, 0.9)), pitch(between(song, 1.2, 1.9))
    assert before == pytest.approx(440, rel=0.01) and after / before == pytest.approx(2 ** (2 / 12), rel=0.015)


def test_what_is_loud_does_not_clip_and_keeps_what_it_says_of_loudness(heard):
    notes = [(channel, key) for channel in range(9) for key in (40, 47, 54, 61, 68, 75)]
    begin = [(0, bytes([0xC0 + channel, 61])) for channel in range(9)]
    begin += [(0, bytes([0x90 + channel, key, 127])) for channel, key in notes]
    softly = [(960, bytes([0xB0 + channel, 11, 32])) for channel in range(9)]
    end = [(1920, bytes([0x80 + channel, key, 0])) for channel, key in notes]
    song = heard(file_of(1, 480, [(begin + softly + end, 1920)]))
    assert 0.2 < np.abs(song).max() < 0.999
    assert loudness(between(song, 0.3, 0.9)) > 8 * loudness(between(song, 1.3, 1.9)) > 0.001


def test_a_file_that_counts_smpte_frames_and_lets_no_key_go_lasts_as_it_says_and_falls_silent(heard):
    said = [(0, bytes([0xC0, 16])), (0, bytes([0xB0, 64, 127])), (500, bytes([0x90, 69, 100]))]
    song = heard(file_of(1, -25 * 256 + 40, [(said, 2000)]))  # 1000 ticks a second
    assert loudness(between(song, 0, 0.45)) < 0.001 < 0.02 < loudness(between(song, 0.6, 1.9))
    assert 2 < len(song) / 44100 < 4 and loudness(song[-2205:]) < 0.001


@pytest.mark.parametrize("hertz", [50, 1000, 15000])
def test_at_another_rate_a_tone_is_the_same_tone(hertz):
    tone = lambda rate: 10000 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)
    there = sound._at_sample_rate(np.stack([tone(48000), -tone(48000)], axis=1).astype(np.int16))
    error = there[100:44000] - np.stack([tone(44100), -tone(44100)], axis=1)[100:44000]
    assert len(there) == 44100 and np.abs(error).max() < 5
