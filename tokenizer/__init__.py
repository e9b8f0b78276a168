"""MIDI <-> Score <-> grid <-> tokens. What most people need:

    score = tokenizer.read("song.mid")
    score = tokenizer.align(score).score  # its beats where the music has them
    tokens = tokenizer.encode(score)  # ids and fields, int32 arrays
    assert tokenizer.decode(tokens.ids) == tokenizer.snap(score)  # for every score, not up to a tolerance
    tokenizer.write(tokenizer.decode(tokens.ids), "back.mid")

The rooms below are imported by name: music, grid, tokens, and dataset, which alone needs pyarrow.
"""

from tokenizer.grid.align import Aligned, align
from tokenizer.grid.quantize import snap
from tokenizer.music.midi import read, write
from tokenizer.music.score import Score
from tokenizer.tokens.decode import decode
from tokenizer.tokens.encode import encode

__all__ = ["Aligned", "Score", "align", "decode", "encode", "read", "snap", "write"]
