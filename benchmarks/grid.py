"""What the grid makes of music: how far it moves notes, whether it reads what was meant, and what it costs.

    python benchmarks/grid.py --songs ../shared/data/midi

songs        by folder, on sixteenths and on the fine grid: share of notes moved by more than 20 ms, mean movement,
             strikes of one pitch merged; tokens of notes, mean movement of lengths; milliseconds a file. nearest: each
             onset by itself to the nearest place of the fine grid, the least that any reading moves
jitter       songs whose tracks stand on their places, played by people who are 10 to 25 ms beside the click: share of
             notes that are read where they stood. chords: the notes of a chord are beside it alike, notes: each by
             itself. tolerance: sixteenths, and what is farther than 1/24 of a quarter from them by itself to the
             nearest place. known: the simplest division that a quarter's true onsets have, which no reading can know
drummers     groove/ by style, one shift a song taken out: share of quarters read in each division

Writes benchmarks/results/grid.json.
"""

import argparse
import csv
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from report import write_report

from tokenizer.dataset.find import find_midi
from tokenizer.grid import divisions, lengths
from tokenizer.grid.meter import TICKS_PER_BEAT
from tokenizer.grid.quantize import grid_time, layout_of, on_grid
from tokenizer.music import midi
from tokenizer.vocabulary import IS_PLACE, QUARTER, SIXTEENTH, velocity_bin

SCORES = ("cc0", "easyrpg", "freedoom", "orchestra", "quartets", "lieder")
STRAIGHT = ("funk", "hiphop", "pop", "soul", "dance", "country", "reggae")
NAMES = ("sixteenths", "triplets", "thirty-seconds", "sixteenth triplets", "mixed")
JITTER_MS = (10, 15, 20, 25)
SIXTEENTHS = np.arange(0, QUARTER + 1, SIXTEENTH)
ALL = np.append(np.flatnonzero(IS_PLACE), QUARTER)


