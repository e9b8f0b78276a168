"""The page of a report: one HTML file that needs no network and no script, readable on a telephone and in the dark."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from jax_impl.evaluation import report as words
from jax_impl.evaluation.features import FEATURES
from jax_impl.evaluation.page_style import STYLE
from jax_impl.evaluation.report import Finding, interval, label, number

MARKS = {True: ("bad", "✗"), False: ("good", "✓"), None: ("soft", "·")}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 260, 58, 16, 34  # of the curve, in its own units
MOST_PASSAGES = 10  # that are told one by one
SIDES = (("sampled songs", "model", "of_samples"), ("real songs", "real", "held_out"))
LINES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the curve's height, where a line is


def write(report: dict, path: Path) -> None:
    path.write_text(page(report), encoding="utf-8")


def page(report: dict) -> str:
    """The whole file. Whatever names are in the report, they are text there and nothing else."""
    parts = [_short(words.findings(report))]
    if "samples" in report:
        parts += [_features(report), _structure(report["features"]["similarity"]), _copies(report["copies"])]
    parts.append(_losses(report["losses"]))
    if "samples" in report:
        parts += [_errors(report["errors"]), _definitions()]
    parts.append(_made(report))
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Is it music? {escape(report['run'])}</title><style>{STYLE}</style></head>\n<body><main>"
        f'<h1>Is it music?</h1><p class="soft">{escape(words.title(report))}</p>'
    )
    return "\n".join([head, *parts, "</main></body></html>\n"])


def _short(findings: Iterable[Finding]) -> str:
    lines = []
    for is_bad, text in findings:
        kind, mark = MARKS[is_bad]
        lines.append(f'<li><b class="{kind}">{mark}</b>{escape(text)}</li>')
    return f'<ul class="short">{"".join(lines)}</ul>'


# ---------------------------------------------------------------- rows of bars


def _row(name: str, bar: str, numbers: str, is_wrong: bool = False, hint: str = "") -> str:
    return (
        f'<div class="row{" wrong" if is_wrong else ""}"><div class="name" title="{escape(hint)}">{escape(name)}</div>'
        f'<div class="bar">{bar}</div><div class="numbers">{numbers}</div></div>'
    )


def _mark(kind: str, left: float, width: float = 0.0) -> str:
    """A piece of a bar, in shares of its length."""
    size = f";width:{100 * width:.2f}%" if width else ""
    return f'<i class="{kind}" style="left:{100 * left:.2f}%{size}"></i>'


def _key(*pairs: tuple[str, str]) -> str:
    return f'<p class="soft key">{"".join(f"""<i class="{kind}"></i>{escape(text)}""" for kind, text in pairs)}</p>'


# ---------------------------------------------------------------- the parts


def _features(report: dict) -> str:
    features, wrong = report["features"]["features"], words.outside(report)
    lines = [
        "<h2>Its songs beside real ones</h2>",
        _key(
            ("real", "mean of real songs, 95 % interval"), ("model", "of sampled songs"), ("wrong", "not as real ones")
        ),
        '<p class="soft">Overlap: 1 where both are spread alike; behind it that of the real songs\' own halves.</p>',
    ]
    parts = ("Not as in real songs", wrong), ("As in real songs", words.inside(report))
    for heading, names in (*parts, ("Not judged, for want of real songs", words.unjudged(report))):
        if names:
            lines.append(f"<h3>{heading}: {len(names)}</h3>")
        lines += [_feature(name, features[name], name in wrong) for name in names]
    return "\n".join(lines)


def _feature(name: str, feature: dict, is_wrong: bool) -> str:
    one, other = feature["samples"], feature["real"]
    there = [sides for sides in (one, other) if sides["mean"] is not None]
    low, high = words.span(there)
    bar = "".join(
        _mark(kind, (sides["low"] - low) / (high - low), (sides["high"] - sides["low"]) / (high - low))
        for kind, sides in (("real", other), ("model", one))
        if sides["mean"] is not None
    )
    numbers = (
        f"sampled {interval(one)}<br><span>real {interval(other)}; overlap {number(feature['overlap'])}, real with "
        f"real {number(feature['floor_overlap'])}</span>"
    )
    return _row(label(name), bar, numbers, is_wrong, FEATURES.get(name, ""))


def _losses(losses: dict) -> str:
    not_learned = words.not_learned(losses)
    most = max(max(kind["as_sampled"], kind["bigram"], kind["unigram"]) for kind in losses["by_kind"].values())
    lines = [
        "<h2>What it finds hard: loss by kind of token</h2>",
        _key(("model", "model, nats"), ("guess thin", "guess by the token before (bigram)"),
             ("other thin", "guess by frequency (unigram)"), ("wrong", "no better than guessed")),
    ]  # fmt: skip
    for name, kind in losses["by_kind"].items():
        guesses = _mark("guess", kind["bigram"] / most) + _mark("other", kind["unigram"] / most)
        numbers = (
            f"{number(kind['as_sampled'])}, {kind['share']:.0%} of all<br><span>bigram {number(kind['bigram'])}, "
            f"unigram {number(kind['unigram'])}</span>"
        )
        lines.append(
            _row(label(name), _mark("model", 0, kind["as_sampled"] / most) + guesses, numbers, name in not_learned)
        )
    for heading, name in (
        ("by instrument family", "by_family"),
        ("by bar of the song", "by_bar"),
        ("by number of tracks", "by_tracks"),
    ):
        rows = [
            (key, number(one["as_sampled"]), f"{one['share']:.0%}", f"{one['targets']:,}")
            for key, one in losses[name].items()
        ]
        table = _table(("", "nats", "share of all", "tokens"), rows)
        lines.append(f"<details><summary>Loss {heading}</summary>{table}</details>")
    return "\n".join(lines)


def _structure(similarity: dict) -> str:
    """Curves of both over the distances."""
    distances = similarity["distances"]
    if len(distances) < 2:
        return ""
    top = max(math.ceil(10 * max(*similarity["samples"], *similarity["real"])), 1) / 10
    x = lambda distance: LEFT + (WIDTH - LEFT - 8) * (distance - distances[0]) / (distances[-1] - distances[0])
    y = lambda value: TOP + (HEIGHT - BOTTOM - TOP) * (1 - value / top)
    grid = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - 8}" y1="{y(share * top):.1f}" y2="{y(share * top):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(share * top) + 4:.1f}" text-anchor="end">{share * top:.2f}</text>'
        for share in LINES
    )
    grid += "".join(
        f'<text x="{x(distance):.1f}" y="{HEIGHT - 12}" text-anchor="middle">{distance}</text>'
        for distance in distances
        if distance % 4 == 0 or distance == distances[0]
    )
    lines = "".join(
        f'<polyline class="of-{kind}" points="{" ".join(f"{x(d):.1f},{y(v):.1f}" for d, v in pairs)}"/>'
        for kind, pairs in (
            (kind, zip(distances, similarity[name], strict=True))
            for kind, name in (("real", "real"), ("model", "samples"))
        )
    )
    floor = "" if similarity["floor"] is None else f", two halves of the real songs {similarity['floor']:.3f}"
    return (
        "<h2>Structure: how much comes back</h2>"
        '<p class="soft">Share of notes that a bar has in common with the one so many bars later, drawn for real songs '
        f"(grey) and sampled ones (dashed). Error {number(similarity['error'])}{floor}.</p>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="similarity of bars">{grid}{lines}</svg>'
        '<p class="soft">bars later</p>'
    )


def _copies(copies: dict) -> str:
    """Of both the middle half of the longest passages, their median and their maximum; then whose they are."""
    sides = [(name, kind, copies[key]) for name, kind, key in SIDES]
    lines = [
        "<h2>Does it copy?</h2>",
        f'<p class="soft">The longest passage that a song has of one of {copies["training_songs"]:,} training songs, '
        "in whatever key, in notes (what is said again in it counts once). Real songs were held out, and cut to as "
        "many bars.</p>",
        _key(("real", "half of the real songs"), ("model", "half of the sampled ones"), ("guess thin", "median"),
             ("other thin", "longest")),
    ]  # fmt: skip
    for part, name in (("", "longest"), (", drums", "longest_drums")):
        there = [(side, kind, of[name]) for side, kind, of in sides if of[name]["songs"]]
        most = max([1.0, *(lengths["max"] for _, _, lengths in there)])
        for side, kind, lengths in there:
            low, high = lengths["quartile_1"] / most, lengths["quartile_3"] / most
            marks = _mark("guess", 0.99 * lengths["median"] / most) + _mark("other", 0.99 * lengths["max"] / most)
            lines.append(_row(side + part, _mark(kind, low, high - low) + marks, escape(words.notes(lengths))))
    rows = [
        (str(passage["distinct"]), f"{number_:04}.mid", where, of)
        for number_, passage in words.passages(copies)[:MOST_PASSAGES]
        for where, of in [words.told(passage)]
    ]
    return "\n".join([*lines, _table(("notes", "song", "where", "is of"), rows, texts=4) if rows else ""])


def _errors(errors: dict) -> str:
    rows = [(name, number(rule["per_1000_tokens"])) for name, rule in errors["by_rule"].items()]
    told = (
        f"{words.count(errors['songs'], 'song')} written without the grammar, {errors['songs_without']} of them "
        f"without an error: {errors['errors']:,} errors in {errors['tokens']:,} tokens."
    )
    table = _table(("rule that is broken", "of 1000 tokens"), rows) if rows else ""
    return f'<h2>What it gets wrong without the grammar</h2><p class="soft">{escape(told)}</p>{table}'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """The first columns are text, so many, the others are numbers."""
    kinds = [*[""] * texts, *[' class="right"'] * (len(head) - texts)]
    first = "".join(f"<th{kind}>{escape(cell)}</th>" for kind, cell in zip(kinds, head, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>'


def _definitions() -> str:
    terms = "".join(f"<dt>{escape(label(name))}</dt><dd>{escape(text)}</dd>" for name, text in FEATURES.items())
    return f"<h2>What the words mean</h2><details><summary>Features</summary><dl>{terms}</dl></details>"


def _made(report: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    told = (
        f"Made of the checkpoint of step {report['step']} of {report['run']} and the dataset {report['dataset']}; "
        f"{versions}. All numbers: report.json; the songs: samples/."
    )
    return f'<p class="soft">{escape(told)}</p>'
