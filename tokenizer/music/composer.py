"""A small composer: songs to try the system with when no MIDI is at hand (demo, tests). Deterministic by seed, and
with structure worth learning: keys, chord progressions, forms whose sections return, an accompaniment that follows
them, meters and tempi that may change.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track

TICKS_PER_BEAT = 480
STEP = TICKS_PER_BEAT // 4  # a sixteenth

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = {  # degrees of the scale, a bar each
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (5, 3, 0, 4), (0, 2, 3, 4), (1, 4, 0, 5)),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 4), (0, 3, 6, 2), (5, 6, 0, 0), (3, 0, 4, 0)),
}
METERS = {  # sixteenths of each pulse of a bar
    (4, 4): (4, 4, 4, 4),
    (3, 4): (4, 4, 4),
    (6, 8): (6, 6),
    (5, 4): (4, 4, 4, 4, 4),
    (7, 8): (4, 4, 6),
    (2, 4): (4, 4),
}
METER_WEIGHTS = (0.56, 0.16, 0.14, 0.05, 0.05, 0.04)
FORMS = ("IAABA", "IABAB", "AABA", "IAABB", "ABAC", "IABACA")
MELODIES, CHORDAL, PADS, BASSES = (0, 11, 40, 56, 65, 71, 73, 80), (0, 4, 24, 25), (48, 50, 89, 91), (32, 33, 38)
LOWEST_BASS = 28  # the low E of a bass guitar
KICK, SNARE, CLOSED_HAT, OPEN_HAT, CRASH, TOMS = 36, 38, 42, 46, 49, (50, 47, 43)


@dataclass(frozen=True)
class Section:
    """What returns whenever its letter does. melody: (bar, onset step, duration steps, pitch); chords: degree of each
    bar.
    """

    meter: tuple[int, int]
    bpm: int
    chords: tuple[int, ...]
    melody: tuple[tuple[int, int, int, int], ...]
    figure: tuple[int, ...]  # order in which the accompaniment breaks its chords
    groove: tuple[int, ...]  # steps of the bass drum


class Song:
    """Notes under way, by part."""

    def __init__(self):
        self.parts: dict[str, list[tuple[int, int, int, int]]] = {
            name: [] for name in ("drums", "bass", "chords", "pad", "melody", "echo")
        }

    def add(self, part: str, tick: int, steps: int, pitch: int, velocity: int) -> None:
        self.parts[part].append((tick, steps * STEP - 10, pitch, min(max(velocity, 1), 127)))


def compose(seed: int) -> Score:
    """A song of four to seven parts and 16 to 44 bars."""
    random = np.random.default_rng(seed)
    mode = str(random.choice(list(SCALES)))
    tonic = int(random.integers(12))
    form = str(random.choice(FORMS))
    meter = list(METERS)[int(random.choice(len(METERS), p=METER_WEIGHTS))]
    bpm = int(random.integers(70, 165))
    sections = {letter: _section(random, letter, mode, tonic, meter, bpm) for letter in sorted(set(form))}
    song, tick, voicing = Song(), 0, None
    tempos, signatures = [], []
    for place, letter in enumerate(form):
        section = sections[letter]
        if not signatures or signatures[-1][1] != section.meter:
            signatures.append((tick, section.meter))
        if not tempos or tempos[-1][1] != section.bpm:
            tempos.append((tick, section.bpm))
        tick, voicing = _play(song, random, section, letter, place, mode, tonic, tick, voicing)
    _end(song, sections[form[-1]], mode, tonic, tick)
    return _score(song, random, tempos, signatures)


def _section(random, letter: str, mode: str, tonic: int, meter: tuple[int, int], bpm: int) -> Section:
    if letter in "BC":  # contrast
        if random.random() < 0.15:
            meter = (3, 4) if meter == (4, 4) else (4, 4)
        if random.random() < 0.2:
            bpm = int(np.clip(bpm * random.choice((0.8, 1.2)), 60, 180))
    bars = 4 if letter == "I" or sum(METERS[meter]) > 16 else 8
    chords = PROGRESSIONS[mode][int(random.integers(len(PROGRESSIONS[mode])))] * (bars // 4)
    if bars == 8:
        chords = (*chords[:6], 4, 0) if random.random() < 0.5 else chords
    melody = () if letter == "I" else _melody(random, chords, mode, tonic, meter)
    length = sum(METERS[meter])
    groove = tuple(sorted({0, *random.choice(np.arange(2, length, 2), 2, replace=False).tolist()}))
    return Section(meter, bpm, chords, melody, tuple(random.permutation(3).tolist()), groove)


def _melody(random, chords: tuple[int, ...], mode: str, tonic: int, meter: tuple[int, int]) -> tuple:
    """A two-bar rhythm that returns, chord tones on the pulses, steps between; the phrase comes to rest on its last
    bar.
    """
    pulses = METERS[meter]
    rhythms = [_rhythm(random, pulses) for _ in range(2)]
    degree, notes = 7 + 2 * int(random.integers(3)), []
    for bar, chord in enumerate(chords):
        if bar == len(chords) - 1:
            notes.append((bar, 0, sum(pulses) - 2, _pitch(mode, tonic, _nearest(degree, chord), 6)))
            continue
        for onset, duration in rhythms[bar % 2]:
            on_pulse = onset in np.cumsum((0, *pulses)).tolist()
            degree = int(np.clip(degree + random.choice((-2, -1, -1, 1, 1, 2)), 4, 15))
            degree = _nearest(degree, chord) if on_pulse else degree
            notes.append((bar, onset, duration, _pitch(mode, tonic, degree, 6)))
    return tuple(notes)


def _rhythm(random, pulses: tuple[int, ...]) -> list[tuple[int, int]]:
    """(onset, duration) in steps of one bar."""
    rhythm, onset = [], 0
    for pulse in pulses:
        kind = random.random()
        cuts = (0,) if kind < 0.4 else (0, pulse // 2) if kind < 0.8 else (0, pulse // 2, pulse * 3 // 4)
        ends = (*cuts[1:], pulse)
        rhythm += [(onset + cut, end - cut) for cut, end in zip(cuts, ends, strict=True)]
        onset += pulse
    return rhythm


def _nearest(degree: int, chord: int) -> int:
    """The chord tone (degree of the scale, counted through octaves) nearest to a degree."""
    return min(
        (chord + tone + 7 * octave for tone in (0, 2, 4) for octave in range(-1, 4)), key=lambda d: (abs(d - degree), d)
    )


def _pitch(mode: str, tonic: int, degree: int, octave: int = 5) -> int:
    return 12 * octave + tonic + SCALES[mode][degree % 7] + 12 * (degree // 7) - 12


def _play(song, random, section: Section, letter: str, place: int, mode, tonic, tick, voicing):
    """One section from `tick` on; returns where it ends and the last voicing, for the next to lead on from."""
    length = sum(METERS[section.meter])
    for bar, chord in enumerate(section.chords):
        start = tick + bar * length * STEP
        last = bar == len(section.chords) - 1
        voicing = _lead(voicing, [_pitch(mode, tonic, chord + tone, 5) for tone in (0, 2, 4)])
        if letter != "I" or bar >= 2:
            _drum_bar(song, random, section, start, crash=bar == 0, fill=last)
        _bass_bar(
            song,
            section,
            start,
            *(LOWEST_BASS + (_pitch(mode, tonic, chord + tone) - LOWEST_BASS) % 12 for tone in (0, 4)),
        )
        _chord_bar(song, section, start, voicing, broken=letter in "AI", louder=place % 2)
        if letter in "BC":
            for pitch in voicing:
                song.add("pad", start, length, pitch, 52)
    for bar, onset, duration, pitch in section.melody:
        start = tick + (bar * length + onset) * STEP
        song.add("melody", start, duration, pitch, 84 + 10 * (onset == 0) + 4 * (onset % 4 == 0))
        if letter == "C" or place >= 3:  # when all has been heard, it is doubled below
            song.add("echo", start, duration, pitch - 12, 60)
    return tick + len(section.chords) * length * STEP, voicing


def _lead(before: list[int] | None, chord: list[int]) -> list[int]:
    """The inversion of a chord that moves least from the one before."""
    low = [
        [pitch + 12 * shift for pitch, shift in zip(chord, shifts, strict=True)]
        for shifts in ((0, 0, 0), (0, 0, -1), (0, -1, -1), (-1, -1, -1))
    ]
    if before is None:
        return sorted(low[0])
    return sorted(min(low, key=lambda voicing: sum(abs(a - b) for a, b in zip(sorted(voicing), before, strict=True))))


def _drum_bar(song, random, section: Section, start: int, crash: bool, fill: bool) -> None:
    pulses = METERS[section.meter]
    onsets = np.cumsum((0, *pulses[:-1])).tolist()
    for step in range(0, sum(pulses), 2):
        song.add(
            "drums",
            start + step * STEP,
            1,
            OPEN_HAT if step == sum(pulses) - 2 else CLOSED_HAT,
            72 if step in onsets else 54,
        )
    for step in section.groove:
        song.add("drums", start + step * STEP, 1, KICK, 100)
    for pulse, onset in enumerate(onsets):
        if pulse % 2 and not (fill and pulse == len(onsets) - 1):
            song.add("drums", start + onset * STEP, 1, SNARE, 96)
    if crash:
        song.add("drums", start, 2, CRASH, 100)
    if fill:
        for index in range(4):
            step = sum(pulses) - 4 + index
            song.add(
                "drums", start + step * STEP, 1, TOMS[min(index, 2)] if random.random() < 0.7 else SNARE, 80 + 8 * index
            )


def _bass_bar(song, section: Section, start: int, root: int, fifth: int) -> None:
    onset = 0
    for number, pulse in enumerate(METERS[section.meter]):
        song.add(
            "bass", start + onset * STEP, pulse, fifth if number % 2 and number > 1 else root, 92 if number == 0 else 80
        )
        onset += pulse


def _chord_bar(song, section: Section, start: int, voicing: list[int], broken: bool, louder: int) -> None:
    onset = 0
    for number, pulse in enumerate(METERS[section.meter]):
        if broken:
            for half in range(2):
                pitch = voicing[section.figure[(2 * number + half) % 3]]
                song.add("chords", start + (onset + half * pulse // 2) * STEP, pulse // 2, pitch, 62 + 8 * louder)
        else:
            for pitch in voicing:
                song.add("chords", start + onset * STEP, pulse // 2, pitch, 66 + 8 * louder + 6 * (number == 0))
        onset += pulse


def _end(song, section: Section, mode, tonic, tick: int) -> None:
    """One last bar on the tonic."""
    length = sum(METERS[section.meter])
    song.add("drums", tick, 2, CRASH, 110)
    song.add("drums", tick, 1, KICK, 110)
    song.add("bass", tick, length, LOWEST_BASS + (tonic - LOWEST_BASS) % 12, 92)
    for tone in (0, 2, 4, 7):
        song.add("chords", tick, length, _pitch(mode, tonic, tone, 4), 76)
    song.add("melody", tick, length, _pitch(mode, tonic, 7, 6), 96)


def _score(song: Song, random, tempos: list, signatures: list) -> Score:
    programs = {
        part: int(random.choice(choice))
        for part, choice in zip(
            ("bass", "chords", "pad", "melody", "echo"), (BASSES, CHORDAL, PADS, MELODIES, PADS), strict=True
        )
    }
    programs["drums"] = DRUMS
    jitter = 14 if random.random() < 0.3 else 0  # some are played by hand
    tracks = []
    for part, rows in song.parts.items():
        if rows:
            notes = np.array(sorted(rows, key=lambda row: (row[0], row[2])), NOTE)
            notes["onset_ticks"] = np.maximum(
                notes["onset_ticks"] + random.integers(-jitter, jitter + 1, len(notes)), 0
            )
            tracks.append(Track(programs[part], notes[np.lexsort((notes["pitch"], notes["onset_ticks"]))]))
    return Score(
        TICKS_PER_BEAT,
        tuple(tracks),
        tuple(Tempo(tick, round(60e6 / bpm)) for tick, bpm in tempos),
        tuple(Signature(tick, *meter) for tick, meter in signatures),
    )
