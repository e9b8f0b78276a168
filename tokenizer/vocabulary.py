"""The 643 tokens as visible arithmetic: blocks of consecutive ids, in v1.2.1's order.

0-5 special | 6-222 chord | 223-238 position | 239-366 pitch | 367-495 track | 496-527 tempo
528-546 time signature | 547-610 duration | 611-642 velocity
"""

import hashlib

SPECIALS = ("PAD", "BOS", "EOS", "MASK", "SEP", "UNK")
PAD, BOS, EOS, MASK, SEP, UNK = range(6)

ROOTS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# fmt: off
QUALITIES = ("maj", "min", "dim", "aug", "7", "maj7", "min7", "dim7", "hdim7", "sus2", "sus4", "7sus4",
             "6", "min6", "9", "maj9", "min9", "5")
SIGNATURES = ((1, 4), (2, 4), (3, 4), (4, 4), (5, 4), (6, 4), (7, 4), (2, 2), (3, 2), (4, 2),
              (3, 8), (5, 8), (6, 8), (7, 8), (9, 8), (12, 8), (2, 8), (4, 8), (8, 8))
# fmt: on
TEMPOS_BPM = tuple(round(40 * (250 / 40) ** (i / 31)) for i in range(32))

N_CHORDS, N_POSITIONS, N_PITCHES, N_TRACKS = 1 + len(ROOTS) * len(QUALITIES), 16, 128, 129
N_TEMPOS, N_SIGNATURES, N_DURATIONS, N_VELOCITIES = len(TEMPOS_BPM), len(SIGNATURES), 64, 32

CHORD = len(SPECIALS)  # CHORD + 0 is N (no chord); CHORD + 1 + root * 18 + quality
POSITION = CHORD + N_CHORDS  # POSITION + step of the bar, 0..15
PITCH = POSITION + N_POSITIONS  # PITCH + MIDI pitch
TRACK = PITCH + N_PITCHES  # TRACK + 0 is drums; TRACK + 1 + program
TEMPO = TRACK + N_TRACKS  # TEMPO + bin
SIGNATURE = TEMPO + N_TEMPOS  # SIGNATURE + index into SIGNATURES
DURATION = SIGNATURE + N_SIGNATURES  # DURATION + grid steps - 1
VELOCITY = DURATION + N_DURATIONS  # VELOCITY + bin
SIZE = VELOCITY + N_VELOCITIES

NAMES: tuple[str, ...] = (
    *SPECIALS,
    "N",
    *(root + quality for root in ROOTS for quality in QUALITIES),
    *(f"T{i}" for i in range(N_POSITIONS)),
    *(f"P{i}" for i in range(N_PITCHES)),
    "#D",
    *(f"#P{i}" for i in range(N_PITCHES)),
    *(f"BPM_{i}" for i in range(N_TEMPOS)),
    *(f"TS_{n}/{d}" for n, d in SIGNATURES),
    *(f"L{i + 1}" for i in range(N_DURATIONS)),
    *(f"V{i}" for i in range(N_VELOCITIES)),
)
assert SIZE == len(NAMES) == 643

# Of everything a stored token's meaning hangs on; datasets and checkpoints carry it and refuse another.
FINGERPRINT = hashlib.sha256("\n".join([*NAMES, *map(str, TEMPOS_BPM)]).encode()).hexdigest()[:16]


def track_token(program: int) -> int:
    """Token of a track: program 0-127, or 128 for drums. Inverse: token_program."""
    return TRACK + (program + 1) % N_TRACKS


def token_program(token: int) -> int:
    """Program (128 drums) of a track token."""
    return (token - TRACK - 1) % N_TRACKS


def tempo_bin(bpm: float) -> int:
    """The nearest tempo bin, the lower one of two equally near. Inverse: TEMPOS_BPM[bin]."""
    return min(range(N_TEMPOS), key=lambda i: (abs(TEMPOS_BPM[i] - bpm), i))


def velocity_bin(velocity: int) -> int:
    """Bin 0-31 of a MIDI velocity; works on arrays. Inverse: bin_velocity."""
    return velocity * N_VELOCITIES // 128


def bin_velocity(bin_: int) -> int:
    """Middle MIDI velocity (2-126) of a bin; works on arrays."""
    return bin_ * 4 + 2
