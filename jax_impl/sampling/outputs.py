"""What a sample leaves: MIDI, a picture, sound,
and the JSON from which it can be made again bit for bit on the same machine.
"""

import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from configs import Constraints, InputError, SampleConfig
from jax_impl.sampling import pianoroll
from jax_impl.sampling.sample import Sample
from jax_impl.training.checkpoint import Record, plain, versions
from tokenizer import vocabulary as vocab
from tokenizer.music import midi
from tokenizer.tokens import grammar

SOUNDFONTS = (
    "/usr/share/sounds/sf2",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
SAMPLE_RATE = 44100


@dataclasses.dataclass(frozen=True)
class Origin:
    """How samples were made, as plain JSON values: run, step and checksum of the checkpoint, sampler, constraints,
    tokens of the given song before any change (None: none), and the libraries' versions.
    """

    run: str
    step: int
    checksum: int
    sampler: dict
    constraints: dict
    prompt: list[int] | None
    versions: dict

    @classmethod
    def of(
        cls, run: Path, record: Record, sampler: SampleConfig, wanted: Constraints, prompt: np.ndarray | None
    ) -> "Origin":
        given = None if prompt is None else prompt.tolist()
        checksum = record.checksums.get("parameters", 0)
        return cls(str(run), record.step, checksum, plain(sampler), plain(wanted), given, versions())


def write(sample: Sample, origin: Origin, path: Path, picture: bool, soundfont: Path | None) -> None:
    """path (.mid), and beside it .png, .wav where asked for, and last .json: where that is, all is."""
    score = sample.score()
    midi.write(score, path)
    if picture:
        pianoroll.piano_roll(score, path.with_suffix(".png"), chords=_chords(sample.ids))
    if soundfont:
        _play(path, path.with_suffix(".wav"), soundfont)
    values = dataclasses.asdict(origin)
    values |= {
        "number": sample.number,
        "finished": sample.finished,
        "errors": sample.errors,
        "tokens": sample.ids.tolist(),
    }
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps(values) + "\n")
    os.replace(temporary, path.with_suffix(".json"))


def _chords(ids: np.ndarray) -> list[str]:
    """Names of the chords that the tokens of the first track say, bar by bar."""
    kind, names = grammar.CLASS[ids], []
    tracks = np.cumsum(kind == grammar.TRACK)
    for token in ids[(tracks == 1) & (kind == grammar.CHORD)].tolist():
        names.append(vocab.NAMES[token])
    return names


def read(path: Path) -> tuple[Origin, int, np.ndarray]:
    """(origin, number, tokens) of a sample's JSON. Raises InputError."""
    try:
        values = json.loads(path.read_text())
        origin = Origin(**{field.name: values[field.name] for field in dataclasses.fields(Origin)})
        return origin, int(values["number"]), np.array(values["tokens"], np.int32)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the JSON of a sample ({type(error).__name__}: {error})") from error


def is_written(path: Path, origin: Origin) -> bool:
    """Whether this sample is there already. Raises InputError where it is one made otherwise."""
    if not path.with_suffix(".json").exists():
        return False
    there = read(path.with_suffix(".json"))[0]
    ignored = dict(num_samples=0)  # the same songs, more of them
    if dataclasses.replace(there, sampler=there.sampler | ignored) != dataclasses.replace(
        origin, sampler=origin.sampler | ignored
    ):
        raise InputError(
            f"{path.parent}: holds samples made with other settings or another checkpoint; give another --out"
        )
    return True


def find_soundfont() -> Path:
    """A SoundFont to play with. Raises InputError that says how to get one and FluidSynth."""
    folders = [Path(folder) for folder in SOUNDFONTS]
    found = [
        file
        for folder in folders
        if folder.is_dir()
        for file in sorted(folder.iterdir())
        if file.suffix in (".sf2", ".sf3")
    ]
    if "SOUNDFONT" in os.environ:
        found = [Path(os.environ["SOUNDFONT"])]
    if not shutil.which("fluidsynth") or not found or not found[0].exists():
        raise InputError(
            "--wav needs FluidSynth and a SoundFont (apt install fluidsynth fluid-soundfont-gm, or brew "
            "install fluid-synth); "
            "set SOUNDFONT to a .sf2 or .sf3 file that lies elsewhere"
        )
    return found[0]


def _play(source: Path, path: Path, soundfont: Path) -> None:
    temporary = path.with_suffix(".tmp.wav")
    command = ["fluidsynth", "-ni", "-r", str(SAMPLE_RATE), "-F", str(temporary), str(soundfont), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not temporary.exists():
        raise InputError(f"{path}: FluidSynth failed ({(done.stderr or done.stdout).strip()[-200:]})")
    os.replace(temporary, path)
