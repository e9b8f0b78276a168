"""Songs and magnified weights that both implementations are compared on."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))  # rows.py: small grammatical songs
torch.set_num_threads(2)
