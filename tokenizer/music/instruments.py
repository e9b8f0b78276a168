"""Names of the 128 General MIDI programs, and which one somebody means by a word."""

import difflib
import re
from typing import NamedTuple

from tokenizer.music.score import DRUMS

NAMES = (  # short ones, for people to read
    "Acoustic Grand Piano|Bright Acoustic Piano|Electric Grand Piano|Honky-tonk Piano|Electric Piano "
    "1|Electric Piano 2|"
    "Harpsichord|Clavinet|"
    "Celesta|Glockenspiel|Music Box|Vibraphone|Marimba|Xylophone|Tubular Bells|Dulcimer|"
    "Drawbar Organ|Percussive Organ|Rock Organ|Church Organ|Reed Organ|Accordion|Harmonica|Bandoneon|"
    "Nylon Guitar|Steel Guitar|Jazz Guitar|Clean Guitar|Muted Guitar|Overdriven Guitar|Distortion "
    "Guitar|Guitar Harmonics|"
    "Acoustic Bass|Fingered Bass|Picked Bass|Fretless Bass|Slap Bass 1|Slap Bass 2|Synth Bass 1|Synth Bass 2|"
    "Violin|Viola|Cello|Contrabass|Tremolo Strings|Pizzicato Strings|Orchestral Harp|Timpani|"
    "String Ensemble 1|String Ensemble 2|Synth Strings 1|Synth Strings 2|Choir Aahs|Voice Oohs|Synth "
    "Voice|Orchestra Hit|"
    "Trumpet|Trombone|Tuba|Muted Trumpet|French Horn|Brass Section|Synth Brass 1|Synth Brass 2|"
    "Soprano Sax|Alto Sax|Tenor Sax|Baritone Sax|Oboe|English Horn|Bassoon|Clarinet|"
    "Piccolo|Flute|Recorder|Pan Flute|Blown Bottle|Shakuhachi|Whistle|Ocarina|"
    "Square Lead|Sawtooth Lead|Calliope Lead|Chiff Lead|Charang Lead|Voice Lead|Fifths Lead|Bass and Lead|"
    "New Age Pad|Warm Pad|Polysynth Pad|Choir Pad|Bowed Pad|Metallic Pad|Halo Pad|Sweep Pad|"
    "Rain|Soundtrack|Crystal|Atmosphere|Brightness|Goblins|Echoes|Sci-fi|"
    "Sitar|Banjo|Shamisen|Koto|Kalimba|Bagpipe|Fiddle|Shanai|"
    "Tinkle Bell|Agogo|Steel Drums|Woodblock|Taiko Drum|Melodic Tom|Synth Drum|Reverse Cymbal|"
    "Guitar Fret Noise|Breath Noise|Seashore|Bird Tweet|Telephone Ring|Helicopter|Applause|Gunshot"
).split("|")
GENERAL_MIDI = {  # where the standard (General MIDI 1, program numbers from 0) says it otherwise
    4: "Electric Piano 1 (Rhodes)", 5: "Electric Piano 2 (Chorused)", 6: "Harpsichord", 7: "Clavi",
    21: "French Accordion", 23: "Tango Accordion", 24: "Acoustic Guitar (nylon)", 25: "Acoustic Guitar (steel)",
    26: "Electric Guitar (jazz)", 27: "Electric Guitar (clean)", 28: "Electric Guitar (muted)",
    33: "Electric Bass (finger)", 34: "Electric Bass (pick)", 48: "String Ensemble 1", 50: "SynthStrings 1",
    51: "SynthStrings 2", 54: "Synth Vocal", 62: "SynthBrass 1", 63: "SynthBrass 2", 65: "Alto Saxophone",
    64: "Soprano Saxophone", 66: "Tenor Saxophone", 67: "Baritone Saxophone", 80: "Lead 1 (square)",
    81: "Lead 2 (sawtooth)", 82: "Lead 3 (calliope)", 83: "Lead 4 (chiff)", 84: "Lead 5 (charang)",
    85: "Lead 6 (voice)", 86: "Lead 7 (fifths)", 87: "Lead 8 (bass + lead)", 88: "Pad 1 (new age)", 89: "Pad 2 (warm)",
    90: "Pad 3 (polysynth)", 91: "Pad 4 (choir)", 92: "Pad 5 (bowed)", 93: "Pad 6 (metallic)", 94: "Pad 7 (halo)",
    95: "Pad 8 (sweep)", 96: "FX 1 (rain)", 97: "FX 2 (soundtrack)", 98: "FX 3 (crystal)", 99: "FX 4 (atmosphere)",
    100: "FX 5 (brightness)", 101: "FX 6 (goblins)", 102: "FX 7 (echoes)", 103: "FX 8 (sci-fi)", 109: "Bag pipe",
}  # fmt: skip
COMMON = {  # what people say for short
    "drums": DRUMS,
    "bass": 33,
    "piano": 0,
    "guitar": 25,
    "organ": 16,
    "strings": 48,
    "violin": 40,
    "cello": 42,
    "pad": 89,
    "vibraphone": 11,
    "choir": 52,
    "trumpet": 56,
    "brass": 61,
    "sax": 65,
    "flute": 73,
    "lead": 81,
}
FAMILIES = {  # of which one is meant where a song has several of them: programs by the short word
    "bass": range(32, 40), "piano": range(8), "guitar": range(24, 32), "organ": range(16, 24), "sax": range(64, 68),
    "strings": (*range(40, 46), *range(48, 52)), "choir": range(52, 55), "trumpet": (56, 59), "brass": range(56, 64),
    "lead": range(80, 88), "pad": range(88, 96),
}  # fmt: skip
OTHER_WORDS = {  # of which no name has all, or of several names the usual one
    "drum": DRUMS, "drum kit": DRUMS, "drumkit": DRUMS, "drum set": DRUMS, "percussion": DRUMS, "kit": DRUMS,
    "electric guitar": 27, "acoustic guitar": 25, "distorted guitar": 30, "classical guitar": 24, "rock guitar": 29,
    "electric bass": 33, "bass guitar": 33, "upright bass": 32, "double bass": 43, "synth bass": 38, "slap bass": 36,
    "grand piano": 0, "electric piano": 4, "rhodes": 4, "keys": 0, "keyboard": 0, "clav": 7, "vibes": 11, "bells": 14,
    "hammond": 16, "hammond organ": 16, "pipe organ": 19, "harp": 46, "string": 48, "string ensemble": 48,
    "synth strings": 50, "e piano": 4, "voice": 53, "vocals": 53, "horn": 60, "synth brass": 62, "saxophone": 65,
    "synth": 81, "synth lead": 81, "synth pad": 89, "fx": 99,
}  # fmt: skip
SUGGESTIONS = 3


