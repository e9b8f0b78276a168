"""Sound of a song, a .wav file: by FluidSynth where it is installed, else by midirenderer with the SoundFont that comes
in pretty_midi's wheel, both of the extra `sound`. midirenderer is loaded when it plays, pretty_midi never.
"""

import errno
import importlib.util
import io
import os
import shutil
import subprocess
import tempfile
import wave
from math import ceil
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from configs import PEDAL, InputError
from tokenizer.disk.atomic import atomic
from tokenizer.grid.tempo_map import seconds_at
from tokenizer.music import midi
from tokenizer.music.messages import CONTROLLER, GivenFile, file_of, messages_of, meta
from tokenizer.music.midi_events import SET_TEMPO

SOUNDFONTS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
SAMPLE_RATE = 44100
HIGHEST = (1 << 15) - 1  # of a frame, and -HIGHEST - 1 the lowest
PACKAGE, PACKAGED = "pretty_midi", "TimGM6mb.sf2"
INSTALL = (
    "--wav needs what plays MIDI files, and a SoundFont: pip install 'hid-museformer[sound]', or HID_EXTRAS=sound "
    "before ./hid (or FluidSynth: apt install fluidsynth fluid-soundfont-gm, brew install fluid-synth)"
)

# What midirenderer does, and what is made of it
TAIL = 6.0  # seconds that notes may ring on behind the end; those of General MIDI take up to 4
QUIET = 16  # of 32768: where the tail is cut
EXPRESSION, RESET, PEDAL_DOWN, NOTES_OFF = 11, 121, 64, 123  # controllers
FULL = 127
EXPRESSIONS = (FULL, 90, 64, 45, 32)  # each half as loud as the one before: as loud as goes without clipping
RENDERED_RATE = 48000
INPUTS, OUTPUTS = 160, 147  # frames that last as long at the one rate and at the other
REACH = 32  # frames on each side that a frame is made of
PASSED = 0.95  # of the band of the lower rate


def find_soundfont() -> Path:
    """A SoundFont to play with: that of the variable SOUNDFONT; else, for FluidSynth, the first where systems keep
    them; else that of the extra `sound`. Raises InputError that says what to install, or what is wrong with the one
    that is named.
    """
    named, has_fluidsynth = os.environ.get("SOUNDFONT"), shutil.which("fluidsynth") is not None
    named = named and os.path.expanduser(named)
    if named and (problem := _problem(Path(named))):
        raise InputError(f"--wav: SOUNDFONT={named}: {problem}")
    if not has_fluidsynth and importlib.util.find_spec("midirenderer") is None:
        raise InputError(INSTALL)
    found = [Path(named)] if named else [*(_of_the_system() if has_fluidsynth else ()), packaged()]
    if not (found := [font for font in found if font]):
        raise InputError(INSTALL)
    if not has_fluidsynth:
        rendered(file_of(1, 480, [([], 0)]), found[0])  # damage is said before a song is made
    return found[0]


def play(song: bytes, path: Path, soundfont: Path) -> None:
    """song: a MIDI file. path: a .wav file, 44.1 kHz, stereo, 16 bit, that appears whole or not at all. Raises
    InputError.
    """
    play_with = _fluidsynth if shutil.which("fluidsynth") else _midirenderer
    with atomic(path) as temporary:
        play_with(song, temporary, soundfont)


# ---------------------------------------------------------------- SoundFonts


def _of_the_system() -> list[Path]:
    folders = [Path(folder) for folder in SOUNDFONTS]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    return [file for file in files if file.suffix in (".sf2", ".sf3") and not _problem(file)]


def packaged() -> Path | None:
    """That of the extra `sound`, found without importing the package, which is slow; None where it is not there."""
    spec = importlib.util.find_spec(PACKAGE)
    files = [Path(folder, PACKAGED) for folder in (spec and spec.submodule_search_locations) or ()]
    return next((file for file in files if not _problem(file)), None)


def _problem(soundfont: Path) -> str:
    """Why the file cannot be played with, "" where it can: FluidSynth would play with another font in silence."""
    try:
        with soundfont.open("rb") as file:
            head, size = file.read(12), os.fstat(file.fileno()).st_size
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        return "is no SoundFont (.sf2, .sf3)"
    said = int.from_bytes(head[4:8], "little") + 8
    return "" if size >= said else f"is cut short: {size:,} of {said:,} bytes"


# ---------------------------------------------------------------- FluidSynth


