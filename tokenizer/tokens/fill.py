"""What --fill asks of a given song: which bars of which of its tracks are hidden, to be written anew.

9-16                   these bars of all tracks; bars count from 1 as people count them, long measures as one
bass                   all bars of the bass, or of all basses, by what instruments are called
bass:9-16,#3:9-16      these bars of some tracks; #3 is the third one
"""

import re
from typing import NamedTuple

from configs import InputError
from tokenizer.grid.song import GridSong
from tokenizer.music import instruments
from tokenizer.tokens.encode import Hidden
from tokenizer.tokens.fields import MOST_HIDDEN

FLAG = "--fill"
EXAMPLES = "9-16, bass, or bass:9-16,piano:9-16"


class Item(NamedTuple):
    """Of what is asked one part. word: of tracks, "" all. first, last: measures from 1, 0 and 0 all."""

    word: str
    first: int
    last: int


def items(text: str, flag: str = FLAG) -> list[Item]:
    """The parts of what is asked. Raises InputError."""
    found = [_item(part.strip()) for part in re.split("[,;、，]", text) if part.strip()]
    if not found:
        raise InputError(f"{flag}: name bars or instruments, such as {EXAMPLES}")
    return found


def hidden_of(text: str, song: GridSong) -> Hidden:
    """The bars that are asked for. Raises InputError where the song has no such, or they are not one range."""
    tracks: dict[int, Item] = {}
    for item in items(text):
        if item.last > song.bars.n_measures:
            raise InputError(
                f"{FLAG} {text}: the given song has {song.bars.n_measures} bars; --continue adds some at its end"
            )
        asked = item if item.last else Item(item.word, 1, song.bars.n_measures)
        for track in _tracks(item.word, song):
            before = tracks.setdefault(track, asked)
            if before[1:] != asked[1:]:
                raise InputError(f"{FLAG} {text}: {_numbered(song, track)} is asked for twice")
    if len(tracks) > MOST_HIDDEN:
        raise InputError(f"{FLAG} {text}: that is {len(tracks)} tracks; at most {MOST_HIDDEN} at a time")
    ranges = {(item.first, item.last): item.word for item in tracks.values()}
    if len(ranges) > 1:
        said = " and ".join(f"{word or 'all tracks'} in bars {first}-{last}" for (first, last), word in ranges.items())
        raise InputError(f"{FLAG} {text}: {said}; one range of bars at a time: fill one, then the other in the result")
    ((first, last),) = ranges
    begins = [bar for bar, part in enumerate(song.bars.part.tolist()) if part == 0] + [len(song.bars)]
    return Hidden(begins[first - 1], begins[last], tuple(sorted(tracks)))


def _item(part: str) -> Item:
    """Raises InputError."""
    word, colon, bars = part.rpartition(":")
    is_bars = re.fullmatch(r"(\d{1,6})(?:\s*[-–]\s*(\d{1,6}))?", bars.strip())
    if not is_bars:
        if colon or not bars:
            raise InputError(f"{FLAG}: {bars.strip()!r} in {part!r} are no bars; write them as 9-16, as in {EXAMPLES}")
        return Item(part, 0, 0)
    first, last = int(is_bars[1]), int(is_bars[2] or is_bars[1])
    if colon and not word.strip():
        raise InputError(f"{FLAG}: name the instrument before the colon of {part!r}, as in {EXAMPLES}")
    if not 1 <= first <= last:
        raise InputError(f"{FLAG} {part}: bars count from 1, the first before the last, as in {EXAMPLES}")
    return Item(word.strip(), first, last)


def _tracks(word: str, song: GridSong) -> list[int]:
    """Numbers of the tracks that a word means. Raises InputError."""
    programs = [track.program for track in song.tracks]
    numbered = re.fullmatch(r"#\s*(\d{1,6})", word)
    if not word or numbered:
        which = range(len(programs)) if not word else [int(numbered[1]) - 1]
        found = [number for number in which if 0 <= number < len(programs)]
    else:
        found = _named(word, programs)
    if not found:
        there = ", ".join(f"#{number} {instruments.name(program)}" for number, program in enumerate(programs, start=1))
        raise InputError(f"{FLAG}: the given song has no {word}; its tracks are {there}")
    return found


def _named(word: str, programs: list[int]) -> list[int]:
    """Of the family that the word is for, else of that instrument, else of those that it may mean."""
    if not (meant := instruments.meant(word)):
        return []
    means = instruments.family(word) or (meant.program, *([] if meant.is_name else meant.others))
    return [number for number, program in enumerate(programs) if program in means]


def told(hidden: Hidden, song: GridSong) -> str:
    """Which bars of which tracks are written anew."""
    first, last = (int(song.bars.measure[bar]) + 1 for bar in (hidden.first, hidden.stop - 1))
    tracks = ", ".join(_numbered(song, track) for track in hidden.tracks)
    of_tracks = "all tracks" if len(hidden.tracks) == len(song.tracks) else tracks
    return f"bars {first}-{last} of {of_tracks} are written anew"


def _numbered(song: GridSong, track: int) -> str:
    return f"#{track + 1} {instruments.name(song.tracks[track].program)}"
