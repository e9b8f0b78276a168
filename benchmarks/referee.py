"""Does a song come back as it was? Judged by another program's reader.

    python benchmarks/referee.py --songs ../shared/data/midi ../shared/cases

Every file becomes a row of a dataset, is decoded from it and written as MIDI. File and result are both read with mido,
bytes that are too large clipped, and played by the player below: slow, plain, and without a line of the tokenizer.
Compared are, of the file as it is read, every note to the tick; and of the result notes by instrument and pitch, onsets
in seconds, bar lines and length. Writes benchmarks/results/referee.json.
"""

import argparse
import bisect
import itertools
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import mido
import numpy as np
from report import write_report
from tqdm import tqdm

from configs import PrepareConfig
from tokenizer.dataset.accept import accept
from tokenizer.dataset.find import find_midi
from tokenizer.grid.tempo_map import with_tempos
from tokenizer.music import midi
from tokenizer.music.score import DRUMS as OUR_DRUMS
from tokenizer.music.score import Score, Tempo
from tokenizer.tokens.decode import decode

DRUMS = "drums"
SLACK = 0.002  # seconds: a tick of the grid, and what rounding to one costs
COARSEST = 1 / 3  # beats between two places of the grid in a quarter that is read in triplets
MOVED = 0.020  # seconds from which on a moved note is heard


# ---------------------------------------------------------------- a player


@dataclass
class Channel:
    """What one channel of one port plays with at the moment."""

    number: int
    bank: int = 0
    drums: bool = False
    pedal: bool = False
    sounding: dict[int, list] = field(default_factory=lambda: defaultdict(list))  # pitch: notes that are held
    ringing: dict[int, list] = field(default_factory=lambda: defaultdict(list))  # let go of under the pedal

    def __post_init__(self) -> None:
        self.drums = self.number == 9


@dataclass
class Note:
    """Times in ticks."""

    instrument: int | str
    pitch: int
    begin: int
    end: int | None = None
    struck_again: bool = False  # while its key was held


@dataclass
class Song:
    """heard: (instrument, pitch, onset, end) of each note, in ticks. notes: onset seconds, sorted, by
    (instrument, pitch). bar_lines: seconds. tempos: seconds at which a beat begins to last so many seconds.
    """

    heard: Counter
    ticks_per_beat: float
    notes: dict[tuple, np.ndarray]
    bar_lines: np.ndarray
    last_onset: float
    tempos: list[tuple[float, float]]

    def beat(self, times: np.ndarray) -> np.ndarray:
        """Seconds that a beat lasts at these times."""
        places = np.searchsorted([time for time, _ in self.tempos], times + 1e-9, side="right") - 1
        return np.array([length for _, length in self.tempos])[np.maximum(places, 0)]


def play(file: mido.MidiFile) -> Song:
    """What a General MIDI player with GS and XG makes of the file."""
    per_beat = file.ticks_per_beat
    tempos, signatures, events, last = {0: 500_000}, {0: (4, 4)}, [], 0
    if per_beat < 0:  # frames a second, ticks a frame
        frames = -(per_beat >> 8)
        per_beat, tempos = (30 if frames == 29 else frames) * (per_beat & 0xFF) // 2, {}
        tempos[0] = 500_500 if frames == 29 else 500_000
    for number, track in enumerate(file.tracks):
        named = [message for message in itertools.takewhile(_is_no_note, track) if message.type == "midi_port"]
        tick, port = 0, named[0].port if named else 0  # notation programs name a track's port after its programs
        for order, message in enumerate(track):
            # A few programs write a beginning before the song's as a negative number of 32 bits
            tick += message.time if message.time < 1 << 31 else message.time - (1 << 32)
            if message.type == "midi_port":
                port = message.port
            elif message.type == "set_tempo" and message.tempo:
                tempos[tick] = message.tempo
            elif message.type == "time_signature" and message.numerator and message.denominator <= 64:
                signatures[tick] = (message.numerator, message.denominator)
            elif not message.is_meta:
                events.append((max(tick, 0), number, order, port, message))
            elif message.type == "end_of_track":
                break
        last = max(last, tick)
    plays = {number for _, number, _, _, message in events if message.type == "note_on" and message.velocity}
    # What a track without notes sets at a tick holds for the notes of that tick
    notes = _notes(sorted(events, key=lambda event: (event[0], event[1] in plays, *event[1:3])), last)
    return _in_seconds(notes, tempos, signatures, per_beat)