def _fluidsynth(song: bytes, path: Path, soundfont: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        midi.write_bytes(song, file := Path(folder, "song.mid"))  # it takes no .rmi
        command = ["fluidsynth", "-ni", "-r", str(SAMPLE_RATE), "-F", str(path), str(soundfont), str(file)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if "No space left" in done.stderr:  # and it ends as if all were well
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    is_other_font = "Failed to load" in done.stderr  # and it went on with its own
    if done.returncode or is_other_font or "write error" in done.stderr or not path.exists():
        raise InputError(f"--wav: FluidSynth failed with {soundfont} ({(done.stderr or done.stdout).strip()[-200:]})")


# ---------------------------------------------------------------- midirenderer


def _midirenderer(song: bytes, path: Path, soundfont: Path) -> None:
    for expression in EXPRESSIONS:
        content, seconds = _with_tail(song, expression)
        sound = rendered(content, soundfont)
        if -HIGHEST - 1 < sound.min() and sound.max() < HIGHEST:
            break
    sound, end = _at_sample_rate(sound), ceil(seconds * SAMPLE_RATE)
    audible = np.flatnonzero((np.abs(sound[end:]) > QUIET).any(axis=1))
    length = end + int(audible.max(initial=-1)) + 1
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(sound[:length].tobytes())


def rendered(song: bytes, soundfont: Path) -> np.ndarray:
    """int16[N, 2]: the sound of a MIDI file at RENDERED_RATE, up to the end of its last track. Raises InputError."""
    import midirenderer

    try:
        content = midirenderer.render_wave_from(soundfont.read_bytes(), song)
    except OSError as error:
        raise InputError(f"--wav: {soundfont}: cannot be read ({error.strerror})") from error
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        raise InputError(f"--wav: midirenderer failed with {soundfont} ({error})") from error
    with wave.open(io.BytesIO(content)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (2, 2, RENDERED_RATE):
            raise InputError(f"--wav: this midirenderer makes another kind of sound: {file.getparams()}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


def _with_tail(song: bytes, expression: int) -> tuple[bytes, float]:
    """The song as midirenderer takes it, which stops at the last track's end and reads no SMPTE time: what is said to
    channels, and the tempo map; at the end pedals and keys are let go, and TAIL follows. expression: what stands for
    FULL. Also the seconds up to the end.
    """
    score, there = midi.parse(song, "the song", PEDAL).score, GivenFile(song).there
    said = messages_of(song, there)
    end = there.scale * max(track.end for track in said)
    tempos = [(tempo.tick, meta(SET_TEMPO, tempo.microseconds_per_beat.to_bytes(3, "big"))) for tempo in score.tempos]
    begun = of_all_channels(0, EXPRESSION, expression)
    let_go = [*of_all_channels(end, PEDAL_DOWN, 0), *of_all_channels(end, NOTES_OFF, 0)]
    behind = end + ceil(TAIL * 1e6 * score.ticks_per_beat / score.tempos[-1].microseconds_per_beat)
    tracks = [(begun + tempos, end)]
    for track in said:
        messages = []
        for message in track.messages:
            if message.key:
                messages += [(there.scale * message.tick, data) for data in quieter(message.data, expression)]
        tracks.append((messages, end))
    seconds = float(seconds_at(score.tempos, score.ticks_per_beat, np.array([end]))[0])
    return file_of(1, score.ticks_per_beat, [*tracks, (let_go, behind)]), seconds


def of_all_channels(tick: int, controller: int, value: int) -> list[tuple[int, bytes]]:
    return [(tick, bytes([CONTROLLER + channel, controller, value])) for channel in range(16)]


def quieter(data: bytes, expression: int) -> list[bytes]:
    """What is said in the place of a message to a channel."""
    if data[0] & 0xF0 == CONTROLLER and data[1] == EXPRESSION:
        return [bytes([*data[:2], data[2] * expression // FULL])]
    if data[0] & 0xF0 == CONTROLLER and data[1] == RESET:
        return [data, bytes([data[0], EXPRESSION, expression])]
    return [data]


def _at_sample_rate(sound: np.ndarray) -> np.ndarray:
    """int16[M, 2] at SAMPLE_RATE of int16[N, 2] at RENDERED_RATE. The 147 frames that last as long as 160 are the same
    sums of those and their neighbours each time: one matrix product, of sincs under a Hann window.

    |<- REACH ->|<- 160 ->|<- REACH ->|  @  weights[160 + 2 REACH, 147]  =  |<- 147 ->|
    """
    distance = np.arange(OUTPUTS) * (INPUTS / OUTPUTS) - np.arange(-REACH, INPUTS + REACH)[:, None]
    band = PASSED * OUTPUTS / INPUTS
    window = np.where(np.abs(distance) < REACH, np.cos(np.pi * distance / (2 * REACH)) ** 2, 0)
    weights = (band * np.sinc(band * distance) * window).astype(np.float32)
    blocks = -(-len(sound) // INPUTS)
    out = np.empty((blocks * OUTPUTS, 2), "<i2")
    for side in range(2):
        around = np.pad(sound[:, side].astype(np.float32), (REACH, blocks * INPUTS - len(sound) + REACH))
        frames = sliding_window_view(around, len(weights))[::INPUTS] @ weights
        out[:, side] = np.rint(frames.clip(-HIGHEST - 1, HIGHEST)).reshape(-1)
    return out
