"""Keys and pitches as people spell them: A minor, Bb, F#m, D dorian; E1, Bb2, 60. C4 is the pitch 60."""

import re

from configs import InputError
from tokenizer import vocabulary as vocab

# Intervals above the tonic. Minor is natural minor.
SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
}
OTHER_WORDS = {"": "major", "maj": "major", "ionian": "major", "m": "minor", "min": "minor", "aeolian": "minor"}
OTHER_WORDS |= {"natural minor": "minor", "minor harmonic": "harmonic minor", "minor melodic": "melodic minor"}
LETTERS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
ACCIDENTALS = {"": 0, "#": 1, "b": -1}
SIGNS = str.maketrans("♭♯–—", "b#--")

KEY = re.compile(r"(?P<letter>[A-Ga-g])(?P<accidental>[#b]|[ -]?(?:flat|sharp)\b)?[ :-]*(?P<mode>.*)")
PITCH = re.compile(r"(?:(?P<letter>[A-Ga-g])(?P<accidental>[#b]?)(?P<octave>-?\d)|(?P<number>\d{1,3}))")
RANGE = re.compile(r"(?P<low>[A-Ga-g][#b]?-?\d|\d{1,3})(?:\s*-\s*(?P<high>.+))?")


def key(text: str, flag: str) -> frozenset[int]:
    """The pitch classes (C is 0) of a key. Raises InputError."""
    found = KEY.fullmatch(text.translate(SIGNS).strip())
    mode = _mode(found["mode"]) if found else None
    if not found or mode is None:
        h = "; H is B here" if text[:1] in "Hh" else ""
        raise InputError(
            f"{flag}: unknown key {text[:40]!r}{h}. A key is such as C major, A minor (the natural one), Bb, F#m, "
            "D dorian, E phrygian, F lydian, G mixolydian, B locrian, A harmonic minor, A melodic minor"
        )
    accidental = (found["accidental"] or "").strip(" -").replace("flat", "b").replace("sharp", "#")
    tonic = LETTERS[found["letter"].lower()] + ACCIDENTALS[accidental]
    return frozenset((tonic + interval) % len(vocab.ROOTS) for interval in SCALES[mode])


def _mode(text: str) -> str | None:
    """One of SCALES that is meant, None where none is."""
    if text == "M":
        return "major"
    plain = " ".join(re.sub(r"[^a-z]", " ", text.lower()).split())
    plain = OTHER_WORDS.get(plain, plain)
    return plain if plain in SCALES else None


def pitches(text: str, flag: str) -> tuple[int, int]:
    """The lowest and the highest pitch of such as E1-G3 or 28-55; one alone is both. Raises InputError."""
    found = RANGE.fullmatch(text.translate(SIGNS).strip())
    low = _pitch(found["low"]) if found else None
    high = _pitch(found["high"] or found["low"]) if found else None
    if low is None or high is None:
        raise InputError(
            f"{flag}: {text[:40]!r} is no range of pitches. It is such as E1-G3, Bb2-F#5 or 28-55, from C-1 (0) to "
            "G9 (127); C4 is 60"
        )
    if low > high:
        raise InputError(f"{flag}: {text} goes down; write the lowest pitch first, such as E1-G3")
    return low, high


def _pitch(text: str) -> int | None:
    """Of MIDI, None where there is none such."""
    found = PITCH.fullmatch(text.strip())
    if not found:
        return None
    if found["number"]:
        pitch = int(found["number"])
    else:
        pitch = 12 * (int(found["octave"]) + 1) + LETTERS[found["letter"].lower()] + ACCIDENTALS[found["accidental"]]
    return pitch if 0 <= pitch < vocab.N_PITCHES else None
