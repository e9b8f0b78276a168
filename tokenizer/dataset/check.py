"""Whether a file survives the tokenizer, and how much of its music does: the figures behind `hid-museformer check`."""

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from configs import CheckConfig, PrepareConfig
from tokenizer.dataset.accept import OFF_GRID, Accepted, accept
from tokenizer.dataset.beats_plot import draw
from tokenizer.dataset.files import kind_of
from tokenizer.dataset.find import printable
from tokenizer.dataset.told import alignment, count_of, told_of
from tokenizer.grid.align import align
from tokenizer.grid.changes import Changes
from tokenizer.grid.meter import ScoreTooLong
from tokenizer.grid.quantize import quantize
from tokenizer.music import midi
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode_grid
from tokenizer.vocabulary import TEMPOS_BPM

Verdict = Literal["faithful", "audibly changed", "damaged", "off grid", "unreadable"]


@dataclass(frozen=True)
class FileCheck:
    """verdict: whether the song on the grid is still the song. causes: of the verdict, in words, the gravest first;
    of one that is unreadable or off grid why prepare would leave it out.
    exact: the tokens decode to the file's music on the grid, and so do those of its re-written MIDI file.
    milliseconds: to read it and make tokens of it. told: see told.told_of; empty where prepare would leave it out.
    picture: where it is drawn, None where it is not.
    """

    path: Path
    verdict: Verdict
    causes: tuple[str, ...]
    exact: bool
    tokens: int
    milliseconds: float
    told: dict
    picture: Path | None = None

    @property
    def is_well(self) -> bool:
        return self.exact and self.verdict in ("faithful", "audibly changed")

    def content(self) -> dict:
        """All of it, as JSON's types."""
        figures = {"verdict": self.verdict, "causes": list(self.causes), "exact": self.exact, "tokens": self.tokens}
        picture = {"picture": printable(str(self.picture))} if self.picture else {}
        milliseconds = {"milliseconds": round(self.milliseconds, 3)}
        return {"file": printable(str(self.path))} | figures | milliseconds | picture | self.told


def check(path: Path, config: CheckConfig) -> FileCheck:
    """Reads, encodes, decodes, writes, reads again, and compares. Never raises for a bad file."""
    start = time.perf_counter()
    accepted = _accepted(path, config)
    milliseconds = 1e3 * (time.perf_counter() - start)
    if isinstance(accepted, str):
        verdict = "off grid" if kind_of(accepted) == OFF_GRID else "unreadable"
        return FileCheck(path, verdict, (accepted,), False, 0, milliseconds, {})
    exact = _is_exact(accepted, config)
    verdict, causes = judge(accepted.changes, accepted.reading.partly_read, exact, config)
    told = told_of(accepted.changes, accepted.reading, accepted.aligned)
    return FileCheck(path, verdict, causes, exact, len(accepted.tokens), milliseconds, told)


def check_numbered(config: CheckConfig, task: tuple[int, Path, Path | None]) -> tuple[int, FileCheck]:
    """For files that are checked side by side: the number of one, and what comes of it. The last of a task is where its
    beats are drawn.
    """
    number, path, picture = task
    result = check(path, config)
    if picture and _is_drawn(path, config, picture):
        result = replace(result, picture=picture)
    return number, result


def _is_drawn(path: Path, config: CheckConfig, picture: Path) -> bool:
    """Whether the file has notes in bars to draw. Also of one that is off grid: a person may hear what is wrong."""
    try:
        score = midi.read_told(path, config.pedal).score
        if not any(len(track.notes) for track in score.tracks):
            return False
        draw(score, align(score), printable(str(path)), picture)
    except (midi.MidiError, ScoreTooLong):
        return False
    return True


def _accepted(path: Path, config: CheckConfig) -> Accepted | str:
    as_prepared = PrepareConfig(pedal=config.pedal, strict=config.strict, align=config.align)
    try:
        return accept(midi.load(path), path, str(path), as_prepared, config.moved_ms)
    except midi.UnreadableFile as error:
        return str(error).removeprefix(f"{path}: ")