def _is_no_note(message: mido.Message) -> bool:
    return message.type != "note_on"


def _notes(events: list[tuple], last: int) -> list[Note]:
    """Of events in the order in which they act."""
    channels = {}
    has_notes = {(e[1], e[3], e[4].channel) for e in events if e[4].type == "note_on" and e[4].velocity}
    programs = defaultdict(list)  # (port, channel): [(tick, track, program, drums or not, what the bank says)]
    systems, notes = {}, []

    def channel(port: int, number: int) -> Channel:
        return channels.setdefault((port, number), Channel(number))

    for tick, track, _, port, message in events:
        if message.type == "sysex":
            _system(bytes(message.data), port, channels, systems, programs, tick)
            continue
        if not hasattr(message, "channel"):
            continue
        here = channel(port, message.channel)
        if message.type == "note_on" and message.velocity:
            for ringing in here.ringing.pop(message.note, []):
                ringing.end = tick
            for _, held in here.sounding[message.note]:
                held.struck_again |= held.begin < tick
            instrument = _instrument(here, programs[port, message.channel], track, port, has_notes)
            notes.append(Note(instrument, message.note, tick))
            here.sounding[message.note].append((track, notes[-1]))
        elif message.type in ("note_on", "note_off"):
            held = here.sounding[message.note]
            place = next((i for i, (of, _) in enumerate(held) if of == track), None)
            if place is not None:
                note = held.pop(place)[1]
                note.end = tick
                if here.pedal and not here.drums and not note.struck_again:
                    here.ringing[message.note].append(note)
        elif message.type == "program_change":
            programs[port, message.channel].append((tick, track, message.program, here.bank, systems.get(port)))
        elif message.type == "control_change" and message.control == 0:
            here.bank = message.value
        elif message.type == "control_change" and message.control == 64:
            here.pedal = message.value >= 64
            if not here.pedal:
                _end_all(here.ringing, tick)
        elif message.type == "control_change" and message.control == 121:
            here.pedal = False
            _end_all(here.ringing, tick)
        elif message.type == "control_change" and message.control in (120, 123, 124, 125, 126, 127):
            for pitch, held in here.sounding.items():
                for _, note in held:
                    if note.begin < tick:
                        note.end = tick
                        if here.pedal and message.control != 120:
                            here.ringing[pitch].append(note)
                here.sounding[pitch] = [(of, note) for of, note in held if note.begin >= tick]
            if message.control == 120:
                _end_all(here.ringing, tick)
    for here in channels.values():
        for held in here.sounding.values():
            for _, note in held:
                note.end = last
        _end_all(here.ringing, last)
    return notes


def _end_all(ringing: dict[int, list], tick: int) -> None:
    for held in ringing.values():
        for note in held:
            note.end = tick
    ringing.clear()


def _system(data: bytes, port: int, channels: dict, systems: dict, programs: dict, tick: int) -> None:
    """System exclusive messages that say who plays."""
    reset = None
    if data[:1] == b"\x7e" and data[2:3] == b"\x09":
        reset = {1: "GM", 3: "GM2"}.get(data[3], "")
    elif data[:1] == b"\x43" and data[2:7] == b"\x4c\x00\x00\x7e\x00":
        reset = "XG"
    elif data[:1] == b"\x41" and data[2:8] == b"\x42\x12\x40\x00\x7f\x00":
        reset = "GS"
    if reset is not None:
        systems[port] = reset
        for (of, number), here in channels.items():
            if of == port:
                here.bank, here.drums = 0, number == 9
        for (of, _), changes in programs.items():
            if of == port:
                changes.append((tick, None, 0, 0, reset))
        return
    part = None
    if data[:1] == b"\x41" and data[2:5] == b"\x42\x12\x40" and data[5] >> 4 == 1 and data[6] == 0x15:
        block = data[5] & 15
        part = 9 if block == 0 else block - 1 if block <= 9 else block
        is_drums = data[7] > 0
    elif data[:1] == b"\x43" and data[2:5] == b"\x4c\x08" + data[4:5] and data[5] == 7:
        part, is_drums = data[4], data[6] > 0
    if part is not None and part < 16:
        channels.setdefault((port, part), Channel(part)).drums = is_drums


