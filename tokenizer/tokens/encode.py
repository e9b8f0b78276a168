"""Score to tokens: track by track, bar by bar. tokenizer.encode; prepare and given songs go through it.

    BOS BPM_x TS_y { track SEP { chord [TS_z] [BPM_w] { T_p { P [L] [V] } } } } EOS

The first track has every bar of the song and says where signature and tempo change; the others go from bar 0 to their
last note's bar. T is written where the position changes within a bar, L and V where they differ from the last ones of
the track.
"""

from dataclasses import dataclass

import numpy as np

from tokenizer import vocabulary as vocab
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.meter import Bars
from tokenizer.grid.quantize import quantize
from tokenizer.grid.song import GRID_NOTE, GridSong, GridTrack
from tokenizer.music.score import Score
from tokenizer.tokens import fields
from tokenizer.tokens.fields import TokenFields
from tokenizer.vocabulary import CLASS, TOKEN, VALUE, Class


def encode(score: Score) -> TokenFields:
    """Tokens of any score, snapped first: decode(encode(x).ids) == snap(x). Raises ScoreTooLong."""
    return encode_grid(quantize(score))


def encode_grid(song: GridSong) -> TokenFields:
    """Tokens of a song on the grid, chords found from its notes."""
    return encode_song(song, bar_chords(song.to_score(), song.bars.start_ticks))


@dataclass(frozen=True)
class Hidden:
    """Bars first .. stop - 1 of some tracks, by their numbers in the song, each of which has a note there. They are
    said at the song's end; where they stood there is a MASK each.
    """

    first: int
    stop: int
    tracks: tuple[int, ...]


def encode_song(song: GridSong, chords: np.ndarray, hidden: Hidden | None = None) -> TokenFields:
    """Tokens of a song on the grid with the chords int[bars] of its bars, as bar_chords numbers them. Inverse:
    grid_song. Its tracks come in the song's order. hidden: what is hidden of it and said at the end (all of it):

        track SEP { chord [TS] [BPM] MASK } ...     UNK track SEP { chord { T { P [L] [V] } } }   EOS
        bars before, hidden ones, bars after ...    for each hidden track in order its hidden bars
    """
    header = [vocab.BOS, TOKEN[Class.TEMPO][song.tempo[0]], TOKEN[Class.SIGNATURE][song.bars.signature[0]]]
    openings = _bar_openings(song, chords)
    parts, said_at_end = [np.array(header, np.int32)], []
    for index, track in enumerate(song.tracks):
        name = np.array([vocab.track_token(track.program), vocab.SEP], np.int32)
        if index == 1:
            openings[:, [SIGNATURE_AT, TEMPO_AT]] = UNSAID  # meter and tempo are said once, by the first track
        notes, of_track = track.notes, openings
        if hidden and index in hidden.tracks:
            bars = np.arange(hidden.first, hidden.stop)
            is_hidden = (notes["bar"] >= hidden.first) & (notes["bar"] < hidden.stop)
            said = np.full((len(bars), openings.shape[1]), UNSAID)
            said[:, 0] = openings[bars, 0]
            said_at_end += [np.array([vocab.UNK], np.int32), name, _encode_notes(notes[is_hidden], said, bars)]
            notes, of_track = notes[~is_hidden], openings.copy()
            of_track[bars, MASK_AT] = vocab.MASK
        last = max(int(notes["bar"].max(initial=0)), int(np.flatnonzero(of_track[:, MASK_AT] >= 0).max(initial=0)))
        bars = np.arange(len(song.bars) if index == 0 else last + 1)
        parts += [name, _encode_notes(notes, of_track[bars], bars)]
    parts += [*said_at_end, np.array([vocab.EOS], np.int32)]
    return fields.compute(np.concatenate(parts))


UNSAID = -1  # in a table of tokens, where none is written
SIGNATURE_AT, TEMPO_AT, MASK_AT = 1, 2, 3  # columns of what opens a bar, after its chord


def _bar_openings(song: GridSong, chords: np.ndarray) -> np.ndarray:
    """int32[bars, 4] chord, signature, tempo and MASK that begin each bar of the first track, a row as wide as a
    note's; what is not new is UNSAID, and so is MASK.
    """
    signature = np.where(_differs(song.bars.signature), TOKEN[Class.SIGNATURE][song.bars.signature], UNSAID)
    tempo = np.where(_differs(song.tempo), TOKEN[Class.TEMPO][song.tempo], UNSAID)
    signature[0] = tempo[0] = UNSAID  # the header says them
    return np.stack([TOKEN[Class.CHORD][chords], signature, tempo, np.full_like(tempo, UNSAID)], axis=1)