def _is_exact(accepted: Accepted, config: CheckConfig) -> bool:
    """Whether the tokens say the song on the grid, and a MIDI file of it has the same notes, and those the same
    tokens.
    """
    snapped = accepted.song.to_score()
    if decode(accepted.tokens.ids) != snapped:
        return False
    with tempfile.TemporaryDirectory() as folder:
        rewritten = Path(folder) / "again.mid"
        midi.write(snapped, rewritten)
        again = midi.read(rewritten, config.pedal)
    if again != snapped:
        return False
    grid = quantize(again)
    return grid.to_score() == snapped and encode_grid(grid) == accepted.tokens


# ---------------------------------------------------------------- the verdict


def judge(changes: Changes, partly_read: int, exact: bool, config: CheckConfig) -> tuple[Verdict, tuple[str, ...]]:
    """By config's pairs of limits: beyond the first of one it is audibly changed, beyond the second damaged. So is what
    lacks the rest of a track. partly_read: how many tracks do.
    """
    notes = changes.notes
    merged, moved = changes.merged / notes, changes.moved / notes
    cut = changes.cut_seconds / max(changes.sounding_seconds, 1e-3)
    longer = (changes.seconds_out - changes.seconds) / max(changes.seconds, 1e-3)
    lost = f"{changes.merged} of {notes} notes lost: strikes of one pitch nearer than a thirty-second"
    late = f"{changes.moved} of {notes} notes moved by more than {config.moved_ms:g} ms"
    short = f"{cut:.1%} of all sounding time lost: notes that end a thirty-second early or more ({changes.cut})"
    length = f"{abs(longer):.1%} {'longer' if longer > 0 else 'shorter'} than the file"
    measured = (  # share, first and second limit, words
        (merged, config.audible_merged, config.damaged_merged, lost),
        (moved, config.audible_moved, config.damaged_moved, late),
        (cut, config.audible_cut, config.damaged_cut, short),
        (abs(longer), config.audible_seconds, config.damaged_seconds, length),
    )
    damaged = [words for share, _, second, words in measured if share > second]
    audible = [words for share, first, second, words in measured if first < share <= second]
    if partly_read:
        damaged.insert(0, f"of {count_of(partly_read, 'track')} only the beginning can be read")
    if not exact:
        damaged.insert(0, "its tokens say other notes than the grid has; please report this file")
    if damaged:
        return "damaged", (*damaged, *audible)
    return ("audibly changed", tuple(audible)) if audible else ("faithful", ())


def remarks(told: dict, config: CheckConfig) -> list[str]:
    """What a person should know of a file beside the verdict's causes, a line each."""
    slowest, fastest, silent = told["slowest_bpm"], told["fastest_bpm"], told["silent_bars"]
    lines = [f"repaired: {repair}" for repair in told["repairs"]]
    if done := alignment(told["aligned"]):
        lines.append(f"aligned: {done}")
    if told["pedalled"]:
        lines.append(f"pedal: {told['pedalled']} notes ring on under it; --pedal ignore leaves them as they were held")
    if silent > config.silent_bars:
        lines.append(
            f"{silent} silent bars from bar {told['silent_from']} on, then "
            f"{count_of(told['notes_after_silence'], 'note')}; --max-silent-bars of prepare leaves such songs out"
        )
    if slowest < TEMPOS_BPM[0] or fastest > TEMPOS_BPM[-1]:
        tempi = f"{slowest:g}" if slowest == fastest else f"{slowest:g} to {fastest:g}"
        lines.append(
            f"tempo: {tempi} BPM; a model sees {TEMPOS_BPM[0]} to {TEMPOS_BPM[-1]}, and the tempo itself is kept beside"
        )
    return lines + [f"meter: {words}" for words in told["meters"]]
