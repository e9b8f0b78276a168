"""What a sample leaves: MIDI, then a picture and sound,
and the JSON from which it can be made again bit for bit on the same machine.
"""

import base64
import dataclasses
import json
import zlib
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import Constraints, InputError, Pedal, SampleConfig
from jax_impl import shipped
from jax_impl.sampling import pianoroll, sound
from jax_impl.sampling.sample import Sample
from jax_impl.training.found import Found
from jax_impl.training.record import plain, versions
from tokenizer.disk.atomic import atomic_together, file_digest, is_as_written, refuse_to_replace, write_json
from tokenizer.disk.destination import MIDI
from tokenizer.music import midi
from tokenizer.music.messages import GivenFile
from tokenizer.music.score import Score, Tempo
from tokenizer.tokens import own_time
from tokenizer.tokens.given import Prompt


@dataclasses.dataclass(frozen=True)
class Origin:
    """How samples were made, as plain JSON values: run (None: the model that comes with this program), step and
    checksum of the checkpoint, sampler, constraints,
    tokens of the given song before any change (None: none) and its own tempo map as [tick of the grid, microseconds a
    beat] (empty: the tokens' tempi, as of samples made before it was kept), the libraries' versions, the given song's
    own time as own_time.to_json gives it, and the file itself, compressed, in base 64 (both None of older samples of
    songs that were not aligned).
    """

    run: str | None
    step: int
    checksum: str
    sampler: dict
    constraints: dict
    prompt: list[int] | None
    versions: dict
    prompt_tempos: list[list[int]]
    prompt_own_time: dict | None
    prompt_file: str | None

    @classmethod
    def of(cls, found: Found, sampler: SampleConfig, wanted: Constraints, prompt: Prompt | None) -> "Origin":
        given = None if prompt is None else prompt.ids.tolist()
        tempos = [] if prompt is None else [[tempo.tick, tempo.microseconds_per_beat] for tempo in prompt.tempos]
        record = found.record
        checksum = str(record.checksums.get("parameters", ""))
        own = None if prompt is None else prompt.own
        song = (given, versions(), tempos, own and own_time.to_json(own), own and own.file and _packed(own.file.raw))
        return cls(found.run, record.step, checksum, plain(sampler), plain(wanted), *song)

    @property
    def model(self) -> str:
        """What wrote them, for people."""
        return shipped.NAME if self.run is None else f"checkpoint of step {self.step}"

    def given(self) -> Prompt | None:
        """The given song. Inverse of `of`."""
        if self.prompt is None:
            return None
        tempos = tuple(Tempo(*tempo) for tempo in self.prompt_tempos)
        if self.prompt_own_time is None:
            return Prompt(np.array(self.prompt, np.int32), tempos)
        read = file = None
        if self.prompt_file is not None:
            file, read = _given_file(self.prompt_file, self.constraints["pedal"])
        own = own_time.of_json(self.prompt_own_time, read, file)
        return Prompt(np.array(self.prompt, np.int32), tempos, own)


@lru_cache(maxsize=1)  # all songs of a folder have the same
def _given_file(text: str, pedal: Pedal) -> tuple[GivenFile, Score]:
    """The file of which the text is _packed, and what is read of it. Raises ValueError and MidiError."""
    try:
        raw = zlib.decompress(base64.b64decode(text, validate=True))
    except zlib.error as error:
        raise ValueError(f"the given file in it is damaged: {error}") from error
    return GivenFile(raw), midi.parse(raw, "the given song", pedal).score


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode("ascii")


@dataclasses.dataclass(frozen=True)
class Formats:
    """What is written of a song beside its MIDI file and the JSON. soundfont: what to play the .wav with, or None."""

    picture: bool
    soundfont: Path | None

    def files(self, path: Path) -> list[Path]:
        """The JSON, the MIDI file `path`, and what else belongs to it."""
        suffixes = [".png"] * self.picture + [".wav"] * (self.soundfont is not None)
        return [path.with_suffix(".json"), path, *(path.with_suffix(suffix) for suffix in suffixes)]


def write(sample: Sample, origin: Origin, path: Path, formats: Formats) -> str | None:
    """path (.mid) and beside it .json, both or none; then, each whole or not at all, .png and .wav where asked for. The
    JSON has the digests of what is there by then. Returns what a player may lose of the song (see Whole.midi). Raises
    InputError, which says so where the song is there and only the picture or the sound is not.

    The picture is on the grid, also of a song that is written in its own time: its bars are those that the model had,
    and that --bars and --keep-bars count.
    """
    json_file, midi_file, *others = formats.files(path)
    (content, notice), values, there = sample.midi(), _values(sample, origin), beside(path)
    replaces = {}
    for file in (midi_file, *others):
        with suppress(OSError):
            replaces[file.name] = file_digest(file)
    with atomic_together([json_file, midi_file]) as (new_json, new_midi):
        midi.write_bytes(content, new_midi)
        digest = file_digest(new_midi)
        is_same_song = there is not None and there.files.get(midi_file.name) == digest
        files = {**(there.files if is_same_song else {}), midi_file.name: digest}
        write_json(new_json, values | {"files": files, "replaces": replaces})
    try:
        for file in others:
            with atomic_together([json_file, file]) as (new_json, new_file):
                if file.suffix == ".png":
                    _draw(sample, new_file)
                else:
                    sound.play(content, new_file, formats.soundfont)
                files[file.name] = file_digest(new_file)
                write_json(new_json, values | {"files": files, "replaces": replaces})
        if replaces:
            write_json(json_file, values | {"files": files})
    except InputError as error:
        raise InputError(f"{error}; the song itself is written: {midi_file}") from error
    return notice


