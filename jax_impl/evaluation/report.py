"""What a report says in words: the findings that come first, and the table on the terminal. Pure functions of the
report's JSON values (evaluate.py); the picture and the page show the same.
"""

import shutil
import textwrap
from typing import NamedTuple

from jax_impl.evaluation.comparison import FEWEST

NOT_BETTER = 0.98  # of the loss of the better guess: a kind of token above this share of it was hardly learned
MOST_FEATURES, MOST_RULES, MOST_PASSAGES = 12, 5, 3  # that the table shows one by one
MOST_NAMED = 3  # features or kinds that a finding names
WIDTH = 100  # columns
AS_SAMPLED = "nats_per_token_as_sampled"  # what is comparable between runs, whichever chords these learned
NONE = "none"  # where a number is not defined, as what is of drums in songs without any
FLOORS = 2  # a structure that is so many times as far off as real songs are from each other is another one
ROOM = 0.08  # beside intervals, of what they span
SPLITS = {"validation": "held out for validation", "test": "held out for a test"}


class Finding(NamedTuple):
    """One sentence of what stands out. is_bad: whether something is wrong; None: a remark."""

    is_bad: bool | None
    text: str


def number(value: float | None) -> str:
    """Three digits or so."""
    if value is None:
        return NONE
    size = abs(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def interval(values: dict) -> str:
    """6.1 (5.4 to 6.9)"""
    if values["mean"] is None:
        return NONE
    return f"{number(values['mean'])} ({number(values['low'])} to {number(values['high'])})"


def label(name: str) -> str:
    return name.replace("_", " ")


def title(report: dict) -> str:
    """Of what it is, in one line."""
    songs, model = report.get("samples"), f"{report['run']}, step {report['step']}"
    if not songs:
        return f"{model}: {count(report['held_out_songs'], 'song')} {SPLITS[report['config']['split']]}"
    return (
        f"{model}: {count(songs['songs'], 'song')} of {report['config']['bars']} bars beside "
        f"{count(songs['compared_with'], 'real song')}, {SPLITS[report['config']['split']]}"
    )


def count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def span(sides: list[dict]) -> tuple[float, float]:
    """From where to where an axis goes on which these intervals lie, with some room beside them."""
    low, high = min(side["low"] for side in sides), max(side["high"] for side in sides)
    room = ROOM * (high - low) or 1.0
    return low - room, high + room


# ---------------------------------------------------------------- what stands out


def outside(report: dict) -> list[str]:
    """Features that are not as in real songs, the one that is furthest from what real songs are to each other first."""
    features = report["features"]["features"]
    return sorted(
        (name for name, found in features.items() if found["outside"]), key=lambda name: -_gap(features[name])
    )


def inside(report: dict) -> list[str]:
    """The others for which there is something to compare, in the order of the report."""
    features = report["features"]["features"]
    return [name for name, found in features.items() if not found["outside"] and found["floor_overlap"] is not None]


def unjudged(report: dict) -> list[str]:
    """Those for which there are too few real songs to say what is usual."""
    features = report["features"]["features"].items()
    return [
        name
        for name, found in features
        if not found["outside"] and found["floor_overlap"] is None and found["overlap"] is not None
    ]


def _gap(feature: dict) -> float:
    """By how much less samples overlap with real songs than these among themselves."""
    if feature["overlap"] is None:
        return 0.0  # samples have none of it, for which another feature is the reason
    return (1.0 if feature["floor_overlap"] is None else feature["floor_overlap"]) - feature["overlap"]


def not_learned(losses: dict) -> list[str]:
    """Kinds of tokens that the model says hardly better than guesses, the costliest first."""
    kinds = {
        name: kind
        for name, kind in losses["by_kind"].items()
        if kind["as_sampled"] > NOT_BETTER * min(kind["unigram"], kind["bigram"])
    }
    return sorted(kinds, key=lambda name: -kinds[name]["share"])


def findings(report: dict) -> list[Finding]:
    """What a reader should know first."""
    found: list[Finding | None] = []
    if "samples" in report:
        found += [_of_features(report), _of_copies(report["copies"]), _of_similarity(report["features"]["similarity"])]
    found.append(_of_losses(report["losses"]))
    if "samples" in report:
        found += [_of_errors(report["errors"]), *_of_samples(report["samples"])]
    if not report["is_own_dataset"]:
        found.append(
            Finding(
                None,
                f"{report['dataset']} is not what the run was trained on, or was made anew since: the model may have "
                "seen these songs, and passages of songs that are not in it are not found.",
            )
        )
    return [finding for finding in found if finding]


def _of_features(report: dict) -> Finding:
    features, names = report["features"]["features"], outside(report)
    of_all = len(names) + len(inside(report))
    if (real := report["samples"]["compared_with"]) < FEWEST:
        few = f"{count(real, 'real song')} to compare with, and {FEWEST} are needed to say what is usual"
        return Finding(None, f"{few}: prepare the dataset with a larger --validation-fraction.")
    if not names:
        return Finding(False, f"All {of_all} features of its songs are as in real songs.")
    told = [
        f"{label(name)} {number(features[name]['samples']['mean'])}, real {number(features[name]['real']['mean'])}"
        for name in names[:MOST_NAMED]
    ]
    more = ", most of all" if len(names) > MOST_NAMED else ""
    return Finding(True, f"{len(names)} of {of_all} features are not as in real songs{more}: {'; '.join(told)}.")


def _of_copies(copies: dict) -> Finding | None:
    """Whether samples have longer passages of training songs than songs have that are held out, in the median."""
    ours, theirs = copies["of_samples"], copies["held_out"]
    if not ours["longest"]["songs"] or not theirs["longest"]["songs"]:
        return None
    is_bad = ours["longest"]["median"] > theirs["longest"]["quartile_3"]
    is_known = theirs["longest"]["songs"] >= FEWEST
    verdict = "It copies more than real songs share" if is_bad else "It does not copy"
    told = (
        f"{verdict if is_known else 'Too few real songs to say whether it copies'}: the longest passage that a song "
        f"has of a training song is {notes(ours['longest'])}; of real songs that were held out "
        f"{notes(theirs['longest'])}."
    )
    bars = [side["bars_known"]["mean"] for side in (ours, theirs)]
    if None not in bars:
        told += f" {bars[0]:.0%} of its bars occur there, of theirs {bars[1]:.0%}."
    return Finding(is_bad if is_known else None, told)


def notes(lengths: dict) -> str:
    """12 notes in the median, 34 at most"""
    return f"{lengths['median']:.0f} notes in the median, {lengths['max']:.0f} at most"


def passages(copies: dict) -> list[tuple[int, dict]]:
    """Numbers of the samples that have a passage of a training song and that passage, the longest first; of drums where
    there is no other.
    """
    found = [(number, song["longest"] or song["longest_drums"]) for number, song in enumerate(copies["samples"])]
    there = [(number, passage) for number, passage in found if passage]
    return sorted(there, key=lambda one: -one[1]["distinct"])


def told(passage: dict) -> tuple[str, str]:
    """Where it is in the sample, and of which song."""
    key = f", {passage['semitones']:+} semitones" if passage["semitones"] else ""
    return f"{passage['instrument']}, {bars(passage['bars'])}", f"{passage['song']}, {bars(passage['song_bars'])}{key}"


def bars(of: list[int]) -> str:
    first, last = of
    return f"bar {first}" if first == last else f"bars {first}-{last}"


def _of_similarity(similarity: dict) -> Finding | None:
    """Museformer's error beside that of the real songs' own halves, and whether too much or too little comes back."""
    error, floor = similarity["error"], similarity["floor"]
    if error is None:
        return None
    ours, theirs = (sum(similarity[side]) / len(similarity[side]) for side in ("samples", "real"))
    beside = "" if floor is None else f", two halves of the real songs {floor:.3f}"
    is_bad = None if floor is None else error > FLOORS * floor
    what = (
        "Structure is" if is_bad is False else f"Too {'little' if ours < theirs else 'much'} comes back: structure is"
    )
    return Finding(
        is_bad,
        f"{what} beside that of real songs by {error:.3f}{beside}; bars share {ours:.0%} of their notes with later "
        f"ones, those of real songs {theirs:.0%}.",
    )


def _of_losses(losses: dict) -> Finding:
    names = not_learned(losses)
    told = (
        f"Loss {losses[AS_SAMPLED]:.3f} nats a token, {number(losses['bits_per_note'])} bits a note; guesses: bigram "
        f"{losses['bigram'][AS_SAMPLED]:.3f}, unigram {losses['unigram'][AS_SAMPLED]:.3f} (over {losses['targets']:,} "
        "tokens, the known chords of later tracks as sampling needs them)."
    )
    if names:
        told += f" No better than guessed: {', '.join(map(label, names))}."
    return Finding(bool(names), told)


def _of_errors(errors: dict) -> Finding:
    told = f"Without the grammar {number(errors['per_1000_tokens'])} of 1000 tokens are wrong"
    if errors["by_rule"]:
        told += f", most often: {next(iter(errors['by_rule']))}"
    return Finding(errors["per_1000_tokens"] > 1, f"{told}.")


def _of_samples(samples: dict) -> list[Finding]:
    if not samples["cut_short"]:
        return []
    words = f"{count(samples['cut_short'], 'song')} of {samples['songs']} came to an end for want of room"
    return [Finding(None, f"{words}; --max-length gives more.")]


# ---------------------------------------------------------------- the table


def text(report: dict) -> str:
    """For a terminal of 100 columns, or of fewer."""
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 1)).columns)
    marks = {True: "!", False: "+", None: " "}
    lines = [*textwrap.wrap(title(report), width), ""]
    for finding in findings(report):
        lines += textwrap.wrap(f"{marks[finding.is_bad]} {finding.text}", width, subsequent_indent="  ")
    if "samples" in report:
        lines += ["", *_table_of_features(report), "", *_table_of_copies(report["copies"])]
    lines += ["", *_table_of_losses(report["losses"])]
    if "samples" in report and report["errors"]["by_rule"]:
        lines += ["", *_table_of_errors(report["errors"])]
    return "\n".join(lines)


