"""How much room music usually takes: tokens a bar of a track by its instrument, and of a whole song.

The plan of a song (tokenizer/tokens/plan.py) gives each track its share of the room by these, and the sampler as much
room as what is asked usually takes.
"""

# Nine tracks in ten take at most so many tokens a bar; measured by benchmarks/tokens_per_bar.py on 2097 songs.
# fmt: off
_USUAL = (  # group, first program, end, tokens a bar
    ("drums", 128, 129, 60), ("bass", 32, 40, 27), ("piano", 0, 8, 27), ("guitar", 24, 32, 29), ("organ", 16, 24, 24),
    ("pads", 88, 96, 10), ("strings", 40, 52, 15), ("chromatic percussion", 8, 16, 27), ("winds", 56, 80, 13),
    ("leads", 80, 88, 28), ("synth effects", 96, 104, 14), ("the rest", 0, 128, 12),
)
# fmt: on
GROUPS = tuple(name for name, *_ in _USUAL)
SONG_TOKENS_PER_BAR = 152  # of all tracks of a song together, likewise
NEW_SONG_TOKENS, NEW_BARS = 4096, 32  # room for a song, and bars of one, whose length nobody asked for
MOST_TRACKS = 15  # of a song whose instruments nobody asked for: each has a channel of its own
FEWEST_BARS = 8  # that such a song may have, however little room there is


def group(program: int) -> str:
    """The group of instruments, in HID order, of a program 0-127 or of the drums (128)."""
    return _row(program)[0]


def tokens_per_bar(program: int) -> int:
    """What a track of this program (128: drums) usually takes at most."""
    return _row(program)[3]


def _row(program: int) -> tuple[str, int, int, int]:
    return next(row for row in _USUAL if row[1] <= program < row[2])
