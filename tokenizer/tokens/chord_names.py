"""Chords as lead sheets spell them, each as the label of the tokens that is nearest to it.

Am7 -> A min7    C/E -> C maj, without its bass    C13 -> C 7, without what stands above the seventh
"""

import difflib
import re
import unicodedata
from typing import NamedTuple

from tokenizer import vocabulary as vocab

SHARPS = {"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#", "Cb": "B", "Fb": "E", "E#": "F", "B#": "C"}
NO_CHORD = ("N", "NC", "N.C", "N.C.")
BETWEEN = ("-", "/", "->", "→")  # people write these between chords, and / for a beat of the same one
AGAIN = "%"
BEAT = re.compile(r"(?<![^\s|])/(?![^\s|])")
SIGNS = str.maketrans("♭♯°˚øØ⌀∆△Δ−–—⁄𝄎‖", "b#oohhh^^^---/%|")

# Brackets belong to the chord before them: C7(b9, 13), C7 (b9).
WORD = re.compile(r"(?:[^\s,;|()]|\([^()]*\)|\s+\((?:[b#+\d-]|add|no|omit|sus|maj)[^()]*\))+")
CHORD = re.compile(r"(?P<root>[A-Ga-g][#b]?):*(?P<quality>.*?)(?:/(?P<bass>[A-Ga-g][#b]?))?")
QUALITY = re.compile(
    r"(?P<third>major|maj|ma|\^|minor|min|mi|m|-|diminished|dim|o|half-?dim(?:inished)?|hdim|h|augmented|aug|\+|dom)?"
    r"(?P<seventh>major|maj|ma|\^)?"  # minor with a major seventh
    r"(?P<number>6/?9|2|4|6|7|9|11|13)?"
    r"(?P<late>maj7?|\+(?!\d)|aug)?"  # C7M, C7+
    r"(?P<rest>(?:sus(?:24|2|4)?|add[b#]?(?:2|4|6|9|11|13)|(?:no|omit)[35]|[b#+-](?:4|5|6|9|11|13)|alt)*)"
)
THIRDS = {"major": "maj", "ma": "maj", "minor": "min", "mi": "min", "m": "min", "-": "min", "o": "dim"}
THIRDS |= {"diminished": "dim", "h": "hdim", "augmented": "aug", "+": "aug"}
LABELS = {  # of a family, by the number that the chord bears
    "major": {"": "maj", "6": "6"},
    "dominant": {"7": "7", "9": "9"},
    "major seventh": {"7": "maj7", "9": "maj9"},
    "minor": {"": "min", "6": "min6", "7": "min7", "9": "min9"},
    "diminished": {"": "dim", "7": "dim7"},
    "half diminished": {"7": "hdim7"},
    "augmented": {"": "aug"},
    "sus2": {"": "sus2"},
    "sus4": {"": "sus4", "7": "7sus4"},
}
SMALLER = {"13": "7", "11": "7", "9": "7", "7": "", "69": "6", "6": "", "": "7"}  # the number where a family lacks one
SPELLINGS = ("", "m", "7", "maj7", "m7", "m7b5", "dim", "dim7", "aug", "sus2", "sus4", "7sus4", "6", "m6", "9", "maj9")
SPELLINGS += ("m9", "5", "min", "maj", "min7", "add9", "11", "13")  # to suggest


class Spelled(NamedTuple):
    """root: as written, with an upper-case letter ("Bb"). quality: one of vocabulary.QUALITIES. said: whether the label
    says all of it but the bass. bass: what stands behind the slash. small: the root's letter was a lower-case one.
    """

    root: str
    quality: str
    said: bool
    bass: str
    small: bool

    @property
    def number(self) -> int:
        """As bar_chords numbers chords."""
        root = vocab.ROOTS.index(SHARPS.get(self.root, self.root))
        return 1 + root * len(vocab.QUALITIES) + vocab.QUALITIES.index(self.quality)


def words(text: str) -> list[str]:
    """The chords of a text, between spaces, commas and bar lines; what stands from |: to :| comes twice."""
    text = unicodedata.normalize("NFKC", text).translate(SIGNS)
    text = text.replace(":|:", ":| |:")
    for repeated in (r"\|:(.*?):\|", r"^(.*?):\|"):  # the latter from the start
        text = re.sub(repeated, r"| \1 | \1 |", text, flags=re.DOTALL)
    text = re.sub(r"(?<!\S)\(([A-G][^()]*)\)", r" \1 ", text)  # (Am), a chord that may be left out
    return [word for word in WORD.findall(text) if word not in BETWEEN]


