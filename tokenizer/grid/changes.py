"""What becomes of a song on its way to the grid, as numbers: what `check` tells of a file, and `prepare` of all.

That tokens decode to the song on the grid says nothing of how far the grid is from what was played. Here the two are
compared: notes that are no more, notes at another time, notes that end before their time.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np

from tokenizer.grid.meter import SIXTEENTH_TICKS, STEP_TICKS, TICKS_PER_BEAT, Layout
from tokenizer.grid.quantize import OnGrid, source_time
from tokenizer.grid.song import GridSong
from tokenizer.grid.tempo_map import Tempos, seconds_at
from tokenizer.music.score import DRUMS, Score
from tokenizer.vocabulary import SIGNATURES


@dataclass(frozen=True)
class Changes:
    """Of one song; times by its own tempo map, as it is read and as it is on the grid.

    notes, notes_out: of all tracks, before and after; notes - doubles - merged == notes_out.
    doubles: notes of a track that begin at one tick with another of their pitch: the same note twice.
    merged: notes that began before or after another of their track and pitch, and met it on the grid, or came
    nearer than the shortest note.
    moved: notes that begin more than the given milliseconds earlier or later; moved_ms_sum: milliseconds, of all notes.
    cut: notes that are half a sixteenth longer than what is said of them, or more; cut_seconds: what they lose of their
    time, until their pitch is struck again; sounding_seconds: of all notes, counted likewise.
    seconds, seconds_out: from the start to the end of the note that ends last.
    In these a stroke of a drum, which sounds by itself, has no duration.
    silent_bars: the most measures in a row, on the grid, in which nothing sounds: before the first note, or between
    two;
    silent_from: number of the first of them, from 1 (0: there is none); notes_after_silence: that begin later.
    slowest_bpm, fastest_bpm: tempi of the file until its last note ends.
    meters: in words, what becomes of bars that no token says.
    """

    notes: int
    notes_out: int
    doubles: int
    merged: int
    moved: int
    moved_ms_sum: float
    cut: int
    cut_seconds: float
    sounding_seconds: float
    seconds: float
    seconds_out: float
    silent_bars: int
    silent_from: int
    notes_after_silence: int
    slowest_bpm: float
    fastest_bpm: float
    meters: tuple[str, ...]


def changes(score: Score, found: OnGrid, own: Tempos, moved_ms: float) -> Changes:
    """found: on_grid(score), with a note at least; own: own_tempos(score, found.layout)."""
    layout, song = found.layout, found.song
    notes, placed, is_struck_again = _by_voice(score, found.notes)
    onset_out = layout.bars.start_ticks[placed["bar"]] + placed["step"] * STEP_TICKS
    begins = seconds_at(score.tempos, score.ticks_per_beat, notes["onset_ticks"])
    begins_out = seconds_at(own, TICKS_PER_BEAT, onset_out)
    moved = 1e3 * np.abs(begins_out - begins)

    doubles = int((is_struck_again & (np.diff(notes["onset_ticks"]) == 0)).sum())
    notes_out = sum(len(track.notes) for track in song.tracks)
    last_tick = int((notes["onset_ticks"] + notes["duration_ticks"]).max())
    last_tick_out = max(int(_ends(song, _sounding(track.program, track.notes)).max()) for track in song.tracks)
    slowest, fastest = _tempo_range(score, last_tick)
    silent_from, silent_bars, notes_after = longest_silence(song)
    return Changes(
        notes=len(notes),
        notes_out=notes_out,
        doubles=doubles,
        merged=len(notes) - doubles - notes_out,
        moved=int((moved > moved_ms).sum()),
        moved_ms_sum=round(float(moved.sum()), 3),
        **_lengths(
            score, notes, is_struck_again, begins, (own, onset_out, placed["duration"] * STEP_TICKS, begins_out)
        ),
        seconds=_rounded_seconds(score.tempos, score.ticks_per_beat, last_tick),
        seconds_out=_rounded_seconds(own, TICKS_PER_BEAT, last_tick_out),
        silent_bars=silent_bars,
        silent_from=silent_from,
        notes_after_silence=notes_after,
        slowest_bpm=slowest,
        fastest_bpm=fastest,
        meters=meters_written(score, layout, song),
    )


def _by_voice(score: Score, placed: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NOTE[N], GRID_NOTE[N]: the notes of all tracks, as they were and placed, those of one pitch of a track one after
    another by onset, the shortest of one tick first; bool[N - 1]: whether the next is of the same track and pitch.
    """
    notes = np.concatenate([_sounding(track.program, track.notes) for track in score.tracks])
    track = np.repeat(np.arange(len(score.tracks)), [len(track.notes) for track in score.tracks])
    voice = track * 128 + notes["pitch"]
    order = np.lexsort((notes["duration_ticks"], notes["onset_ticks"], voice))
    return notes[order], np.concatenate(placed)[order], np.diff(voice[order]) == 0


def _sounding(program: int, notes: np.ndarray) -> np.ndarray:
    """Notes of either kind, without a duration where they are drums': a stroke has no end that is heard."""
    if program != DRUMS:
        return notes
    strokes, duration = notes.copy(), "duration" if "duration" in notes.dtype.names else "duration_ticks"
    strokes[duration] = 0
    return strokes


