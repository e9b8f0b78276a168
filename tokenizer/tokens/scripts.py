"""The scripts of plans (plan.py draws them): tokens that are given, and FREE where the model writes."""

import numpy as np

from configs import Constraints
from tokenizer import vocabulary as vocab
from tokenizer.grid.song import HID_RANK
from tokenizer.tokens import names
from tokenizer.tokens.encode import encode_song
from tokenizer.tokens.given import Given
from tokenizer.tokens.grammar import CHORD, CLASS, EOS, TRACK

FREE, NOTHING = -1, -2  # the model writes; past the script's end


def new(wanted: Constraints) -> list[int]:
    """Of a song that nobody gave, of the instruments that are asked for. Raises InputError."""
    if not wanted.instruments:
        return [vocab.BOS, FREE]
    return [vocab.BOS, FREE, *_free_tracks(names.programs(wanted.instruments, "--instruments")), vocab.EOS]


def _free_tracks(programs: list[int]) -> list[int]:
    order = sorted(programs, key=HID_RANK.__getitem__)
    return [token for program in order for token in (vocab.track_token(program), vocab.SEP, FREE)]


def accompanied(given: Given, programs: list[int], behind: int = 0) -> list[int]:
    """The given song's tracks, then new ones of these programs. behind: bars that the song's last tracks, which are the
    new ones, have already.
    """
    if not behind:
        return [*encode_song(given.song, given.chords).ids[:-1].tolist(), *_free_tracks(programs), vocab.EOS]
    return continued(given, len(given.song.tracks) - len(programs), behind)


def filled(given: Given) -> list[int]:
    """The given song with its hidden bars as MASK, then their tracks again."""
    ids = encode_song(given.song, given.chords, given.hidden).ids
    shown = ids[: int(np.argmax(ids == vocab.UNK))].tolist()
    tracks = [vocab.track_token(given.song.tracks[track].program) for track in given.hidden.tracks]
    return [*shown, *(token for name in tracks for token in (vocab.UNK, name, vocab.SEP, FREE)), vocab.EOS]


def continued(given: Given, first_track: int = 0, bars: int | None = None) -> list[int]:
    """Every track from first_track on goes on after its kept bars, of which there are so many (None: all of the song);
    one that was silent in the last of them has them as silent bars.
    """
    ids, script, bar, tracks = encode_song(given.song, given.chords).ids.tolist(), [], 0, 0
    chords = vocab.TOKEN[CHORD][given.chords[:bars]].tolist()
    for token in ids:
        if CLASS[token] in (TRACK, EOS):
            if tracks > first_track:
                script += [*chords[bar:], FREE]
            tracks += 1
        bar = 0 if CLASS[token] == TRACK else bar + (CLASS[token] == CHORD)
        script.append(token)
    return script
