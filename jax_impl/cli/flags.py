"""Words of the command line and what they mean; those that mean nothing are refused in a line. `main` calls `parse`."""

import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from configs import InputError, ranges

POSITIONAL, WITHOUT_NO = Positional[Any].__metadata__[0], FlagCreatePairsOff[Any].__metadata__[0]
SUGGESTIONS, SIMILAR = 3, 0.75  # of at most 1


def parse(program: str, verbs: Sequence[Callable], words: Sequence[str]) -> Callable[[], int]:
    """The verb that the words ask for, ready to be called. Raises InputError, and SystemExit after --help."""
    by_name = {verb.__name__.replace("_", "-"): verb for verb in verbs}
    name, *rest = words
    refuse_unknown_verb(name, list(by_name))
    verb = by_name[name]
    refuse_unknown_flags(name, verb, rest)
    refuse_impossible_values(verb, rest)

    @functools.wraps(verb)
    def bound(*arguments: Any, **named: Any) -> Callable[[], int]:
        return functools.partial(verb, *arguments, **named)

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(bound, prog=f"{program} {name}", args=rest)
    except SystemExit as exit_:
        if exit_.code:
            raise InputError(f"{_one_line(said.getvalue())}; see {program} {name} --help") from None
        raise


def _one_line(box: str) -> str:
    """What stands in a box of tyro's, drawn in lines or, where the terminal has no such letters, in dashes: between its
    title and the first line across.
    """
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()]
    text = [line for line in lines if line][1:]
    across = [not line.strip("─- ") for line in text]
    begin = 1 if across and across[0] else 0
    end = across.index(True, begin) if True in across[begin:] else len(text)
    return " ".join(text[begin:end]).removesuffix(".")


def refuse_unknown_verb(word: str, verbs: Sequence[str]) -> None:
    """Raises InputError."""
    if word not in verbs:
        close = difflib.get_close_matches(word, [*verbs, "--help", "--version"], SUGGESTIONS)
        kind = "flag" if word.startswith("-") else "verb"
        raise InputError(f"there is no {kind} {word}; {_guess(close) or 'there are ' + ', '.join(verbs)}")


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


def refuse_impossible_values(verb: Callable, words: Sequence[str]) -> None:
    """Raises InputError for the first flag of a number, or of one of a few words, that is given something else."""
    known = flags(verb)
    for word, following in itertools.pairwise([*words, None]):
        flag, is_joined, joined = word.partition("=")
        flag, value = flag.replace("_", "-"), joined if is_joined else following
        if flag not in known or value is None:
            continue
        kinds = ranges.options(known[flag])
        if value == "None" and type(None) in kinds:
            continue
        if number := next((kind for kind in (int, float) if kind in kinds), None):
            ranges.typed(flag, _number(value, number), known[flag])
        elif ranges.choices(known[flag]):
            ranges.typed(flag, value, known[flag])


def _number(text: str, kind: type) -> int | float | str:
    """What is written in plain digits; else the text itself."""
    is_plain = text.isascii() and "_" not in text
    try:
        return kind(text) if is_plain else text
    except ValueError:
        return text


def flags(verb: Callable) -> dict[str, Any]:
    """All flags that a verb takes, as they are typed, in the order of --help; of each the type of its value."""
    parameters = inspect.signature(verb).parameters.values()
    found: dict[str, Any] = {"--help": bool, "-h": bool}
    for parameter in parameters:
        found |= _of_value(parameter.name, parameter.annotation)
    return found


def _of_value(name: str, annotation: Any) -> dict[str, Any]:
    """Flags of one parameter of a verb, or field of a config."""
    metadata = getattr(annotation, "__metadata__", ())
    wanted = annotation.__origin__ if metadata else annotation
    notes = [note for note in metadata if hasattr(note, "aliases")]  # what tyro.conf.arg says
    if POSITIONAL in metadata:
        return {}
    if dataclasses.is_dataclass(wanted):
        fields = [_of_value(field.name, field.type) for field in dataclasses.fields(wanted)]
        return {flag: kind for of_field in fields for flag, kind in of_field.items()}
    word = next((note.name for note in notes if note.name), name).replace("_", "-")
    aliases = [alias for note in notes for alias in note.aliases or ()]
    has_no = wanted is bool and WITHOUT_NO not in metadata
    return dict.fromkeys([*aliases, f"--{word}", *([f"--no-{word}"] if has_no else [])], wanted)


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
