"""What a request says, checked field by field before anything is done with it, and the table from which that is told
at /api.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

from configs import Constraints, SampleConfig
from configs.ranges import LARGEST_SEED
from jax_impl.page.song import TO_BE_FOUND, Refused, Song, of_base64
from tokenizer.music.score import DRUMS
from tokenizer.tokens import names

Action = Literal["new", "rewrite", "vary", "continue", "add"]
MOST_BARS = 400  # that one request may ask for
MOST_TEXT = 2000  # characters of a wish
MOST_ALTERNATIVES = 3
OPENED = 8  # songs that are at hand as they were read


class Field(NamedTuple):
    """kind: of JSON. least, most: of a number. more: besides, of its schema."""

    kind: str
    told: str
    default: Any = None
    least: float | None = None
    most: float | None = None
    more: Mapping = {}


MIDI = Field("string", "a MIDI file in base64, at most 16 MB")
BEATS = Field("object", "where the beats were found in it, as the answer with this song said; null: as in the file")
SONG = Field("object", "the song: {midi, beats} of an answer")
NAME = Field("string", "what the song is called, for names of files and for messages", "the song")
TRACKS = Field("array", "numbers of tracks, from 0", [])
WRITE = {
    "action": Field(
        "string", "new: a song; rewrite: bars of some tracks anew; vary: likewise, near to what they are; continue: "
        "bars behind the last; add: tracks beside the others", more={"enum": list(get_args(Action))}
    ),
    "song": SONG._replace(told="the song {midi, beats} of an answer, for all but new"),
    "tracks": TRACKS._replace(told="rewrite, vary: numbers of the tracks, from 0"),
    "first": Field("integer", "rewrite, vary: the first bar, from 1; add: also, 0 is all bars", 0, 0, 99999),
    "last": Field("integer", "the last bar, which is written too", 0, 0, 99999),
    "bars": Field("integer", "new: how long, 0 as the model likes; continue: how many more", 0, 0, MOST_BARS),
    "instruments": Field("string", "new: one track of each; add: what is added; such as bass,drums", ""),
    "chords": Field("string", "of the bars that are written, repeated: C Am F G7", ""),
    "key": Field("string", "to which all pitched tracks keep: A minor", ""),
    "meter": Field("string", "new: 3/4", ""),
    "tempo": Field("number", "new: beats a minute", 0, 0, 1000),
    "density": Field("string", "fewest and most strikes a bar: drums:8-16, of every instrument 1-12", ""),
    "pitches": Field("string", "lowest and highest: bass:E1-G3, of all pitched ones C2-C6", ""),
    "polyphony": Field("string", "fewest and most notes at once: piano:1-4", ""),
    "temperature": Field("number", "above 1 bolder, below 1 more usual", SampleConfig.temperature, 0, 10),
    "top_p": Field("number", "of likely tokens those that together have this probability", SampleConfig.top_p, 0.01, 1),
    "seed": Field("integer", "the same seed writes the same again; none: another one each time", None, 0, LARGEST_SEED),
    "alternatives": Field("integer", "how many to choose from", MOST_ALTERNATIVES, 1, MOST_ALTERNATIVES),
}  # fmt: skip
READ = {"midi": MIDI, "beats": BEATS._replace(told=f"{BEATS.told}; left out: they are looked for"), "name": NAME}
EDIT = {
    "song": SONG,
    "remove": TRACKS._replace(told="tracks that are taken out"),
    "track": Field("integer", "the track that plays another instrument", None, 0, 9999),
    "program": Field("integer", "which: a General MIDI program from 0, or 128 for drums", None, 0, DRUMS),
}
SOUND = {
    "song": SONG,
    "from": Field("number", "seconds; notes that begin from here on", None, 0, 1e6),
    "to": Field("number", "seconds; and before here; without both the whole song", None, 0, 1e6),
    "without": TRACKS._replace(told="tracks that are silent"),
}
FILES = {"song": SONG, "name": NAME}

KINDS = {"string": str, "object": dict, "array": list, "integer": int, "number": (int, float)}


@dataclass(frozen=True, eq=False)
class Write:
    """What is to be written, see WRITE. first, last: measures from 1, 0 where none are named."""

    action: Action
    song: Song | None
    tracks: tuple[int, ...]
    first: int
    last: int
    wanted: Constraints
    sampler: SampleConfig
    more_bars: int
    alternatives: int

    @classmethod
    def of(cls, values: Any) -> "Write":
        """Raises InputError that names the field."""
        said = checked(values, WRITE)
        action = said["action"]
        if action is None:
            raise Refused(f"action: one of {', '.join(get_args(Action))}")
        song = None if action == "new" else song_of(said["song"])
        wishes = {name: said[name] for name in ("chords", "key", "density", "pitches", "polyphony")}
        sampling = {name: float(said[name]) for name in ("temperature", "top_p")}
        seed = secrets.randbelow(LARGEST_SEED + 1) if said["seed"] is None else said["seed"]
        alternatives = said["alternatives"]
        alone = alternatives == 1 and action != "new"
        rows = 1 if alone else MOST_ALTERNATIVES  # of which programs are at hand
        sampler = SampleConfig(**sampling, seed=seed, num_samples=rows, batch=rows)
        tracks = tuple(dict.fromkeys(tracks_of(said["tracks"], "tracks")))
        write = dict(action=action, song=song, tracks=tracks, first=said["first"], last=said["last"] or said["first"])
        if action == "new":
            wishes |= {name: said[name] for name in ("instruments", "bars", "meter")} | {"tempo": float(said["tempo"])}
        elif action == "add":
            if not said["instruments"]:
                raise Refused("instruments: name one to be added, such as bass")
            wishes |= {"add": said["instruments"]}
        elif action == "continue" and not said["bars"]:
            raise Refused("bars: how many more, at least 1")
        wanted = Constraints(**wishes)
        names.check(wanted)
        made = cls(**write, wanted=wanted, sampler=sampler, more_bars=said["bars"], alternatives=alternatives)
        made._check_place()
        return made

    def _check_place(self) -> None:
        """Raises Refused where the song has no such tracks or bars."""
        if self.song is None:
            return
        count, measures = len(self.song.ids), len(self.song.bars)
        for track in self.tracks:
            if track >= count:
                raise Refused(f"tracks: {track}, and the song has {count}, counted from 0")
        if self.action in ("rewrite", "vary"):
            if not self.tracks or not self.first:
                raise Refused("tracks, first, last: select the bars that are to be written anew")
            if self.last > measures:
                raise Refused(f"last: {self.last}, and the song has {measures} bars; continue adds some at its end")
        if self.first > self.last:
            raise Refused(f"first, last: bars {self.first} to {self.last}, the first must be before the last")
        if self.action == "add" and self.first > measures:
            raise Refused(f"first: {self.first}, and the song has {measures} bars")


def checked(values: Any, fields: Mapping[str, Field]) -> dict:
    """The fields of a request, those that it leaves out as they are by default. Raises Refused."""
    if not isinstance(values, dict):
        raise Refused("the request must be a JSON object")
    if unknown := values.keys() - fields.keys():
        raise Refused(f"{', '.join(sorted(map(str, unknown)))[:200]}: no such field; there are {', '.join(fields)}")
    return {name: _value(values.get(name), name, field) for name, field in fields.items()}


def _value(value: Any, name: str, field: Field) -> Any:
    if value is None:
        return field.default
    if not isinstance(value, KINDS[field.kind]) or isinstance(value, bool):
        raise Refused(f"{name}: must be {'an' if field.kind[0] in 'aio' else 'a'} {field.kind}")
    if field.kind in ("integer", "number") and not (
        (field.least is None or value >= field.least) and (field.most is None or value <= field.most)
    ):
        raise Refused(f"{name}: from {field.least} to {field.most}, got {value}")
    if field.kind == "string" and name != "midi" and len(value) > MOST_TEXT:
        raise Refused(f"{name}: {len(value)} characters, and {MOST_TEXT} are the most")
    if field.kind == "string" and not value.isprintable() and "\ud800" <= max(value) <= "\udfff":
        raise Refused(f"{name}: {value[:50]!r} is no text")
    if "enum" in field.more and value not in field.more["enum"]:
        raise Refused(f"{name}: {value[:50]!r} is none of {', '.join(field.more['enum'])}")
    return value


def tracks_of(values: Sequence, name: str) -> list[int]:
    """Numbers of tracks, from 0. Raises Refused."""
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise Refused(f"{name}: numbers from 0")
    if len(values) > MOST_TEXT:
        raise Refused(f"{name}: {len(values)} numbers, and {MOST_TEXT} are the most")
    return list(values)


def song_of(values: Any) -> Song:
    """The song that a request brings. Raises InputError."""
    if not isinstance(values, dict) or not isinstance(values.get("midi"), str):
        raise Refused("song: {midi, beats} of an answer is missing")
    beats = values.get("beats")
    if beats is not None and not isinstance(beats, dict):
        raise Refused("song: its beats must be an object or null, as the answer said them")
    return _opened(of_base64(values["midi"], "song"), json.dumps(beats))


def read_of(values: Any) -> Song:
    """The song of a file that somebody brings. Raises InputError."""
    said = checked(values, READ)
    if said["midi"] is None:
        raise Refused("midi: the file is missing")
    beats = json.dumps(values["beats"]) if "beats" in values else None
    return _opened(of_base64(said["midi"], said["name"]), beats, said["name"])


@lru_cache(maxsize=OPENED)
def _opened(raw: bytes, beats: str | None, name: str = "the song") -> Song:
    """beats: as JSON, None where they are to be found."""
    try:
        return Song.of_file(raw, TO_BE_FOUND if beats is None else json.loads(beats), name)
    except RecursionError as error:
        raise Refused("beats: not those that came with the song") from error


def in_words(text: str) -> str:
    """What the layers below say of flags is said of fields, and what they say of further flags is left out."""
    first, *more = re.sub(r" \(--max-length \d+\)", "", text).split("; ")
    kept = [first, *(part for part in more if "--" not in part)]
    return re.sub(r"--([a-z][a-z-]*)", lambda flag: flag[1].replace("-", " "), "; ".join(kept))
