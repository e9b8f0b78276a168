"""What `check` prints of songs: a line for each, what there is to say of it below, and the sums of all."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean

from configs import CheckConfig
from tokenizer.dataset.check import FileCheck, check_numbered, remarks
from tokenizer.dataset.find import printable
from tokenizer.dataset.told import in_words, sum_up
from tokenizer.dataset.workers import run

HEADER = (
    f"{'':<15} {'exact':>5} {'notes':>7} {'on grid':>7} {'twice':>6} {'merged':>6} {'moved':>6} {'mean ms':>7} "
    f"{'cut':>5} {'seconds':>8} {'on grid':>8} {'tokens':>8} {'a note':>6}  file"
)


def check_songs(
    files: list[Path], pictures: list[Path] | None, config: CheckConfig, workers: int, as_json: bool
) -> bool:
    """Prints what is to be said of each in their order, as they are done, then of all; whether all are well. pictures:
    where the beats of each are drawn; None: nowhere.
    """
    from tqdm import tqdm

    if not files:
        return True
    results = []
    with tqdm(total=len(files), desc="checking", unit="file", disable=None) as progress:
        if not as_json:
            progress.write(HEADER)
        for result in _in_order(files, pictures, config, workers):
            progress.update()
            text = json.dumps(result.content(), ensure_ascii=False) if as_json else "\n".join(lines(result, config))
            progress.write(text)
            results.append(result)
    if as_json:
        print(json.dumps({"sums": sums(results, config)}, ensure_ascii=False))
    elif len(results) > 1:
        print("\n".join(summary(results, config)))
    return all(result.is_well for result in results)


def _in_order(files: list[Path], pictures: list[Path] | None, config: CheckConfig, workers: int) -> Iterator[FileCheck]:
    done, number = {}, 0
    drawn = pictures or [None] * len(files)
    tasks = [(place, *both) for place, both in enumerate(zip(files, drawn, strict=True))]
    for place, result in run(partial(check_numbered, config), tasks, workers, "local"):
        done[place] = result
        while number in done:
            yield done.pop(number)
            number += 1


def named_pictures(files: Sequence[Path], folder: Path) -> list[Path]:
    """FOLDER/NAME.png for each; of files in several folders that have one name, whatever its case, the second is
    NAME-2.png, or with the next number that no other file has.
    """
    taken = {file.stem.casefold() for file in files}
    seen: Counter[str] = Counter()
    pictures = []
    for file in files:
        name = stem = file.stem
        seen[stem.casefold()] += 1
        if seen[stem.casefold()] > 1:
            while (name := f"{stem}-{seen[stem.casefold()]}").casefold() in taken:
                seen[stem.casefold()] += 1
            taken.add(name.casefold())
        pictures.append(folder / f"{name}.png")
    return pictures


def lines(result: FileCheck, config: CheckConfig) -> list[str]:
    """A line of figures, and indented what they come of."""
    told, drawn = result.told, [f"picture: {_shown(result.picture)}"] if result.picture else []
    if not told:
        said = [*result.causes, *drawn]
        return [f"{result.verdict:<15} {_shown(result.path)}", *(f"    {words}" for words in said)]
    notes = max(told["notes"], 1)
    figures = (
        f"{result.verdict:<15} {'yes' if result.exact else 'NO':>5} {told['notes']:7} {told['notes_out']:7} "
        f"{told['doubles']:6} {told['merged']:6} {told['moved']:6} {told['moved_ms_sum'] / notes:7.1f} {told['cut']:5} "
        f"{told['seconds']:8.1f} {told['seconds_out']:8.1f} {result.tokens:8} {result.tokens / notes:6.2f}  "
        f"{_shown(result.path)}"
    )
    return [figures, *(f"    {words}" for words in (*result.causes, *remarks(told, config), *drawn))]


def _shown(path: Path) -> str:
    """In one line, whatever characters it has."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in printable(str(path))
    )


def sums(results: Sequence[FileCheck], config: CheckConfig) -> dict:
    """files, by verdict and exact; milliseconds: of a file in the mean; tokens; told.sum_up of those that are read."""
    verdicts = Counter(result.verdict for result in results)
    return {
        "files": len(results),
        "verdicts": dict(verdicts.most_common()),
        "exact": sum(result.exact for result in results),
        "milliseconds": round(fmean(result.milliseconds for result in results), 3),
        "tokens": sum(result.tokens for result in results),
    } | sum_up((result.told for result in results), config)


def summary(results: Sequence[FileCheck], config: CheckConfig) -> list[str]:
    of_all = sums(results, config)
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in of_all["verdicts"].items())
    tokens = f"{of_all['tokens']:,} tokens, {of_all['tokens'] / max(of_all['notes'], 1):.2f} a note"
    return [
        f"{of_all['files']} files: {verdicts}; {of_all['exact']} exact",
        *in_words(of_all, config),
        f"{tokens}; {of_all['milliseconds']:.1f} ms a file on one core",
    ]
