"""The song that a user gives to be continued or accompanied: on the grid, transposed, and as much of it as is kept.
A plan (tokenizer/tokens/plan.py) is made of it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from configs import Constraints, InputError
from tokenizer import vocabulary as vocab
from tokenizer.grid.align import Aligned
from tokenizer.grid.chords import bar_chords
from tokenizer.grid.meter import N_PARTS, Bars
from tokenizer.grid.quantize import on_grid, quantize
from tokenizer.grid.song import GridSong, GridTrack
from tokenizer.grid.tempo_map import Tempos, own_tempos
from tokenizer.music.messages import GivenFile
from tokenizer.music.score import DRUMS, Score, Tempo
from tokenizer.tokens import fields, grammar, names
from tokenizer.tokens.crop import crop
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import Hidden, encode_grid, encode_song, grid_song
from tokenizer.tokens.fill import hidden_of
from tokenizer.tokens.own_time import OwnTime


class Prompt(NamedTuple):
    """A given song before any change, as it can be kept: its tokens, its own tempo map in ticks of the grid (empty: the
    tokens' tempi), and of a score or file its own time, in which it comes back.
    """

    ids: np.ndarray  # int32[T]
    tempos: Tempos
    own: OwnTime | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """A given song; its len() is its number of bars, which are parts of measures where those are long. One that goes on
    has whole measures. own: what comes back of it in its own time; None of tokens, which come back on the grid.
    hidden: bars that are written anew, with notes of the given song there; None: none.
    """

    song: GridSong
    chords: np.ndarray  # int32[bars], as bar_chords numbers them
    tempos: Tempos  # of the song itself, in ticks of the grid
    own: OwnTime | None = None
    hidden: Hidden | None = None

    def __len__(self) -> int:
        return len(self.song.bars)

    @property
    def measures(self) -> int:
        """What people call its bars."""
        return self.song.bars.n_measures

    @property
    def begins(self) -> np.ndarray:
        """int64[measures + 1]: the bar with which each measure begins, and where the song ends."""
        return np.append(np.flatnonzero(self.song.bars.part == 0), len(self))


def prompt_of(song: Score | np.ndarray | Prompt) -> Prompt:
    """A song as it is given: a score, its beats where it says, its tokens int32[T], or a Prompt. Raises
    ScoreTooLong.
    """
    if isinstance(song, Prompt):
        return song
    if isinstance(song, Score):
        return aligned_prompt(song, Aligned(song, "none"))
    return Prompt(song, ())


def aligned_prompt(score: Score, aligned: Aligned, file: GivenFile | None = None) -> Prompt:
    """A score as it is given, its beats where they were found. file: that it was read from, None of one that is none,
    or cannot take new notes. Raises ScoreTooLong.
    """
    found = on_grid(aligned.score)
    own = OwnTime.of(score, aligned, found, file)
    return Prompt(encode_grid(found.song).ids, own_tempos(aligned.score, found.layout), own)


def given_song(prompt: Score | np.ndarray | Prompt | None, wanted: Constraints) -> Given | None:
    """What is kept of a given song, on the grid, or None. prompt: a song that is continued, or accompanied where
    wanted.add says by what, or written anew in the bars of wanted.fill. Raises InputError, also where what is wanted
    cannot be of such a song.
    """
    if prompt is None:
        _refuse(wanted, ("add", "keep_bars"), "needs a given song: --continue or --accompany FILE")
        _refuse(wanted, ("fill",), "needs a given song: --song FILE")
        if wanted.transpose and not wanted.chords:
            raise InputError("--transpose moves a given song or --chords; neither is there")
        return None
    _refuse(wanted, ("instruments",), "cannot change a given song; --accompany FILE --add adds instruments to one")
    _refuse(wanted, ("tempo", "meter"), "cannot change a given song, which keeps its own")
    return _kept(_on_grid(prompt_of(prompt), wanted), wanted)


def _refuse(wanted: Constraints, fields_: tuple[str, ...], why: str) -> None:
    for field in fields_:
        if getattr(wanted, field):
            raise InputError(f"--{field.replace('_', '-')} {why}")


def _on_grid(prompt: Prompt, wanted: Constraints) -> Given:
    """The given song on the grid and the chords of its bars, transposed."""
    ids = prompt.ids
    if not _is_as_encoded(ids):
        grammar.check(ids)
    if ids[-1] != vocab.EOS:
        raise InputError(f"the given tokens end in {vocab.NAMES[ids[-1]]}, not in EOS: give a whole song")
    song, chords = grid_song(fields.compute(ids))
    if not song.tracks:
        raise InputError("the given song has no notes")
    tempos, own = prompt.tempos or song.to_score().tempos, prompt.own
    if wanted.transpose:
        song = _transposed(song, wanted.transpose)
        own = own.transposed(wanted.transpose) if own else None
        chords = np.array([names.transposed_chord(int(chord), wanted.transpose) for chord in chords])
    hidden = hidden_of(wanted.fill, song) if wanted.fill else None
    if wanted.chords and (wanted.add or hidden):
        anew = slice(hidden.first, hidden.stop) if hidden else slice(None)
        measure = song.bars.measure[anew] - song.bars.measure[anew][0]
        chords[anew] = chord_pattern(wanted, int(measure[-1]) + 1)[measure]
    return Given(song, chords, tempos, own, hidden)


def _is_as_encoded(ids: np.ndarray) -> bool:
    """Whether the encoder writes these tokens of the song that they mean. Such are grammatical, which to see token by
    token takes seconds.
    """
    try:
        _, chords = grid_song(fields.compute(ids))
        song = quantize(decode(ids))
        return np.array_equal(encode_song(song, chords[: len(song.bars)]).ids, ids)
    except (IndexError, ValueError):  # grid_song is for grammatical tokens
        return False


def _transposed(song: GridSong, semitones: int) -> GridSong:
    """All but its drums so many semitones higher. Raises InputError where MIDI has no such pitch."""
    tracks = []
    for track in song.tracks:
        notes = track.notes.copy()
        if track.program != DRUMS:
            notes["pitch"] += semitones
            if not (0 <= notes["pitch"].min() and notes["pitch"].max() <= 127):
                raise InputError(f"--transpose {semitones} moves notes out of the MIDI range 0 to 127")
        tracks.append(GridTrack(track.program, notes))
    return GridSong(song.bars, song.tempo, tuple(tracks))


def chord_pattern(wanted: Constraints, measures: int) -> np.ndarray:
    """int32[measures]: the chords asked for, transposed and repeated, as bar_chords numbers them. Raises InputError."""
    pattern = [names.transposed_chord(chord, wanted.transpose) for chord in names.chords(wanted.chords, "--chords")]
    return np.resize(np.array(pattern, np.int32), measures)


def _kept(given: Given, wanted: Constraints) -> Given:
    """What is kept: of a continuation the first keep_bars measures or all of them, else the song."""
    if wanted.fill:
        _refuse(wanted, ("add",), "plays along with a song, --fill writes bars of it anew: one after the other")
    if wanted.add or wanted.fill:
        _refuse(wanted, ("keep_bars",), "is for --continue; --accompany and --fill keep all bars")
        return given
    if wanted.keep_bars > given.measures:
        raise InputError(f"--keep-bars {wanted.keep_bars}: the given song has {_bars(given.measures)}")
    given = _of_whole_measures(given)
    kept = window(given, 0, wanted.keep_bars) if wanted.keep_bars else given
    if given.own is None:
        return kept
    return replace(kept, own=given.own.first(len(kept)).until(int(kept.song.bars.start_ticks[-1])))


def _of_whole_measures(given: Given) -> Given:
    """The song with the silent rest of its last measure: a song ends with the part in which its last note begins."""
    bars, last = given.song.bars, given.song.bars.signature[-1]
    missing = int(N_PARTS[last] - 1 - bars.part[-1])
    if not missing:
        return given
    song = GridSong(
        Bars(np.append(bars.signature, [last] * missing)),
        np.append(given.song.tempo, [given.song.tempo[-1]] * missing),
        given.song.tracks,
    )
    heard = bar_chords(song.to_score(), song.bars.start_ticks)
    return replace(given, song=song, chords=np.append(given.chords, heard[-missing:]))


def window(given: Given, first: int, measures: int) -> Given:
    """So many measures of a song on the grid, silent ones too, from the measure `first` on, which counts from 0. Raises
    InputError where they hold no note.
    """
    begin, end = given.begins[[first, first + measures]].tolist()
    song, chords = grid_song(crop(encode_song(given.song, given.chords), begin, end - begin))
    if not song.tracks:
        which = f"the bars {first + 1} to {first + measures}" if measures > 1 else f"bar {first + 1}"
        raise InputError(f"{which} of the given song {'hold' if measures > 1 else 'holds'} no note; keep others")
    silent = np.arange(begin + len(song.bars), end)  # a crop ends with its last note
    signature = np.concatenate([song.bars.signature, given.song.bars.signature[silent]])
    tempo = np.concatenate([song.tempo, given.song.tempo[silent]])
    chords = np.concatenate([chords, given.chords[silent]])
    starts = given.song.bars.start_ticks
    tempos = between(given.tempos, int(starts[begin]), int(starts[end]))
    return Given(GridSong(Bars(signature), tempo, song.tracks), chords, tempos)


def _bars(count: int) -> str:
    return "1 bar" if count == 1 else f"{count} bars"


def between(tempos: Tempos, start: int, end: int) -> Tempos:
    """The tempo map of the time from tick `start` to before tick `end`, counted from its start."""
    (*_, at_start) = (tempo for tempo in tempos if tempo.tick <= start)
    later = [tempo for tempo in tempos if start < tempo.tick < end]
    return tuple(Tempo(max(tempo.tick - start, 0), tempo.microseconds_per_beat) for tempo in (at_start, *later))