def _table_of_features(report: dict) -> list[str]:
    features, names = report["features"]["features"], outside(report)
    lines = []
    if names:
        lines.append(
            f"{'not as in real songs':<26}{'samples, 95 %':>24}{'real songs':>24}{'overlap':>9}{'real, real':>12}"
        )
    for name in names[:MOST_FEATURES]:
        one = features[name]
        lines.append(
            f"{label(name):<26}{interval(one['samples']):>24}{interval(one['real']):>24}"
            f"{number(one['overlap']):>9}{number(one['floor_overlap']):>12}"
        )
    if len(names) > MOST_FEATURES:
        lines += _wrapped("also", names[MOST_FEATURES:])
    if alike := inside(report):
        lines += _wrapped("as in real songs", alike)
    if unknown := unjudged(report):
        lines += _wrapped("not judged, for want of real songs", unknown)
    return lines


def _table_of_copies(copies: dict) -> list[str]:
    lines = ["longest passages known from training"]
    for number_, passage in passages(copies)[:MOST_PASSAGES]:
        where, of = told(passage)
        line = f"{passage['distinct']:>6} notes  {number_:04}.mid ({where}) = {of}"
        lines += textwrap.wrap(line, WIDTH, initial_indent="", subsequent_indent=" " * 14, drop_whitespace=True)
    return lines if len(lines) > 1 else ["no passage is known from training"]