def _instrument(here: Channel, changes: list, track: int, port: int, has_notes: set) -> int | str:
    """Program changes of the note's own track and of tracks that have no notes on the channel count; those of other
    tracks only while there is none of its own.
    """
    counts = changes
    if any(change[1] == track for change in changes):
        others = [change for change in changes if change[1] != track]
        counts = [change for change in others if (change[1], port, here.number) not in has_notes]
        counts += [change for change in changes if change[1] == track]  # at one tick its own hold
    in_order = sorted(counts, key=lambda change: change[0]) or [(0, track, 0, 0, None)]
    _, _, program, bank, system = in_order[-1]
    if here.drums and not (here.number == 9 and system == "GM2" and bank == 121):
        return DRUMS
    is_drum_bank = {"XG": bank in (126, 127), "GM2": bank == 120, "GS": False}.get(system, bank in (120, 127))
    return DRUMS if is_drum_bank else program


def _in_seconds(notes: list[Note], tempos: dict, signatures: dict, per_beat: float) -> Song:
    ticks = sorted(tempos)
    seconds = [0.0]
    for before, after in itertools.pairwise(ticks):
        seconds.append(seconds[-1] + (after - before) * tempos[before] / 1e6 / per_beat)

    def at(tick: int) -> float:
        place = bisect.bisect_right(ticks, tick) - 1
        return seconds[place] + (tick - ticks[place]) * tempos[ticks[place]] / 1e6 / per_beat

    by_instrument = defaultdict(set)
    for note in notes:
        by_instrument[note.instrument, note.pitch].add(at(note.begin))
    last_tick = max((note.begin for note in notes), default=0)
    lines, changes = [], sorted(signatures)
    for place, tick in enumerate(changes):
        until = changes[place + 1] if place + 1 < len(changes) else last_tick + 1
        bar = signatures[tick][0] * 4 * per_beat / signatures[tick][1]
        lines += [at(tick + bar * number) for number in range(int(-(-(min(until, last_tick + 1) - tick) // bar)))]
    return Song(
        Counter((note.instrument, note.pitch, note.begin, note.end) for note in notes),
        per_beat,
        {key: np.array(sorted(times)) for key, times in by_instrument.items()},
        np.array(lines),
        at(last_tick),
        [(second, tempos[tick] / 1e6) for tick, second in zip(ticks, seconds, strict=True)],
    )


# ---------------------------------------------------------------- the comparison


def compare(before: Song, after: Song) -> dict[str, float]:
    """Counts and sums of one song."""

    def may_move(times: np.ndarray) -> np.ndarray:
        return COARSEST / 2 * before.beat(times) + SLACK

    found = Counter(notes=0, new=0, moved=0, beyond_half_a_place=0, moved_seconds=0.0)
    for key in before.notes.keys() | after.notes.keys():
        old, new = before.notes.get(key, np.zeros(0)), after.notes.get(key, np.zeros(0))
        found["notes"] += len(old)
        if not len(new) or not len(old):
            found["without_a_counterpart"] += len(old)
            found["new"] += len(new)
            continue
        distance = _nearest(old, new)
        found["merged"] += len(old) - len(new)
        found["moved"] += int((distance > MOVED).sum())
        found["moved_seconds"] += float(distance.sum())
        found["beyond_half_a_place"] += int((distance > may_move(old)).sum())
        found["new"] += int((_nearest(new, old) > may_move(new)).sum())
    distance = _nearest(before.bar_lines, after.bar_lines)
    found["bar_lines"] = len(before.bar_lines)
    found["bar_lines_missing"] = int((distance > may_move(before.bar_lines)).sum())
    found["last_onset_off"] = abs(after.last_onset - before.last_onset) / max(before.last_onset, 1e-9)
    found["last_bar_line_off"] = float(distance[-1]) / max(float(before.bar_lines[-1]), 1e-9)
    return dict(found)


def _nearest(times: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Seconds from each time to the nearest of the others, sorted."""
    place = np.searchsorted(others, times)
    left = np.abs(times - others[np.maximum(place - 1, 0)])
    return np.minimum(left, np.abs(times - others[np.minimum(place, len(others) - 1)]))


def judge(songs: Path, folder: Path) -> tuple[list[dict], Counter]:
    """A row for each file that is taken, and how many are not judged, by reason."""
    rows, reasons = [], Counter()
    config = PrepareConfig(align="off")  # the other program's bar lines are the file's
    for source, path in tqdm(find_midi([songs])[0], desc=songs.name):
        accepted = accept(midi.load(path), path, source, config, moved_ms=1e3 * MOVED)
        if isinstance(accepted, str):
            reasons[accepted] += 1
            continue
        row = accepted.row
        own = tuple(map(Tempo, row.tempo_ticks.tolist(), row.tempo_microseconds.tolist()))
        midi.write(with_tempos(decode(row.ids), own), folder / "back.mid")
        try:
            before = play(mido.MidiFile(path, clip=True))
        except Exception as error:  # mido has many for what it cannot read
            reasons[f"mido cannot read it: {type(error).__name__} {error}"] += 1
            continue
        if not before.heard:
            reasons["mido hears no note: it follows the header's count of tracks"] += 1
            continue
        after = play(mido.MidiFile(folder / "back.mid"))
        alike = _read(accepted.reading.score, before.ticks_per_beat) == before.heard
        rows.append({"file": source, "read_alike": alike, **compare(before, after)})
    return rows, reasons


def _read(score: Score, ticks_per_beat: float) -> Counter:
    """What our reader makes of a file, as Song.heard says it."""
    scale = score.ticks_per_beat / ticks_per_beat  # 2 where the file counts frames
    return Counter(
        (DRUMS if track.program == OUR_DRUMS else track.program, pitch, onset / scale, (onset + length) / scale)
        for track in score.tracks
        for onset, length, pitch, _ in track.notes.tolist()
    )


def summed(rows: Iterable[dict]) -> dict:
    rows = list(rows)
    total = Counter()
    for row in rows:
        total.update({name: value for name, value in row.items() if not isinstance(value, str)})
    notes = max(total["notes"], 1)
    return {
        "files": len(rows),
        "files_read_alike": sum(row["read_alike"] for row in rows),
        "onsets": int(total["notes"]),
        "without_a_counterpart": int(total["without_a_counterpart"]),
        "merged_percent": round(100 * total["merged"] / notes, 3),
        "beyond_half_a_place_percent": round(100 * total["beyond_half_a_place"] / notes, 3),
        "new": int(total["new"]),
        "moved_by_20_ms_percent": round(100 * total["moved"] / notes, 2),
        "mean_movement_ms": round(1e3 * total["moved_seconds"] / notes, 2),
        "bar_lines_missing_percent": round(100 * total["bar_lines_missing"] / max(total["bar_lines"], 1), 3),
        "last_onset": _lengths([row["last_onset_off"] for row in rows]),
        "last_bar_line": _lengths([row["last_bar_line_off"] for row in rows]),
    }


def _lengths(off: list[float]) -> dict:
    """By how much songs last longer or shorter, each as a share of its length."""
    percent = 100 * np.array(off or [0.0])
    figures = {"off_percent_median": np.median(percent), "off_percent_worst": percent.max()}
    return {name: round(float(value), 4) for name, value in figures.items()} | {
        "files_beyond_0.1_percent": int((percent > 0.1).sum())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=Path, nargs="+", default=[Path("../shared/data/midi"), Path("../shared/cases")])
    parser.add_argument("--worst", type=int, default=15, help="files that are listed for each kind of difference")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for songs in arguments.songs:
            rows, reasons = judge(songs, Path(folder))
            by_folder = defaultdict(list)
            for row in rows:
                by_folder[str(Path(row["file"]).parent)].append(row)
            unlike = [row["file"] for row in rows if not row["read_alike"]]
            worst = {
                name: [
                    {"file": row["file"], name: row.get(name, 0), "of": row["notes"]}
                    for row in sorted(rows, key=lambda row: -row.get(name, 0))[: arguments.worst]
                    if row.get(name, 0)
                ]
                for name in (
                    *("without_a_counterpart", "beyond_half_a_place", "new", "bar_lines_missing"),
                    *("last_onset_off", "last_bar_line_off"),
                )
            }
            results[songs.name] = {
                "not_judged": dict(reasons.most_common()),
                "by_folder": {name: summed(rows) for name, rows in sorted(by_folder.items())},
                "all": summed(rows),
                "not_read_alike": unlike[: arguments.worst],
                "worst": worst,
            }
    write_report("referee", results)


if __name__ == "__main__":
    main()