def add_to_json(path: Path, name: str, value: Any) -> None:
    """One more thing that the JSON beside a MIDI file `path` says; `read` does not need it. Raises InputError."""
    json_file = path.with_suffix(".json")
    write_json(json_file, json.loads(json_file.read_text(encoding="utf-8")) | {name: value})


def _values(sample: Sample, origin: Origin) -> dict:
    """What the JSON says but for files. Inverse: read."""
    return dataclasses.asdict(origin) | {
        "number": sample.number,
        "finished": sample.finished,
        "errors": sample.errors,
        "cut_short": sample.cut_short,
        "tokens": sample.ids.tolist(),
    }


def _draw(sample: Sample, path: Path) -> None:
    whole = sample.whole
    parts = dict(chords=sample.chords(), new=whole.new_on_grid(sample.ids), anew=whole.measures_anew)
    pianoroll.piano_roll(sample.on_grid(), path, **parts)


def config_of(kind: type, values: dict) -> Any:
    """A config of plain JSON values. Raises ValueError where one has another type, TypeError where one is unknown, and
    InputError.
    """
    for field in dataclasses.fields(kind):
        value = values.get(field.name, field.default)
        if type(value) is not type(field.default) and not (type(field.default) is float and type(value) is int):
            raise ValueError(f"{field.name} is {value!r}")
    return kind(**values)


class Written(NamedTuple):
    """What a sample's JSON says. sample: its tokens alone, without what makes them whole. files: digests of the files
    that were written with it, by name. replaces: of those that lay there before, and may until they are replaced: where
    an interruption came between.
    """

    origin: Origin
    sample: Sample
    files: dict[str, str]
    replaces: dict[str, str]

    def may_replace(self, file: Path) -> bool:
        """Whether a file is one of these, as it was noted."""
        return any(is_as_written(file, digests.get(file.name)) for digests in (self.files, self.replaces))


# What samples that were made before do not say
OF_OLDER = {"prompt_tempos": [], "prompt_own_time": None, "prompt_file": None, "cut_short": False}
OF_OLDER |= {"files": {}, "replaces": {}}


def read(path: Path) -> Written:
    """Of the JSON at `path`. Raises InputError."""
    if path.suffix.lower() in MIDI.suffixes:
        raise InputError(f"{path}: give the JSON beside it, {path.with_suffix('.json')}")
    try:
        values = OF_OLDER | json.loads(path.read_text(encoding="utf-8"))
        made_with = {field.name: values[field.name] for field in dataclasses.fields(Origin)}
        origin = Origin(**made_with | {"checksum": str(values["checksum"])})  # of older ones a number
        settings = ((SampleConfig, "sampler"), (Constraints, "constraints"))  # older ones lack what came later
        full = {name: plain(config_of(kind, getattr(origin, name))) for kind, name in settings}
        origin = dataclasses.replace(origin, **full)
        origin.given()
        ids, cut_short = np.array(values["tokens"], np.int32), bool(values["cut_short"])
        sample = Sample(ids, bool(values["finished"]), int(values["errors"]), int(values["number"]), cut_short)
        return Written(origin, sample, dict(values["files"]), dict(values["replaces"]))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: not the JSON of a sample ({type(error).__name__}: {error})") from error


# ---------------------------------------------------------------- what is there already


def beside(path: Path) -> Written | None:
    """What the JSON beside a MIDI file says, or None where there is none of a sample."""
    try:
        return read(path.with_suffix(".json"))
    except InputError:
        return None


def refuse_to_replace_any(path: Path, formats: Formats, inputs: Sequence[Path | None], overwrite: bool) -> None:
    """Raises InputError where writing a sample would cost the user a file: one that is given, or that this program has
    not made, or that was changed since.
    """
    there = beside(path)
    json_file, *others = formats.files(path)
    refuse_to_replace(json_file, inputs, flag="--out", overwrite=overwrite, ours=there is not None)
    for file in others:
        ours = there is not None and there.may_replace(file)
        refuse_to_replace(file, inputs, flag="--out", overwrite=overwrite, ours=ours)


def is_whole(path: Path, formats: Formats) -> bool:
    """Whether everything that is asked for of this sample is there as it was written."""
    there = beside(path)
    return there is not None and all(
        is_as_written(file, there.files.get(file.name)) for file in formats.files(path)[1:]
    )


def refuse_other_settings(folder: Path, origin: Origin) -> None:
    """Raises InputError where a folder holds samples that were made otherwise, naming what differs."""
    for path in sorted(folder.glob("*.json")):
        if not path.stem.isdecimal() or (there := beside(path)) is None:
            continue
        if differs := differences(there.origin, origin):
            what = "; ".join(sorted(differs))
            raise InputError(f"{folder}: holds samples made with other settings ({what}); give another --out")


def differences(there: Origin, here: Origin) -> list[str]:
    """In words, what of how samples were made is another than here; empty where they are some of the same songs."""
    words = {"step": "another step", "checksum": "another checkpoint", "prompt": "another given song"}
    words |= {"versions": "other versions of the libraries", "prompt_tempos": "another tempo map of the given song"}
    words |= {"prompt_own_time": "other beats of the given song", "prompt_file": "another file of the given song"}
    differs = [word for name, word in words.items() if getattr(there, name) != getattr(here, name)]
    for name in ("sampler", "constraints"):
        now, then = getattr(here, name), getattr(there, name)
        differs += [
            f"--{key.replace('_', '-')} {then.get(key)} there, {now.get(key)} here"
            for key in now.keys() | then.keys()
            if now.get(key) != then.get(key) and key != "num_samples"  # the same songs, more of them
        ]
    return differs