@dataclass(frozen=True, eq=False)
class Track:
    """Notes of a track by onset and pitch. onset and length are times of which a quarter note has `quarter`, onset from
    the start of the song; milliseconds: of a quarter note there; starts: bar lines.
    """

    onset: np.ndarray
    length: np.ndarray
    pitch: np.ndarray
    velocity: np.ndarray
    milliseconds: np.ndarray
    quarter: int
    starts: np.ndarray

    def bars(self, onset: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bar, time in it and steps of it: what divisions asks for."""
        bar = np.minimum(np.searchsorted(self.starts, onset, side="right"), len(self.starts) - 1) - 1
        return bar, onset - self.starts[bar], np.diff(self.starts)[bar] * QUARTER // self.quarter

    def read(self, onset: np.ndarray) -> np.ndarray:
        """Fine steps from the start of the song."""
        bar, inside, steps = self.bars(onset)
        return self.from_start(bar, divisions.places(bar, inside, steps, self.quarter))

    def nearest(self, places: np.ndarray, onset: np.ndarray) -> np.ndarray:
        """The same, each onset by itself to the nearest of these places of a quarter."""
        bar, inside, _ = self.bars(onset)
        number, inside = np.divmod(inside, self.quarter)
        return self.from_start(bar, number * QUARTER + divisions.nearest(places, inside, self.quarter))

    def off(self, step: np.ndarray, time: np.ndarray) -> np.ndarray:
        """Milliseconds between fine steps and a time."""
        return np.abs(step * self.quarter - QUARTER * time) / (QUARTER * self.quarter) * self.milliseconds

    def from_start(self, bar: np.ndarray, step: np.ndarray) -> np.ndarray:
        return self.starts[bar] * QUARTER // self.quarter + step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, default=Path("../shared/data/midi"), help="folder of MIDI files")
    parser.add_argument("--jitter-songs", type=int, default=24, help="exact songs of each folder")
    arguments = parser.parse_args()
    folders = defaultdict(list)
    for _, path in find_midi([arguments.songs])[0]:
        folders[Path(path).relative_to(arguments.songs).parts[0]].append(Path(path))
    songs, exact, drummers = {}, {}, {}
    for folder, files in sorted(folders.items()):
        scores = [midi.read(file) for file in files]
        tracks = [_tracks(score) for score in scores]
        songs[folder] = {"songs": len(files)} | _moved(tracks) | _costs(scores, tracks)
        if folder in SCORES:
            exact[folder] = [song for song in tracks if song and all(map(_is_exact, song))]
        if folder == "groove":
            drummers = _drummers(files, tracks)
    n_songs = sum(len(files) for files in folders.values())
    milliseconds = {
        name: round(sum(row["milliseconds"][name] * row["songs"] for row in songs.values()) / n_songs, 2)
        for name in ("places", "lengths", "on_grid")
    }
    write_report(
        "grid",
        {
            "songs": songs,
            "milliseconds_per_song": milliseconds,
            "jitter": _jitter(exact, arguments.jitter_songs),
            "drummers": drummers,
        },
    )


def _tracks(score) -> list[Track]:
    layout, quarter = layout_of(score), TICKS_PER_BEAT * score.ticks_per_beat
    changes = np.array([tempo.tick for tempo in score.tempos])
    microseconds = np.array([tempo.microseconds_per_beat for tempo in score.tempos])
    tracks = []
    for track in score.tracks:
        notes = track.notes[np.lexsort((track.notes["pitch"], track.notes["onset_ticks"]))]
        tempo = np.searchsorted(changes, notes["onset_ticks"], side="right") - 1
        if len(notes):
            tracks.append(
                Track(
                    grid_time(notes["onset_ticks"], score.ticks_per_beat, layout),
                    notes["duration_ticks"] * TICKS_PER_BEAT,
                    notes["pitch"],
                    velocity_bin(notes["velocity"].astype(np.int32)),
                    microseconds[tempo] / 1000,
                    quarter,
                    layout.bars.start_ticks * score.ticks_per_beat,
                )
            )
    return tracks


def _is_exact(track: Track) -> bool:
    return bool((track.off(track.nearest(ALL, track.onset), track.onset) == 0).all())


def _moved(songs: list[list[Track]]) -> dict:
    """How far onsets move: on sixteenths, on the fine grid, and to the nearest place."""
    sums = {name: np.zeros(3) for name in ("sixteenths", "fine", "nearest")}
    notes = 0
    for track in (track for song in songs for track in song):
        notes += len(track.onset)
        strikes = _count(track.onset, track.pitch)
        reads = track.nearest(SIXTEENTHS, track.onset), track.read(track.onset), track.nearest(ALL, track.onset)
        for total, step in zip(sums.values(), reads, strict=True):
            off = track.off(step, track.onset)
            total += (np.count_nonzero(off > 20), off.sum(), strikes - _count(step, track.pitch))
    return {"notes": notes} | {
        name: {
            "moved_20_ms_percent": round(100 * far / notes, 3),
            "mean_ms": round(moved / notes, 3),
            "merged_percent": round(100 * merged / notes, 3),
        }
        for name, (far, moved, merged) in sums.items()
    }


def _count(time: np.ndarray, pitch: np.ndarray) -> int:
    return len(np.unique(time * 128 + pitch))


def _costs(scores: list, songs: list[list[Track]]) -> dict:
    """Tokens of notes and mean movement of ends, on sixteenths and on the fine grid; milliseconds a song."""
    tokens, plain = np.zeros((2, 4), int), np.zeros((2, 4), int)  # grid; positions, pitches, durations, velocities
    ends, seconds, notes = np.zeros(2), np.zeros(3), 0
    for score, song in zip(scores, songs, strict=True):
        own, has_fine = np.zeros((2, 4), int), False
        for track in song:
            notes += len(track.onset)
            bar, inside, bar_steps = track.bars(track.onset)
            start = time.thread_time()
            step = divisions.places(bar, inside, bar_steps, track.quarter)
            seconds[0] += time.thread_time() - start
            start = time.thread_time()
            duration = lengths.durations(track.length, (track.pitch, step, bar), track.quarter)
            seconds[1] += time.thread_time() - start
            step = track.from_start(bar, step)
            has_fine |= bool((step % SIXTEENTH).any())
            sixteenths = np.clip((8 * track.length + track.quarter) // (2 * track.quarter), 1, 64) * SIXTEENTH
            for grid, (at, lasts) in enumerate(
                ((track.nearest(SIXTEENTHS, track.onset), sixteenths), (step, duration))
            ):
                own[grid] += _tokens(track, at, lasts)
                ends[grid] += track.off(lasts, track.length).sum()
        tokens += own
        plain += 0 if has_fine else own
        start = time.thread_time()
        on_grid(score)
        seconds[2] += time.thread_time() - start
    names = ("sixteenths", "fine")
    return {
        "durations_per_note": {name: round(t[2] / notes, 3) for name, t in zip(names, tokens, strict=True)},
        "tokens_per_note": {name: round(int(t.sum()) / notes, 3) for name, t in zip(names, tokens, strict=True)},
        "more_tokens_percent": round(100 * (tokens[1].sum() / tokens[0].sum() - 1), 2),
        "more_tokens_percent_where_all_onsets_are_sixteenths": (
            round(100 * (plain[1].sum() / plain[0].sum() - 1), 2) if plain.any() else None
        ),
        "length_moved_mean_ms": {name: round(moved / notes, 1) for name, moved in zip(names, ends, strict=True)},
        "milliseconds": {
            name: round(1e3 * float(total) / len(scores), 2)
            for name, total in zip(("places", "lengths", "on_grid"), seconds, strict=True)
        },
    }


def _tokens(track: Track, step: np.ndarray, duration: np.ndarray) -> tuple[int, int, int, int]:
    """Positions, pitches, durations and velocities that are written."""
    order = np.lexsort((duration, track.pitch, step))
    key = step[order] * 128 + track.pitch[order]
    kept = order[np.append(np.diff(key) != 0, True)]  # of equal onsets of a pitch the longest
    return (
        len(np.unique(step)),
        len(kept),
        *(1 + np.count_nonzero(np.diff(values[kept])) for values in (duration, track.velocity)),
    )


def _jitter(folders: dict[str, list[list[Track]]], most: int) -> dict:
    table = {}
    for alike in ("chords", "notes"):
        songs = {name: [] for name in ("read", "tolerance", "known")}  # of all folders, shares of each song
        for folder, exact in folders.items():
            chosen = exact[:: max(1, len(exact) // most)]
            right, notes = np.zeros((3, len(JITTER_MS))), 0
            random = np.random.default_rng(0)
            for song in chosen:
                own = np.zeros((3, len(JITTER_MS)))
                for track in song:
                    own += _read_again(track, random, alike == "chords")
                count = sum(len(track.onset) for track in song)
                right, notes = right + own, notes + count
                for name, shares in zip(songs, own / count, strict=True):
                    songs[name].append(shares)
            row = {name: _percent(shares) for name, shares in zip(songs, right / max(notes, 1), strict=True)}
            table.setdefault(alike, {})[folder] = {"songs": len(chosen), "notes": notes} | row
        table[alike]["mean of all songs"] = {name: _percent(np.mean(shares, 0)) for name, shares in songs.items()}
    return {"milliseconds": list(JITTER_MS)} | table


def _percent(shares: np.ndarray) -> list[float]:
    return [round(100 * float(share), 2) for share in shares]


def _read_again(track: Track, random: np.random.Generator, chords: bool) -> np.ndarray:
    """float64[3, jitters]: how many notes are read at their place: by the grid, with a tolerance, knowing divisions."""
    true = track.nearest(ALL, track.onset)
    known = _known(true)
    out = np.zeros((3, len(JITTER_MS)))
    for column, milliseconds in enumerate(JITTER_MS):
        moments, of = np.unique(track.onset, return_inverse=True) if chords else (track.onset, slice(None))
        scatter = random.normal(0, milliseconds, len(moments))[of] / track.milliseconds * track.quarter
        played = np.maximum(0, track.onset + np.rint(scatter).astype(np.int64))
        sixteenth, near = track.nearest(SIXTEENTHS, played), track.nearest(ALL, played)
        is_near = np.abs(sixteenth * track.quarter - QUARTER * played) <= track.quarter
        unit = QUARTER // known * track.quarter
        meant = np.where(known == 12, true, (2 * QUARTER * played + unit) // (2 * unit) * (QUARTER // known))
        for row, step in enumerate((track.read(played), np.where(is_near, sixteenth, near), meant)):
            out[row, column] = np.count_nonzero(step == true)
    return out


def _known(step: np.ndarray) -> np.ndarray:
    """int64[N]: the simplest division of each onset's quarter that has all onsets in it; 12: none."""
    _, of = np.unique(step // QUARTER, return_inverse=True)
    known = np.full(of.max() + 1, 12)
    for division in (6, 8, 3, 4):
        has_other = np.zeros(len(known), bool)
        has_other[of[step % (QUARTER // division) != 0]] = True
        known[~has_other] = division
    return known[of]


def _drummers(files: list[Path], songs: list[list[Track]]) -> dict:
    with open(files[0].parent / "songs.csv", encoding="utf-8") as lines:
        styles = {row["file"]: row["style"] for row in csv.DictReader(lines)}
    quarters = defaultdict(lambda: np.zeros(len(NAMES), int))
    for file, song in zip(files, songs, strict=True):
        for track in song:
            sixteenth = track.quarter // 4
            phase = np.exp(2j * np.pi * (track.onset % sixteenth) / sixteenth).mean()
            shift = round(float(np.angle(phase)) / (2 * np.pi) * sixteenth)
            onset = np.unique(np.maximum(0, track.onset - shift))
            reading = divisions.explain(*track.bars(onset), track.quarter)
            quarters[styles[file.name]] += np.bincount(reading.division, minlength=len(NAMES))
    straight = sum(count for style, count in quarters.items() if style.split("/")[0] in STRAIGHT)
    rows = {"straight styles": straight} | dict(sorted(quarters.items()))
    return {
        style: {"quarters": int(count.sum())} | dict(zip(NAMES, _percent(count / count.sum()), strict=True))
        for style, count in rows.items()
    }


if __name__ == "__main__":
    main()
