"""v1.2.1's tokenizer, as far as its data can be told apart by: MIDI notes to token_ids and the fields beside them, in
plain loops from golden/vocab_facts.json. It shares nothing with the tokenizer package, so that what comes back from its
data is not compared with itself.

Chord labels, which music21 finds there, are given by the caller; no note depends on them.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mido

ROOTS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
TYPES = "maj min dim aug 7 maj7 min7 dim7 hdim7 sus2 sus4 7sus4 6 min6 9 maj9 min9 5".split()
METERS = "1/4 2/4 3/4 4/4 5/4 6/4 7/4 2/2 3/2 4/2 3/8 5/8 6/8 7/8 9/8 12/8 2/8 4/8 8/8".split()
TOKENS = ["PAD", "BOS", "EOS", "MASK", "SEP", "UNK", "N", *(root + type_ for root in ROOTS for type_ in TYPES)]
TOKENS += [*(f"T{i}" for i in range(16)), *(f"P{i}" for i in range(128)), "#D", *(f"#P{i}" for i in range(128))]
TOKENS += [*(f"BPM_{i}" for i in range(32)), *(f"TS_{meter}" for meter in METERS)]
TOKENS += [*(f"L{i}" for i in range(1, 65)), *(f"V{i}" for i in range(32))]
ID = {token: number for number, token in enumerate(TOKENS)}
BPM = [round(40 * (250 / 40) ** (i / 31)) for i in range(32)]
FIELDS = ("token_ids", "chord_ids", "position_ids", "instrument_ids", "token_type_ids", "note_ids")
DRUM_CHANNEL, DRUMS = 9, 128
GROUPS = [*range(32, 40), *range(8), *range(24, 32), *range(16, 24), *range(88, 96), *range(40, 52), *range(8, 16)]
GROUPS += [*range(56, 80), *range(80, 88), *range(96, 104), *range(52, 56), *range(104, 128)]
PRIORITY = {DRUMS: -1} | {program: place for place, program in enumerate(GROUPS)}


@dataclass(frozen=True)
class Heard:
    """bpms: rounded; meters: as text; both in order. tracks: (program, [(tick, duration, pitch, velocity)]), in
    v1.2.1's order.
    """

    ticks_per_beat: int
    bpms: list[int]
    meters: list[str]
    tracks: list[tuple[int, list[tuple[int, int, int, int]]]]

    @property
    def bar_ticks(self) -> int:
        numerator, denominator = map(int, (self.meters or ["4/4"])[0].split("/"))
        return int(numerator * self.ticks_per_beat * 4 / denominator)


def hear(path: Path) -> Heard:
    """A file of type 0 or 1, note-ons matched with note-offs first in, first out."""
    midi = mido.MidiFile(path)
    assert midi.type in (0, 1)
    tempos, meters, tracks = set(), set(), []
    for track in midi.tracks:
        tick, programs, sounding, notes = 0, defaultdict(int), defaultdict(list), defaultdict(list)
        for message in track:
            tick += message.time
            if message.type == "set_tempo":
                tempos.add((tick, mido.tempo2bpm(message.tempo)))
            elif message.type == "time_signature":
                meters.add((tick, message.numerator, message.denominator))
            elif message.type == "program_change":
                programs[message.channel] = message.program
            elif message.type == "note_on" and message.velocity:
                sounding[message.channel, message.note].append((tick, message.velocity))
            elif message.type in ("note_on", "note_off") and sounding[message.channel, message.note]:
                onset, velocity = sounding[message.channel, message.note].pop(0)
                notes[message.channel].append((onset, tick - onset, message.note, velocity))
        for channel in sorted(notes):
            program = DRUMS if channel == DRUM_CHANNEL else programs[channel]
            tracks.append((program, sorted(notes[channel], key=lambda note: note[0])))
    tracks.sort(key=lambda track: PRIORITY[track[0]])
    bpms = [int(f"{bpm:.0f}") for _, bpm in sorted(tempos, key=lambda tempo: tempo[0])]
    return Heard(
        midi.ticks_per_beat, bpms, [f"{n}/{d}" for _, n, d in sorted(meters, key=lambda meter: meter[0])], tracks
    )


def grid_notes(heard: Heard) -> list[tuple[int, list[tuple[int, int, int, int, int]]]]:
    """[(program, [(bar, position, pitch, length, velocity bin)])]: all that v1.2.1 keeps of the notes."""
    bar = heard.bar_ticks
    out = []
    for program, notes in heard.tracks:
        rows = []
        for tick, duration, pitch, velocity in notes:
            position = min(15, round((tick % bar) * 16 / bar))
            rows.append((tick // bar, position, pitch, min(64, max(1, round(duration / (bar // 16)))), velocity >> 2))
        out.append((program, rows))
    return out


def encode(bpms: list[int], meters: list[str], tracks: list, chord: Callable[[int], str]) -> dict[str, list[int]]:
    """v1.2.1's six rows of numbers. tracks: as grid_notes gives them; chord(bar): the label of a bar."""
    rows: list[tuple[int, ...]] = [(ID["BOS"], -1, -1, 129, -1, -1)]
    for bpm in bpms:
        bin_ = min(range(32), key=lambda i: (abs(BPM[i] - min(250, max(40, bpm))), i))
        rows.append((ID[f"BPM_{bin_}"], -1, -1, 129, -1, -1))
    rows += [(ID[f"TS_{meter}"], -1, -1, 129, -1, -1) for meter in meters if f"TS_{meter}" in ID]
    note_id = 0
    last_position = 0
    for program, notes in tracks:
        track = ID["#D"] if program == DRUMS else ID[f"#P{program}"]
        rows += [(track, -1, -1, program, -1, -1), (ID["SEP"], -1, -1, program, -1, -1)]
        last_bar = position_in_force = length = velocity = None
        for bar, position, pitch, new_length, new_velocity in notes:
            if bar != last_bar:
                rows.append((ID[chord(bar)], bar, -1, program, -1, -1))
                last_bar, position_in_force = bar, None
            if position != position_in_force:
                note_id += 1
                rows.append((ID[f"T{position}"], bar, position, program, 0, note_id))
                position_in_force = last_position = position
            rows.append((ID[f"P{pitch}"], bar, last_position, program, 1, note_id))
            if new_length != length:
                length = new_length
                rows.append((ID[f"L{length}"], bar, last_position, program, 2, note_id))
            if new_velocity != velocity:
                velocity = new_velocity
                rows.append((ID[f"V{velocity}"], bar, last_position, program, 3, note_id))
    rows.append((ID["EOS"], -1, -1, 129, -1, -1))
    return dict(zip(FIELDS, map(list, zip(*rows, strict=True)), strict=True))
