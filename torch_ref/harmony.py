"""Sums to the logits of chords and pitches by the chords before them, read from the tokens' names: by the semitones up
from a chord's root, and by qualities; "N" and none at all count as qualities without a root.
"""

import re

import torch
from torch import Tensor, nn

from tokenizer.tokens.fields import BACK, CHORD_CODES, chords_of
from tokenizer.vocabulary import NAMES, QUALITIES, ROOTS
from torch_ref.rows import Rows

BY_LENGTH = sorted(ROOTS, key=len, reverse=True)
_CHORD = re.compile(f"(?:({'|'.join(BY_LENGTH)})({'|'.join(map(re.escape, QUALITIES))})|N)")
CHORD_TOKENS = [token for token, name in enumerate(NAMES) if _CHORD.fullmatch(name)]
PITCH_TOKENS = [token for token, name in enumerate(NAMES) if re.fullmatch(r"P\d+", name)]
NO_ROOT = None
QUALITY_ROWS, NEXT_ROWS, SEMITONES = 20, 19, 12


def root_and_quality(code: int) -> tuple[int | None, int]:
    """Of what fields.chords_of gives."""
    if code == 0:
        return NO_ROOT, 19
    found = _CHORD.fullmatch(NAMES[CHORD_TOKENS[code - 1]])
    return (ROOTS.index(found[1]), QUALITIES.index(found[2])) if found[1] else (NO_ROOT, 18)


def up(root: int | None, other: int | None) -> int:
    """Semitones from the one to the other, 0 to 11."""
    return 0 if NO_ROOT in (root, other) else (other - root) % SEMITONES


class Harmony(nn.Module):
    def __init__(self):
        super().__init__()
        self.chords = nn.Parameter(torch.zeros(len(BACK) * QUALITY_ROWS * NEXT_ROWS * SEMITONES))
        self.pitches = nn.Parameter(torch.zeros(QUALITY_ROWS * SEMITONES))
        codes = [root_and_quality(code) for code in range(CHORD_CODES)]
        next_ = [
            [(quality * NEXT_ROWS + other) * SEMITONES + up(root, of_other) for of_other, other in codes[1:]]
            for root, quality in codes
        ]
        over = [
            [quality * SEMITONES + up(root, int(NAMES[token][1:])) for token in PITCH_TOKENS] for root, quality in codes
        ]
        self.next_index, self.over_index = torch.tensor(next_), torch.tensor(over)

    def forward(self, logits: Tensor, rows: Rows) -> Tensor:
        """[B, T, V]."""
        codes, sums = chords_of(rows.harmony), torch.zeros_like(logits)
        index = self.next_index.to(logits.device)
        for table, code in zip(self.chords.view(len(BACK), -1), codes, strict=True):
            sums[..., CHORD_TOKENS] = sums[..., CHORD_TOKENS] + table[index][code]
        over = self.pitches[self.over_index.to(logits.device)][codes[0]]
        sums[..., PITCH_TOKENS] = torch.where((rows.instrument < 128)[..., None], over, 0.0)
        return logits + sums
