"""Everything but the comparison with PyTorch, in the rooms of the code it tests.
What several rooms need lies here on the ground.
"""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
# Real MIDI files, where there are any
SONGS = Path(os.environ.get("HID_SONGS", ROOT.parent / "shared" / "data" / "midi"))
GOLDEN = Path(os.environ.get("HID_GOLDEN", ROOT.parent / "shared" / "golden"))  # what v1.2.1 put out, where it is there
