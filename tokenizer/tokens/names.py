"""What people call instruments, what they say of each, chords and meters, as programs and tokens' numbers; and what of
it became something else, in words.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from configs import Constraints, InputError
from tokenizer import vocabulary as vocab
from tokenizer.music import instruments
from tokenizer.tokens import chord_names, fill, key_names

METERS = {"c": "4/4", "c|": "2/2", "¢": "2/2"}
OTHERS = 3  # instruments that a notice names beside the one that is taken
LONGEST = 40  # letters of a wrong word that are shown


def check(wanted: Constraints) -> None:
    """Raises InputError where a name means nothing."""
    for flag, text, find in (
        ("--instruments", wanted.instruments, programs),
        ("--add", wanted.add, programs),
        ("--chords", wanted.chords, chords),
        ("--meter", wanted.meter, meter),
        ("--key", wanted.key, key_names.key),
        ("--pitches", wanted.pitches, pitches),
        ("--density", wanted.density, strikes),
        ("--polyphony", wanted.polyphony, voices),
        ("--fill", wanted.fill, fill.items),
    ):
        if text:
            find(text, flag)
    if wanted.chord_notes != Constraints.chord_notes and not wanted.chords:
        raise InputError(f"--chord-notes {wanted.chord_notes} says how --chords are played; give some")


def notices(wanted: Constraints) -> list[str]:
    """What of the wish becomes something else, for the user to read."""
    by_instrument = [
        item.rsplit(":", 1)[0]
        for text in (wanted.pitches, wanted.density, wanted.polyphony)
        for item in _listed(text)
        if ":" in item
    ]
    said = [
        *program_notices(wanted.instruments),
        *program_notices(wanted.add),
        *program_notices(",".join(by_instrument)),
    ]
    return [*said, *chord_notices(wanted.chords), *tempo_notices(wanted.tempo)]


def tempo_notices(bpm: float) -> list[str]:
    """Where the tokens have no tempo near it, which one the model hears of."""
    slowest, fastest = vocab.TEMPOS_BPM[0], vocab.TEMPOS_BPM[-1]
    if not bpm or slowest <= bpm <= fastest:
        return []
    return [f"--tempo {bpm:g} is written so; the model hears of {slowest if bpm < slowest else fastest}"]


# ---------------------------------------------------------------- instruments


def programs(text: str, flag: str) -> list[int]:
    """Programs (128 drums) of names, parts of names or numbers separated by commas. Raises InputError."""
    found = [_meant(word, flag).program for word in _listed(text)]
    if not found:
        raise InputError(f"{flag}: name at least one instrument, such as {_some()}")
    return found


def program_notices(text: str) -> list[str]:
    """Of each word that is no name of an instrument, which one was taken."""
    said = []
    for word in dict.fromkeys(_listed(text)):
        meant = instruments.meant(word)
        if meant and not meant.is_name:
            others = [_numbered(program) for program in meant.others[:OTHERS]]
            also = f" (also: {', '.join(others)})" if others else ""
            said.append(f"{word} -> {_numbered(meant.program)}{also}")
    return said


def _listed(text: str) -> list[str]:
    return [word.strip() for word in re.split("[,;、，]", text) if word.strip()]


def _meant(word: str, flag: str) -> instruments.Meant:
    if meant := instruments.meant(word):
        return meant
    similar = instruments.similar(word)
    guess = f"; did you mean {' or '.join(similar)}?" if similar else "."
    raise InputError(
        f"{flag}: unknown instrument {_short(word)!r}{guess} "
        f"An instrument is {_some()} ..., any General MIDI name or a part of one, or a program from 0 to 127"
    )


def _short(word: str) -> str:
    return word if len(word) <= LONGEST else f"{word[:LONGEST]}..."


def _some() -> str:
    return ", ".join(list(instruments.COMMON)[:5])


def _numbered(program: int) -> str:
    return "Drums" if program == instruments.DRUMS else f"{instruments.name(program)} ({program})"


# ---------------------------------------------------------------- from fewest to most, by instrument


class Span(NamedTuple):
    """From low to high, both included, of what a word means, or where that is "" of all. programs: 128 drums."""

    word: str
    programs: tuple[int, ...]
    low: int
    high: int


def pitches(text: str, flag: str) -> list[Span]:
    """bass:E1-G3,C2-C6; of all is of all pitched ones. Raises InputError."""
    return _by_instrument(text, flag, key_names.pitches, "bass:E1-G3 or C2-C6")


def strikes(text: str, flag: str) -> list[Span]:
    """drums:8-16,1-12. Raises InputError."""
    return _by_instrument(text, flag, lambda text, flag: _counts(text, flag, 0), "drums:8-16 or 1-12")


def voices(text: str, flag: str) -> list[Span]:
    """piano:1-4,bass:1. Raises InputError."""
    return _by_instrument(text, flag, lambda text, flag: _counts(text, flag, 1), "piano:1-4 or 1-6")


def _by_instrument(text: str, flag: str, value: Callable[[str, str], tuple[int, int]], example: str) -> list[Span]:
    """Those of all instruments first."""
    found = []
    for item in _listed(text):
        *instrument, what = item.rsplit(":", 1)
        word = instrument[0].strip() if instrument else ""
        programs = (instruments.family(word) or (_meant(word, flag).program,)) if instrument else ()
        if any(set(programs) & set(span.programs) or not (programs or span.programs) for span in found):
            raise InputError(f"{flag} {text}: {word or 'all of them'} is said twice")
        found.append(Span(word, programs, *value(what.strip(), flag)))
    if not found:
        raise InputError(f"{flag}: say for which instrument, and from what to what, such as {example}")
    return sorted(found, key=lambda span: span.programs != ())


def _counts(text: str, flag: str, least: int) -> tuple[int, int]:
    """Of such as 8-16; one number is both the fewest and the most."""
    found = re.fullmatch(r"([0-9]{1,4})(?:\s*[-–—]\s*([0-9]{1,4}))?", text)
    if not found:
        raise InputError(f"{flag}: {_short(text)!r} is no number and no two, fewest and most, such as 8 or 8-16")
    low, high = int(found[1]), int(found[2] or found[1])
    if low > high:
        raise InputError(f"{flag}: {text} goes down; write the fewest first, such as 8-16")
    if low < least or high < 1:
        raise InputError(f"{flag}: {text} asks for none; a track has a note")
    return low, high


# ---------------------------------------------------------------- chords


def chords(text: str, flag: str) -> list[int]:
    """Chords as bar_chords numbers them, 0 for N, as lead sheets spell them: C, Am, Bb7, F#-7, C/E, N.C., % for the one
    before. Those that no token says become the nearest that one does. Raises InputError.
    """
    found: list[int] = []
    for word in chord_names.words(text):
        if word == chord_names.AGAIN and not found:
            raise InputError(f"{flag}: % repeats the chord before it, and none is there")
        if word == chord_names.AGAIN:
            found.append(found[-1])
        elif word.upper() in chord_names.NO_CHORD:
            found.append(0)
        elif spelled := chord_names.parse(word):
            found.append(spelled.number)
        else:
            raise InputError(f"{flag}: unknown chord {_short(word)!r}{_chord_help(word)}")
    if not found:
        raise InputError(f'{flag}: name at least one chord, such as "C Am F G7"')
    return found


def chord_notices(text: str) -> list[str]:
    """Of each chord that no token says, what it becomes: C13 -> C7. Words that are no chords are left to `chords`."""
    said = []
    for word in dict.fromkeys(chord_names.words(text)):
        spelled = chord_names.parse(word)
        if not spelled:
            continue
        becomes = f"{word} -> {spelled.root}{spelled.quality}"
        if spelled.bass:
            said.append(f"{becomes} (a chord has no bass of its own)")
        elif spelled.small:
            said.append(f"{becomes} (write {word}m for the minor chord)")
        elif not spelled.said:
            said.append(becomes)
    if any(len(chord_names.words(bar)) > 1 for bar in text.split("|")) and "|" in text.strip("| "):
        said.append("bar lines are for reading: each chord takes a bar")
    if chord_names.BEAT.search(text):
        said.append("a / that stands alone is left out, for a chord lasts a bar")
    return said


def _chord_help(word: str) -> str:
    guess = "; H is B here." if word[0] in "Hh" else "."
    if similar := chord_names.similar(word):
        guess = f"; did you mean {' or '.join(similar)}?"
    return f"{guess} A chord is such as C, Am, F#m7, Bb, G7, Dsus4, Bm7b5, Cmaj7, C/E; N.C. is none, % the one before"


def transposed_chord(chord: int, semitones: int) -> int:
    """The chord so many semitones higher; N stays."""
    if chord == 0:
        return 0
    root, quality = divmod(chord - 1, len(vocab.QUALITIES))
    return 1 + (root + semitones) % len(vocab.ROOTS) * len(vocab.QUALITIES) + quality


# ---------------------------------------------------------------- meter


def meter(text: str, flag: str) -> int:
    """Index into vocabulary.SIGNATURES of such as 3/4, or C. Raises InputError that lists the known ones."""
    known = [f"{numerator}/{denominator}" for numerator, denominator in vocab.SIGNATURES]
    plain = re.sub(r"\s", "", text).lower()
    plain = METERS.get(plain, plain)
    if plain not in known:
        raise InputError(f"{flag}: unknown meter {text!r}; known are {', '.join(known)}")
    return known.index(plain)
