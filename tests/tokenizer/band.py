"""A small band: drums, bass, piano and a tune, of which nobody doubts where the beats are."""

import numpy as np

from tokenizer.music.score import DRUMS, NOTE, Score, Signature, Tempo, Track

CHORDS = ((48, 52, 55), (45, 48, 52), (41, 45, 48), (43, 47, 50))


def band(measures: int, meter: int = 4, ticks_per_beat: int = 480, bpm: float = 112.0, drums: bool = True) -> Score:
    """So many measures of so many quarter notes, a chord in each."""
    rng = np.random.default_rng(7)
    parts: dict[int, list[tuple[float, float, int]]] = {DRUMS: [], 33: [], 0: [], 73: []}
    for measure in range(measures):
        start, chord = measure * meter, CHORDS[measure % len(CHORDS)]
        for beat in range(meter):
            parts[DRUMS] += [(start + beat, 0.25, 42), (start + beat + 0.5, 0.25, 42)]
            is_low = beat == 0 or (meter == 4 and beat == 2)
            parts[DRUMS].append((start + beat, 0.25, 36 if is_low else 38))
            parts[0] += [(start + beat + 0.5, 0.4, pitch + 12) for pitch in chord] if beat else []
        parts[0] += [(start, 0.9, pitch + 12) for pitch in chord]
        parts[33] += [(start, meter - 1.0, chord[0] - 12), (start + meter - 1, 0.5, chord[2] - 12)]
        for place in np.flatnonzero(rng.random(2 * meter) < 0.6).tolist():
            parts[73].append((start + place / 2, 0.45, chord[place % 3] + 24))
    if not drums:
        del parts[DRUMS]
    tracks = tuple(Track(program, _notes(rows, ticks_per_beat)) for program, rows in parts.items())
    tempo = Tempo(0, round(60e6 / bpm))
    return Score(ticks_per_beat, tracks, (tempo,), (Signature(0, meter, 4),))


def _notes(rows: list[tuple[float, float, int]], ticks_per_beat: int) -> np.ndarray:
    begin, length, pitch = np.array(rows).T
    out = np.empty(len(rows), NOTE)
    out["onset_ticks"] = np.rint(begin * ticks_per_beat)
    out["duration_ticks"] = np.rint(length * ticks_per_beat)
    out["pitch"], out["velocity"] = pitch.astype(int), 80
    return out
