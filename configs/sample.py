"""How songs are sampled and what is asked of them;
the field names are flags of `hid-museformer generate`, the comments their help.
"""

from dataclasses import dataclass
from typing import Any, Literal

from configs import ranges
from configs.data import ALIGN, PEDAL, Align, Pedal

ChordNotes = Literal["beats", "all", "free"]


@dataclass(frozen=True)
class SampleConfig:
    """The sampler. Raises InputError naming the flag that makes no sense."""

    temperature: float = 1.0  # divides the logits; 0 takes the most likely token
    chord_temperature: float = 1.0  # beside it, of chords and tempi among themselves: below 1 the usual ones
    top_k: int = 0  # keep the k most likely tokens (0 keeps all)
    top_p: float = 0.95  # keep the most likely tokens that together hold this probability
    min_p: float = 0.0  # keep tokens at least this times as likely as the likeliest
    repetition_penalty: float = 1.0  # above 1: the more a track's last bars used a note token, the less likely (1: off)
    grammar: bool = True  # only tokens that make a song; without it, what the model itself gets wrong is counted
    max_length: int = 0  # tokens of a song at most; it is brought to an end before (0: what is asked usually takes)
    seed: int = 0  # of the draw
    num_samples: int = 1  # songs written
    batch: int = 16  # songs sampled side by side

    def __post_init__(self) -> None:
        ranges.check(self)


@dataclass(frozen=True)
class Constraints:
    """What a song must be. All of it holds, whatever the weights. Names are looked up when the song is planned."""

    # one track of each and no other: "drums,bass,piano", General MIDI names, parts of them, 0-127 (none: the model
    # decides)
    instruments: str = ""
    bars: int = 0  # length of the song in bars, given ones included (0: the model decides)
    tempo: float = 0.0  # beats per minute, 4 to 1000, as written in the MIDI file (0: the model decides)
    meter: str = ""  # time signature, such as 3/4
    chords: str = ""  # chords of the bars, repeated: "C Am | F C/E Bb-7 N.C. %" as in lead sheets; see --chord-notes
    transpose: int = 0  # semitones by which the given song and the chords are moved first
    keep_bars: int = 0  # bars of the given song that are kept when it is continued (0: all)
    add: str = ""  # instruments that the model plays along with the given song, named as above
    # bars of the given song that are written anew, all else kept: "bass:9-16,piano:9-16", 9-16 (all tracks), bass (all
    # its bars); bars count from 1, as the picture shows them
    fill: str = ""
    # all pitched tracks and the chords keep to this scale, as it sounds: "A minor" (the natural one), "Bb", "F#m", "D
    # dorian", "A harmonic minor"
    key: str = ""
    # lowest and highest pitch, of an instrument or of all pitched ones: "bass:E1-G3,C2-C6" (C4 is 60), "drums:35-59"
    pitches: str = ""
    # fewest and most strikes a bar of each track, to the song's end: "drums:8-16", of every instrument "1-12"
    density: str = ""
    # fewest and most notes of a track that sound at once wherever one is struck: "piano:1-4,bass:1"
    polyphony: str = ""
    # which notes of pitched tracks are tones of the --chords that are given: those on beats, beside which others end by
    # the next one (beats), all of them, over a whole chord that lasts for its bar (all), or as the model likes (free);
    # but for free, the lowest track's first note in each bar is the root, the first notes of the first track that is
    # no bass are the whole chord, two beats long at least, and none rings into a chord without it
    chord_notes: ChordNotes = "beats"
    pedal: Pedal = PEDAL  # of the given song: notes ring while its sustain pedal is down, or ignore it
    # where the given song has its beats: where the music has them, or where the file says if they are not heard well
    # enough (auto); where the music has them by the best guess (keep); where the file says (off)
    align: Align = ALIGN
    strict: bool = False  # refuse a given song of which the model would see only the last bars, for want of room

    def __post_init__(self) -> None:
        for name, between in (
            ("instruments", ","),
            ("add", ","),
            ("chords", " "),
            ("fill", ","),
            ("pitches", ","),
            ("density", ","),
            ("polyphony", ","),
        ):
            object.__setattr__(self, name, _joined(getattr(self, name), between))
        ranges.check(self)


def _joined(value: Any, between: str) -> Any:
    """Text, where a number or a list of names and numbers is given, as from Python."""
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, list | tuple):
        return between.join(map(str, value))
    is_number = hasattr(value, "__index__") and not hasattr(value, "__len__")  # an array has both
    return str(value) if is_number else value