def parse(word: str) -> Spelled | None:
    """Of a word of `words`; None where it is no chord."""
    chord = CHORD.fullmatch(re.sub(r"\s*\(([^()]*)\)", lambda brackets: f":{_opened(brackets[1])}", word))
    if not chord:
        return None
    root, bass = _upper(chord["root"]), _upper(chord["bass"] or "")
    if chord["quality"] == "5":
        return Spelled(root, "5", True, bass, False)
    parts = QUALITY.fullmatch(_lower(chord["quality"]))
    if not parts:
        return None
    label, said = _nearest(**{name: value or "" for name, value in parts.groupdict().items()})
    return Spelled(root, label, said, bass, small=chord["root"][0].islower() and not chord["quality"])


def similar(word: str) -> list[str]:
    """Chords spelled almost like a word that is none."""
    root = re.match(r"[A-Ga-g][#b]?", word)
    if not root:
        return []
    close = difflib.get_close_matches(word[root.end() :], SPELLINGS, 3, cutoff=0.5)
    return [_upper(root[0]) + quality for quality in close]


def _upper(note: str) -> str:
    return note[:1].upper() + note[1:]


def _opened(inside: str) -> str:
    """What stands in brackets, as if it stood without: (b9, 13) -> b9add13."""
    return "".join(re.sub(r"^(9|11|13)$", r"add\1", part) for part in re.split(r"[\s,/]+", inside))


def _lower(quality: str) -> str:
    """In lower case, where M alone is major: M7 -> maj7, mM7 -> mmaj7, but Min7 -> min7."""
    return re.sub(r"M(?![aA](?!dd|ug)|[iI])", "maj", quality.replace(":", "")).lower()


def _nearest(third: str, seventh: str, number: str, late: str, rest: str) -> tuple[str, bool]:
    """The label of a chord's parts, as the groups of QUALITY name them, and whether it says all of them."""
    number = number.replace("/", "")
    if "^" in (third, seventh) or third == "dom":  # a triangle is a major seventh, with or without the 7
        number = number or "7"
    third = "hdim" if third.startswith("half") else {"^": "maj", "dom": ""}.get(third, THIRDS.get(third, third))
    if third == "maj" and seventh:
        third, seventh = "maj", ""
    has_major_seventh = bool(seventh) or late.startswith("maj") or (third == "maj" and number not in ("", "6", "69"))
    other = re.findall(r"sus\d*|add[b#]?\d+|(?:no|omit)\d|[b#+-]\d+|alt", rest)
    fifth = {"+": "sharp", "aug": "sharp"}.get(late, "sharp" if third == "aug" else "")
    for alteration in [word for word in other if word in ("b5", "-5", "#5", "+5")]:
        other.remove(alteration)
        fifth = "flat" if alteration in ("b5", "-5") else "sharp"
    if other == ["add6"] and not number:
        number, other = "6", []
    if not (third or number or fifth) and other in (["no3"], ["omit3"]):
        return "5", True
    sus = [word for word in other if word.startswith("sus")]
    other = [word for word in other if word not in sus]
    if not (third or sus) and number in ("2", "4"):
        sus, number = [f"sus{number}"], ""
    if "alt" in other:
        number = number or "7"
    said = not other
    if number in ("2", "4"):
        number, said = "", False

    if sus:
        family = "sus2" if sus[0] == "sus2" else "sus4"
        said &= not (third or fifth or has_major_seventh or sus == ["sus24"])
        number = "" if has_major_seventh else number
    elif third == "min" and has_major_seventh:
        family, number, said = "minor", "", False
    elif third == "min" and fifth == "flat" and number != "6":
        family = "half diminished" if number else "diminished"
    elif third == "dim":
        family, number, said = "diminished", "" if has_major_seventh else number, said and not has_major_seventh
    elif third == "hdim":
        family, number = "half diminished", number or "7"
    elif fifth == "sharp" and third != "min" and number in ("", "6", "69"):
        family = "augmented"
    else:
        plain = "major" if number in ("", "6", "69") else "dominant"
        family = "minor" if third == "min" else "major seventh" if has_major_seventh else plain
        said &= not fifth
    labels = LABELS[family]
    while number not in labels:
        number, said = SMALLER[number], False
    return labels[number], said