class Meant(NamedTuple):
    """The program (128 drums) that a word means, whether the word is its name or number, and what else it may mean."""

    program: int
    is_name: bool
    others: list[int]


def name(program: int) -> str:
    """Name of a program 0-127, or of the drums (128)."""
    return "Drums" if program == DRUMS else NAMES[program]


def meant(word: str) -> Meant | None:
    """By a name, a number 0-127, a common word or a part of a name, in any spelling; None where nothing has it."""
    plain, number = _plain(word), word.strip()
    if plain.replace(" ", "").isnumeric():
        is_program = re.fullmatch(r"[0-9]{1,3}", number) and int(number) < DRUMS
        return Meant(int(number), True, []) if is_program else None
    if plain in _EXACT:
        return Meant(_EXACT[plain], True, [])
    whole = [program for program, spellings in _SPELLINGS.items() if any(_holds(text, plain) for text in spellings)]
    begun = [program for program, spellings in _SPELLINGS.items() if any(_begins(text, plain) for text in spellings)]
    usual = _USUAL.get(plain, _USUAL.get(plain.removesuffix("s")))
    found = list(dict.fromkeys([*([] if usual is None else [usual]), *whole, *begun]))
    return Meant(found[0], False, found[1:]) if found else None


def family(word: str) -> tuple[int, ...]:
    """The programs that a short word is for, such as bass: all basses; none where a word means one instrument."""
    plain = _plain(word)
    return tuple(FAMILIES.get(plain, FAMILIES.get(plain.removesuffix("s"), ())))


def similar(word: str) -> list[str]:
    """The names and words closest to one that means nothing, for "did you mean"."""
    known = {word: word for word in _USUAL} | {_plain(text): text for text in (*NAMES, *GENERAL_MIDI.values())}
    return [known[plain] for plain in difflib.get_close_matches(_plain(word), known, SUGGESTIONS, cutoff=0.6)]


def _plain(text: str) -> str:
    """Lower case, without brackets, hyphens and the like: Lead 1 (square) -> lead 1 square."""
    return " ".join(re.sub(r"[^\w]", " ", text.lower()).split())


def _holds(spelling: str, part: str) -> bool:
    """Whether each word of `part` is a word of the spelling."""
    return bool(part) and set(part.split()) <= set(spelling.split())


def _begins(spelling: str, part: str) -> bool:
    """Whether each word of `part` is one or, from three letters on, the beginning of one."""
    words = spelling.split()
    is_there = lambda begun: begun in words or (len(begun) > 2 and any(word.startswith(begun) for word in words))
    return bool(part) and all(is_there(begun) for begun in part.split())


_SPELLINGS = {
    program: tuple(dict.fromkeys(map(_plain, (short, GENERAL_MIDI.get(program, short)))))
    for program, short in enumerate(NAMES)
}
_EXACT = {spelling: program for program, spellings in _SPELLINGS.items() for spelling in spellings} | COMMON
_USUAL = COMMON | OTHER_WORDS
assert len(NAMES) == 128
