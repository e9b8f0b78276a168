"""Programs that are compiled, or fetched from where they are kept, before anybody waits for them: those of a new song
and of all that is done to a given one, a few tokens of each.
"""

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import Future

from configs import InputError
from jax_impl.page.model import Model
from jax_impl.page.queue import Line
from jax_impl.page.requests import Write
from jax_impl.page.writing import written
from tokenizer.music import midi
from tokenizer.music.composer import compose

ASKED = (  # alternatives side by side, and one alone; with nothing that must hold in the notes, and with something
    {"action": "new", "bars": 8, "instruments": "bass,piano"},
    {"action": "rewrite"},
    {"action": "new", "bars": 8, "instruments": "bass,piano", "density": "0-32"},
    {"action": "rewrite", "density": "0-32"},
    {"action": "continue", "bars": 4, "alternatives": 1},
    {"action": "continue", "bars": 4, "alternatives": 1, "density": "0-32"},
    {"action": "continue", "bars": 4},
    {"action": "continue", "bars": 4, "density": "0-32"},
    {"action": "new", "bars": 48, "instruments": "drums,bass,piano"},
    {"action": "new", "bars": 48, "instruments": "drums,bass,piano", "density": "0-32"},
)
A_MOMENT = 0.2  # seconds between two looks whether somebody waits


async def warm(model: Model, line: Line) -> None:
    """Whenever nobody waits, one program more."""
    loop = asyncio.get_running_loop()
    song = await loop.run_in_executor(None, _song)
    for asked in ASKED:
        while not line.is_free:
            await asyncio.sleep(A_MOMENT)
        done: Future = line.submit(_begin, model, song, asked)
        await asyncio.wrap_future(done)


def _song() -> dict:
    """A short one of the built-in composer."""
    raw, _ = midi.to_bytes(compose(0), "a song")
    return {"midi": base64.b64encode(raw).decode("ascii"), "beats": None}


def _begin(model: Model, song: dict, asked: dict) -> None:
    """A request up to its first bars: what it needs is there by then."""
    if asked["action"] != "new":
        asked = asked | {"song": song}
    if asked["action"] == "rewrite":
        asked = asked | {"tracks": [0], "first": 2, "last": 3}
    tracks, enough = set(), 2 if asked["action"] == "continue" else 1  # where the others are written into its bars
    try:
        events: Iterator = written(model, Write.of(asked | {"seed": 0}))
        for event in events:
            tracks.update(bar["track"] for bar in event.data.get("bars", ()))
            if len(tracks) >= enough:
                break
        events.close()
    except InputError:  # as of a model that fills none: who asks for it is told
        return
