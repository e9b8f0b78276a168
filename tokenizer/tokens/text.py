"""HID text, v1.2.1's form of a song for people to read and edit, both ways: the verb `text`.

    H 2 480 Q                  tracks, ticks per beat, and Q: on the grid. Lossless: ticks per bar, all times in ticks
    T B0 T0 120                tempo: bar, position in it, beats per minute
    TS B0 T0 4/4               time signature
    CHORDS 0:Cmaj 1:G7         bar:label, without the bars that have no chord (for the reader: notes imply them), not at
                               all where a bar has fewer ticks than positions

    #D                         a track: drums, or #P33, a General MIDI program
    B0 T0 P36 L1 V25           a note: bar, position, pitch, length, velocity; B, T, L and V only where they change
    T4 P38                       position 0-15, length 1-64 sixteenths, velocity bin 0-31; lossless: ticks, ticks, 1-127
    B1 MASK                    a hidden bar (ours), said behind all tracks:
    UNK #D                     the hidden bars of the next track that has any
    B1 T0 P38 L1 V25

Bars are v1.2.1's: all of the song's are as long as its first signature says, with 16 positions each, and a note past
the last position stays on it. That is another grid than that of the tokens, which have 12 places in a quarter note, the
bars of every signature (see meter.py) and notes of up to 16 bars of 4/4. Lossless, such bars are only how ticks are
counted, and songs come back whatever their rhythm and their beat.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from configs import InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.song import HID_RANK
from tokenizer.music.midi import DEFAULT_TEMPO
from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track
from tokenizer.tokens.encode import Hidden
from tokenizer.vocabulary import TOKEN, Class

POSITIONS, LONGEST = 16, 64  # of a bar; of a note, in positions


class TextError(InputError):
    """Text that is no song; the message names the file, the line and what is wrong with it."""


# ---------------------------------------------------------------- writing


def to_text(score: Score, lossless: bool, hidden: Hidden | None = None) -> str:
    """The song as text. Tracks come in HID order, empty ones not at all. hidden: bars as the text counts them, of
    tracks as they come. Raises TextError where a bar has fewer ticks than positions and the text is not lossless.

    from_text(to_text(score, lossless=True)) == score if its tracks stand in HID order, none empty, notes sorted by
    (onset, pitch).
    """
    first = score.signatures[0]
    bar_ticks = max(score.ticks_per_beat * 4 * first.numerator // first.denominator, 1)
    has_positions = bar_ticks >= POSITIONS
    if not (lossless or has_positions):
        raise TextError(
            f"a bar of {bar_ticks} ticks has no {POSITIONS} positions; only the lossless form says this song"
        )
    tracks = sorted((track for track in score.tracks if len(track.notes)), key=lambda track: HID_RANK[track.program])
    bar = bar_ticks  # from here on in the text's unit of time: ticks, or positions
    if not lossless:
        tracks, bar = [Track(track.program, _on_grid(track.notes, bar_ticks)) for track in tracks], POSITIONS

    lines = [f"H {len(tracks)} {score.ticks_per_beat} {bar_ticks if lossless else 'Q'}"]
    for tempo in score.tempos:
        lines.append(f"T {_place(tempo.tick, bar_ticks, bar)} {_bpm(tempo) if lossless else format(tempo.bpm, '.0f')}")
    for signature in score.signatures:
        lines.append(f"TS {_place(signature.tick, bar_ticks, bar)} {signature.numerator}/{signature.denominator}")
    lines += [*(_chord_line(replace(score, tracks=tuple(tracks)), bar) if has_positions else ()), ""]
    said_at_end = []
    for number, track in enumerate(tracks):
        name = "#D" if track.program == DRUMS else f"#P{track.program}"
        shape, in_bar = (bar, vocab.N_VELOCITIES if not lossless else 128), track.notes["onset_ticks"] // bar
        if hidden is None or number not in hidden.tracks:
            lines += [name, *_note_lines(track.notes, *shape), ""]
            continue
        before, behind = in_bar < hidden.first, in_bar >= hidden.stop
        masks = [f"B{bar} MASK" for bar in range(hidden.first, hidden.stop)]
        lines += [
            name,
            *_note_lines(track.notes[before], *shape),
            *masks,
            *_note_lines(track.notes[behind], *shape),
            "",
        ]
        said_at_end += [f"UNK {name}", *_note_lines(track.notes[~(before | behind)], *shape), ""]
    lines += said_at_end
    return "\n".join(lines) + "\n"


def _on_grid(notes: np.ndarray, bar_ticks: int) -> np.ndarray:
    """Onsets and durations in positions by v1.2.1's rounding, half to even; velocities in the middle of their bins."""
    bar, rest = np.divmod(notes["onset_ticks"], bar_ticks)
    out = notes.copy()
    out["onset_ticks"] = bar * POSITIONS + np.minimum(np.rint(rest * POSITIONS / bar_ticks), POSITIONS - 1).astype(
        np.int64
    )
    out["duration_ticks"] = np.clip(np.rint(notes["duration_ticks"] / (bar_ticks // POSITIONS)), 1, LONGEST)
    out["velocity"] = vocab.bin_velocity(vocab.velocity_bin(notes["velocity"]))
    return out


def _place(tick: int, bar_ticks: int, bar: int) -> str:
    """bar: in the unit of the text."""
    number, rest = divmod(tick, bar_ticks)
    return f"B{number} T{rest if bar == bar_ticks else min(round(rest * bar / bar_ticks), bar - 1)}"


def _bpm(tempo: Tempo) -> str:
    """With as many decimals, two at least, as it takes to give back the same number of microseconds."""
    texts = (f"{tempo.bpm:.{decimals}f}" for decimals in range(2, 16))
    return next(text for text in texts if _microseconds(float(text)) == tempo.microseconds_per_beat)


def _microseconds(bpm: float) -> int:
    return round(60e6 / bpm)


def _chord_line(score: Score, bar: int) -> list[str]:
    end = max((int(track.notes["onset_ticks"].max()) for track in score.tracks), default=0)
    chords = bar_chords(score, np.arange(end // bar + 2) * bar)
    labels = [
        f"{number}:{vocab.NAMES[TOKEN[Class.CHORD][chord]]}" for number, chord in enumerate(chords.tolist()) if chord
    ]
    return [f"CHORDS {' '.join(labels)}"] if labels else []


def _note_lines(notes: np.ndarray, bar: int, velocities: int) -> Iterator[str]:
    before: dict[str, int] = {}
    for onset, duration, pitch, velocity in notes[np.argsort(notes["onset_ticks"], kind="stable")].tolist():
        now = {"B": onset // bar, "T": onset % bar, "P": pitch, "L": duration, "V": velocity * velocities // 128}
        said = [
            key for key in now if key == "P" or now[key] != before.get(key) or (key == "T" and now["B"] != before["B"])
        ]
        yield " ".join(f"{key}{now[key]}" for key in said)
        before = now


# ---------------------------------------------------------------- reading


def read(path: Path) -> Score:
    """The song of a text file. Raises TextError."""
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})") from error
    return from_text(content, str(path))


def from_text(content: str, name: str = "text") -> Score:
    """The song that text in either form says. Times on the grid become ticks of the header's beat, or of the least
    multiple of it that has whole positions. Raises TextError; `name` stands in its message for the file.
    """
    parser = _Parser()
    try:
        for line in content.splitlines():
            parser.take(line.strip())
        parser.check_last_note()
    except ValueError as error:
        raise TextError(f"{name}, line {parser.line}: {error}") from error
    if not parser.beat:
        raise TextError(f"{name}: no song in HID text (its first line begins with H)")
    if len(parser.tracks) != parser.n_tracks:
        raise TextError(
            f"{name}: the first line announces {parser.n_tracks} tracks, there are {len(parser.tracks)}; is "
            "the end missing?"
        )
    return parser.score()


RANGES = {"T": (0, POSITIONS - 1), "P": (0, 127), "L": (1, LONGEST), "V": (0, vocab.N_VELOCITIES - 1)}
LOSSLESS_RANGES = {"P": (0, 127), "V": (1, 127)}
UNSAID = -1  # bar, position, length or velocity that a track has not said yet


@dataclass
class _Parser:
    """take() every line, then score(). Times stay as written until then: in positions, or in ticks."""

    line: int = 0
    n_tracks: int = 0
    beat: int = 0  # ticks; 0 before the header
    bar: int | None = None  # ticks; None on the grid
    tempos: list = field(default_factory=list)  # [(bar, position, microseconds)]
    signatures: list = field(default_factory=list)  # [(bar, position, numerator, denominator)]
    tracks: list = field(default_factory=list)  # [(program, [[bar, position, pitch, length, velocity]])]
    notes: list = field(default_factory=list)  # of the track that is being said
    hidden: list = field(default_factory=list)  # numbers of the tracks with hidden bars that are not said yet
    now: dict = field(default_factory=dict)  # B, T, L, V in force

    def take(self, line: str) -> None:
        """Raises ValueError saying what is wrong with the line."""
        self.line += 1
        if not line or (self.beat and line.startswith("CHORDS")):
            return
        if not self.beat:
            self._header(line)
        elif match := re.fullmatch(r"T B(\d{1,9}) T(\d{1,9}) (\d{1,9}(?:\.\d+)?)", line):
            bpm = float(match[3])
            if bpm <= 0:
                raise ValueError("a tempo of 0")
            self.tempos.append((int(match[1]), int(match[2]), _microseconds(bpm)))
        elif match := re.fullmatch(r"TS B(\d{1,9}) T(\d{1,9}) (\d{1,3})/(\d{1,3})", line):
            numerator, denominator = int(match[3]), int(match[4])
            if not 0 < numerator < 256 or denominator not in (1, 2, 4, 8, 16, 32, 64):
                raise ValueError(f"{numerator}/{denominator} is no time signature")
            self.signatures.append((int(match[1]), int(match[2]), numerator, denominator))
        elif match := re.fullmatch(r"(UNK )?#(?:D|P(\d{1,9}))", line):
            if match[2] is not None and int(match[2]) > 127:
                raise ValueError(f"program {match[2]}; there are 0 to 127")
            self._begin_track(DRUMS if match[2] is None else int(match[2]), is_hidden=bool(match[1]))
        elif not self.tracks:
            raise ValueError(f"{line[:40]!r} before any track (#D or #P0 to #P127)")
        else:
            for word in line.split():
                self._word(word)

    def _begin_track(self, program: int, is_hidden: bool) -> None:
        self.check_last_note()
        if is_hidden:
            if not self.hidden or self.tracks[self.hidden[0]][0] != program:
                raise ValueError("UNK is for the next track that has a MASK, and this is none")
            _, self.notes = self.tracks[self.hidden.pop(0)]
        else:
            self.notes = []
            self.tracks.append((program, self.notes))
        self.now = dict.fromkeys("BTLV", UNSAID)

    def _header(self, line: str) -> None:
        match = re.fullmatch(r"H (\d{1,9}) (\d{1,9}) (Q|\d{1,9})", line)
        if not match:
            raise ValueError(f"expected H TRACKS TICKS_PER_BEAT and Q or TICKS_PER_BAR, got {line[:40]!r}")
        self.n_tracks, self.beat = int(match[1]), int(match[2])
        self.bar = None if match[3] == "Q" else int(match[3])
        if not 0 < self.beat < 1 << 15 or self.bar == 0:
            raise ValueError("MIDI has 1 to 32767 ticks per beat, and a bar some ticks")

    def _word(self, word: str) -> None:
        if word == "MASK":
            if self.now["B"] == UNSAID:
                raise ValueError("MASK before any B says where it is")
            self.check_last_note()
            if len(self.tracks) - 1 not in self.hidden:
                self.hidden.append(len(self.tracks) - 1)
            self.now = dict.fromkeys("BTLV", UNSAID)
            return
        match = re.fullmatch(r"([BTPLV])(\d{1,9})", word)
        if not match:
            raise ValueError(f"{word[:40]!r} is none of B, T, P, L, V and a number")
        key, value = match[1], int(match[2])
        least, most = (RANGES if self.bar is None else LOSSLESS_RANGES).get(key, (0, value))
        if not least <= value <= most:
            raise ValueError(f"{word} is not within {key}{least} to {key}{most}")
        notes = self.notes
        if key == "P":
            missing = [key for key in "BT" if self.now[key] == UNSAID]
            if missing:
                raise ValueError(f"{word} before any {missing[0]} says where it is")
            self.check_last_note()
            notes.append([self.now["B"], self.now["T"], value, self.now["L"], self.now["V"]])
            return
        self.now[key] = value
        if key == "B":
            self.now["T"] = UNSAID
        elif key in "LV":
            if not notes:
                raise ValueError(f"{word} before any note")
            notes[-1]["BTPLV".index(key)] = value

    def check_last_note(self) -> None:
        if self.notes and UNSAID in self.notes[-1]:
            raise ValueError("a track's first note, and the first behind a MASK, must say both L and V")

    def score(self) -> Score:
        numerator, denominator = self.signatures[0][2:] if self.signatures else (4, 4)
        scale = 1
        if self.bar is None:
            position = Fraction(self.beat * 4 * numerator, denominator * POSITIONS)
            # unit: ticks of a position, where a beat is divided `scale` times as finely.
            scale, unit = position.denominator, position.numerator
            bar = unit * POSITIONS
        else:
            bar, unit = self.bar, 1
        at = lambda place: place[0] * bar + place[1] * unit
        tempos = {0: DEFAULT_TEMPO} | {at(tempo): tempo[2] for tempo in self.tempos}
        signatures = {at(signature): signature[2:] for signature in self.signatures} | {0: (numerator, denominator)}
        return Score(
            self.beat * scale,
            tuple(Track(program, _notes(notes, at, unit, on_grid=self.bar is None)) for program, notes in self.tracks),
            tuple(Tempo(tick, tempos[tick]) for tick in sorted(tempos)),
            tuple(Signature(tick, *signatures[tick]) for tick in sorted(signatures)),
        )


def _notes(notes: list, at, unit: int, on_grid: bool) -> np.ndarray:
    velocity = vocab.bin_velocity if on_grid else int
    in_time = sorted(notes, key=lambda note: note[:2])  # hidden bars are said behind the others
    return np.array(
        [(at((bar, pos)), length * unit, pitch, velocity(v)) for bar, pos, pitch, length, v in in_time], NOTE
    )