def _encode_notes(notes: np.ndarray, openings: np.ndarray, bars: np.ndarray) -> np.ndarray:
    """int32[]: the tokens of notes GRID_NOTE[N] in these bars int[bars], which begin with openings int32[bars, 4]. One
    row for each bar and each note, in the order of the song:

        opening of bar 0   Cmaj   -    -    -
        note               T0     P60  L4   V20      ->   Cmaj T0 P60 L4 V20 P64 T8 P67 Gmaj T0 P67
        note               -      P64  -    -
        note               T8     P67  -    -
        opening of bar 1   Gmaj   -    -    -
        note               T0     P67  -    -

    A note behind a hidden bar says its duration and velocity anew.
    """
    has_moved = _differs(notes["bar"]) | _differs(notes["step"])
    hidden_before = np.searchsorted(bars[openings[:, MASK_AT] != UNSAID], notes["bar"])
    says_anew = _differs(hidden_before)
    position = np.where(has_moved, TOKEN[Class.POSITION][notes["step"]], UNSAID)
    pitch = TOKEN[Class.PITCH][notes["pitch"]]
    says_duration, says_velocity = (says_anew | _differs(notes[name]) for name in ("duration", "velocity"))
    duration = np.where(says_duration, TOKEN[Class.DURATION][notes["duration"]], UNSAID)
    velocity = np.where(says_velocity, TOKEN[Class.VELOCITY][notes["velocity"]], UNSAID)
    rows = np.concatenate([openings, np.stack([position, pitch, duration, velocity], axis=1)])
    bar = np.concatenate([bars, notes["bar"]])
    tokens = rows[np.argsort(bar, kind="stable")].reshape(-1)  # stable: the opening before its bar's notes
    return tokens[tokens != UNSAID].astype(np.int32)


def _differs(values: np.ndarray) -> np.ndarray:
    """bool[N]: differs from the one before; the first always does."""
    return np.concatenate([np.ones(min(len(values), 1), bool), values[1:] != values[:-1]])


def _in_force(ids: np.ndarray, class_: int, at: np.ndarray) -> np.ndarray:
    """int[]: what the last token of a class up to each place says."""
    last = np.maximum.accumulate(np.where(CLASS[ids] == class_, np.arange(len(ids)), 0))
    return VALUE[ids[last[at]]]


def bar_maps(tokens: TokenFields) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Signature, tempo and chord, int32[bars] each, of the bars of well-formed tokens (one bar where there is no
    track).
    """
    tracks = np.flatnonzero(CLASS[tokens.ids] == Class.TRACK)
    ids = tokens.ids[: tracks[1]] if len(tracks) > 1 else tokens.ids  # the first track says it
    chord_at = np.flatnonzero(CLASS[ids] == Class.CHORD)
    ends = np.append(chord_at[1:], len(ids))[: max(len(chord_at), 1)] - 1
    chords = VALUE[ids[chord_at]] if len(chord_at) else np.zeros(1, np.int32)
    return _in_force(ids, Class.SIGNATURE, ends), _in_force(ids, Class.TEMPO, ends), chords


def grid_song(tokens: TokenFields) -> tuple[GridSong, np.ndarray]:
    """The song and the chords int32[bars] of well-formed tokens, vectorised. Inverse of encode_song; for any other ids
    see decode.
    """
    ids = tokens.ids
    pitch = np.flatnonzero(CLASS[ids] == Class.PITCH)
    after = np.append(pitch[1:] - 1, len(ids) - 1)[: len(pitch)]  # a note's L and V stand before the next pitch
    notes = np.empty(len(pitch), GRID_NOTE)
    notes["bar"], notes["pitch"] = tokens.bar[pitch], VALUE[ids[pitch]]
    notes["step"] = _in_force(ids, Class.POSITION, pitch)
    notes["duration"] = _in_force(ids, Class.DURATION, after)
    notes["velocity"] = _in_force(ids, Class.VELOCITY, after)
    track_starts = np.flatnonzero(CLASS[ids] == Class.TRACK)
    of_section = np.searchsorted(track_starts, pitch, side="right") - 1
    shown = len(track_starts) - int((ids == vocab.UNK).sum())  # sections behind say the hidden bars of some tracks
    hidden = np.unique(np.searchsorted(track_starts, np.flatnonzero(ids == vocab.MASK), side="right") - 1)
    of_track = np.concatenate([np.arange(shown), hidden])[of_section]
    tracks = []
    for number, start in enumerate(track_starts[:shown].tolist()):
        own = notes[of_track == number]
        if number in hidden:
            own = own[np.lexsort((own["pitch"], own["step"], own["bar"]))]
        tracks.append(GridTrack(int(VALUE[ids[start]]), own))
    signature, tempo, chords = bar_maps(tokens)
    return GridSong(Bars(signature), tempo, tuple(tracks)), chords
