"""Words of the command line that no verb and no flag has: what is said of them, before anything is parsed."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tyro.conf import FlagCreatePairsOff, Positional

from configs import InputError

POSITIONAL, WITHOUT_NO = Positional[Any].__metadata__[0], FlagCreatePairsOff[Any].__metadata__[0]
SUGGESTIONS, SIMILAR = 3, 0.75  # of at most 1


def refuse_unknown_verb(word: str, verbs: Sequence[str]) -> None:
    """Raises InputError."""
    if word not in verbs:
        close = difflib.get_close_matches(word, verbs, SUGGESTIONS)
        raise InputError(f"there is no verb {word}; {_guess(close) or 'there are ' + ', '.join(verbs)}")


def refuse_unknown_flags(name: str, verb: Callable, words: Sequence[str]) -> None:
    """Raises InputError for the first word that looks like a flag and is none of this verb."""
    known = flags(verb)
    for word in words:
        flag = word.split("=")[0].replace("_", "-")
        if not word.startswith("-") or word == "-" or flag in known or _is_number(word):
            continue
        own = [flag for flag in known if flag.startswith("--") and not flag.startswith("--no-")]
        close = _guess(_close(flag, own)) or f"it has {', '.join(own)}"
        if not word.startswith("--"):  # perhaps a name
            close = f"{_guess(_close(flag, own))} a file name that begins with - is written ./{word}".lstrip()
        raise InputError(f"{name} has no flag {word}; {close}")


def flags(verb: Callable) -> list[str]:
    """All flags that a verb takes, as they are typed, in the order of --help."""
    parameters = inspect.signature(verb).parameters.values()
    found = ["--help", "-h"]
    for parameter in parameters:
        found += _of_value(parameter.name, parameter.annotation)
    return found


def _of_value(name: str, annotation: Any) -> Iterable[str]:
    """Flags of one parameter of a verb, or field of a config."""
    metadata = getattr(annotation, "__metadata__", ())
    wanted = annotation.__origin__ if metadata else annotation
    notes = [note for note in metadata if hasattr(note, "aliases")]  # what tyro.conf.arg says
    if POSITIONAL in metadata:
        return []
    if dataclasses.is_dataclass(wanted):
        return [flag for field in dataclasses.fields(wanted) for flag in _of_value(field.name, field.type)]
    word = next((note.name for note in notes if note.name), name).replace("_", "-")
    aliases = [alias for note in notes for alias in note.aliases or ()]
    has_no = wanted is bool and WITHOUT_NO not in metadata
    return [*aliases, f"--{word}", *([f"--no-{word}"] if has_no else [])]


def _close(flag: str, known: Sequence[str]) -> list[str]:
    begun = [other for other in known if other.startswith(f"--{flag.lstrip('-')}")]
    similar = difflib.get_close_matches(f"--{flag.lstrip('-')}", known, SUGGESTIONS, cutoff=SIMILAR)
    return list(dict.fromkeys([*begun, *similar]))[:SUGGESTIONS]


def _guess(close: Sequence[str]) -> str:
    return f"did you mean {' or '.join(close)}?" if close else ""


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