def _table_of_losses(losses: dict) -> list[str]:
    lines = [f"{'loss, nats':<26}{'share of all':>13}{'model':>9}{'bigram':>9}{'unigram':>9}"]
    for name, kind in losses["by_kind"].items():
        mark = "  no better than guessed" if name in not_learned(losses) else ""
        lines.append(
            f"{label(name):<26}{kind['share']:>13.0%}{number(kind['as_sampled']):>9}{number(kind['bigram']):>9}"
            f"{number(kind['unigram']):>9}{mark}"
        )
    whole = [of[AS_SAMPLED] for of in (losses, losses["bigram"], losses["unigram"])]
    return [*lines, f"{'all':<26}{'':>13}{''.join(f'{number(value):>9}' for value in whole)}"]


def _table_of_errors(errors: dict) -> list[str]:
    lines = [f"{'of 1000 tokens':>15}  without the grammar"]
    rules = list(errors["by_rule"].items())
    lines += [f"{number(rule['per_1000_tokens']):>15}  {name}" for name, rule in rules[:MOST_RULES]]
    rest = sum(rule["per_1000_tokens"] for _, rule in rules[MOST_RULES:])
    return [*lines, *([f"{number(rest):>15}  {count(len(rules) - MOST_RULES, 'other rule')}"] if rest else [])]


def _wrapped(what: str, names: list[str]) -> list[str]:
    return textwrap.wrap(f"{what}: {', '.join(map(label, names))}", WIDTH, subsequent_indent="  ")