def _lengths(
    score: Score,
    notes: np.ndarray,
    is_struck_again: np.ndarray,
    begins: np.ndarray,
    on_grid: tuple[Tempos, np.ndarray, np.ndarray, np.ndarray],
) -> dict:
    """cut, cut_seconds, sounding_seconds. on_grid: the own tempo map; of each note its onset and duration, in ticks,
    and the second at which it begins.
    """
    own, onset_out, duration_out, begins_out = on_grid
    until = notes["onset_ticks"] + notes["duration_ticks"]
    until[:-1] = np.where(is_struck_again, np.minimum(until[:-1], notes["onset_ticks"][1:]), until[:-1])
    seconds = seconds_at(score.tempos, score.ticks_per_beat, until) - begins
    missing = (until - notes["onset_ticks"]) * TICKS_PER_BEAT - duration_out * score.ticks_per_beat
    is_cut = np.flatnonzero(2 * missing >= SIXTEENTH_TICKS * score.ticks_per_beat)
    said = seconds_at(own, TICKS_PER_BEAT, (onset_out + duration_out)[is_cut]) - begins_out[is_cut]
    return {
        "cut": len(is_cut),
        "cut_seconds": round(float(np.maximum(seconds[is_cut] - said, 0).sum()), 3),
        "sounding_seconds": round(float(seconds.sum()), 3),
    }


def _rounded_seconds(tempos: Tempos, ticks_per_beat: int, tick: int) -> float:
    return round(float(seconds_at(tempos, ticks_per_beat, np.array([tick]))[0]), 3)


def longest_silence(song: GridSong) -> tuple[int, int, int]:
    """The most measures in a row in which nothing sounds: number of the first from 1 (0: there is none), how many, and
    how many notes begin after them.
    """
    notes = np.concatenate([track.notes for track in song.tracks])
    sounds_no_more = np.searchsorted(song.bars.start_ticks[:-1], _ends(song, notes), side="left")
    more, fewer = (np.bincount(bars, minlength=len(song.bars) + 1) for bars in (notes["bar"], sounds_no_more))
    is_silent = np.cumsum(more - fewer)[:-1] == 0
    is_silent = np.logical_and.reduceat(is_silent, np.flatnonzero(song.bars.part == 0))
    edges = np.flatnonzero(np.diff(is_silent, prepend=False, append=False)).reshape(-1, 2)
    if not len(edges):
        return 0, 0, 0
    first, end = edges[np.argmax(edges[:, 1] - edges[:, 0])].tolist()
    return first + 1, end - first, int((song.bars.measure[notes["bar"]] >= end).sum())


def _ends(song: GridSong, notes: np.ndarray) -> np.ndarray:
    """int64[N] ticks of the grid at which notes end."""
    return song.bars.start_ticks[notes["bar"]] + (notes["step"] + notes["duration"]) * STEP_TICKS


def _tempo_range(score: Score, last_tick: int) -> tuple[float, float]:
    """Slowest and fastest, in beats a minute, of the tempi in force before a tick."""
    lengths = [tempo.microseconds_per_beat for tempo in score.tempos if tempo.tick < max(last_tick, 1)]
    return round(60e6 / max(lengths), 1), round(60e6 / min(lengths), 1)


def meters_written(score: Score, layout: Layout, song: GridSong) -> tuple[str, ...]:
    """Of each signature whose measures are not what is written: what is written instead; then how many changes move."""
    last, grid = int(song.bars.start_ticks[-1]), layout.grid // score.ticks_per_beat
    count = max(int(np.searchsorted(grid, last)), 1)  # stretches of one signature that the song reaches
    edges = np.append(grid[:count], last)
    edges[0] = 0  # also of a pickup that is filled up
    source_edges = source_time(edges, score.ticks_per_beat, layout)
    source_edges[:-1] = layout.source[:count]
    begins = song.bars.start_ticks[:-1][song.bars.part == 0]
    names = song.bars.signature[song.bars.part == 0]
    measure_of = np.searchsorted(begins, edges)
    bars_in: Counter[tuple[int, int]] = Counter()
    bars_out: dict[tuple[int, int], Counter] = {}
    for number, signature in enumerate(score.signatures[:count]):
        said = (signature.numerator, signature.denominator)
        length = Fraction(int(source_edges[number + 1] - source_edges[number]), score.ticks_per_beat * TICKS_PER_BEAT)
        bars_in[said] += ceil(length / Fraction(4 * said[0], said[1]))
        written = names[measure_of[number] : measure_of[number + 1]]
        bars_out.setdefault(said, Counter()).update(SIGNATURES[index] for index in written.tolist())
    words = [
        f"{_name(said)}: {_bars(bars_in[said])} written as {', '.join(_written(bars_out[said])) or 'none of its own'}"
        for said in bars_in
        if bars_out[said].total() != bars_in[said] or (said not in SIGNATURES and bars_in[said])
    ]
    is_moved = layout.source[:count] % (SIXTEENTH_TICKS * score.ticks_per_beat) != 0
    is_moved[1:2] &= layout.grid[0] == 0  # a pickup that is filled up moves no change
    if is_moved.any():
        words.append(f"meter changes beside a sixteenth, moved to the nearest one: {is_moved.sum()}")
    return tuple(words)


def _name(signature: tuple[int, int]) -> str:
    return f"{signature[0]}/{signature[1]}"


def _bars(count: int) -> str:
    return f"{count} bar" if count == 1 else f"{count} bars"


def _written(bars: Counter) -> list[str]:
    return [f"{count} of {_name(signature)}" for signature, count in bars.items()]
