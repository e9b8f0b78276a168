"""The verb of the page."""

import importlib.util
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from configs import InputError
from jax_impl.cli import process

MOST_PORTS = 65535
NEEDED = ("starlette", "uvicorn")


def serve(
    run: Positional[Annotated[Path | None, arg(metavar="[RUN]")]] = None,
    port: int = 8765,
    host: str = "127.0.0.1",
    checkpoint: str = "best",
    browser: bool = True,
) -> int:
    """Open the page on which a song is written part by part: see it, let some bars be written anew, hear it, keep it.

    Needs the extra `page`; with the extra `sound` it sounds like instruments. Scripts find all that it does at /api.

    Args:
        run: the --output-dir of a training run, or a file of `export` (none: the model that comes with this program).
        port: of the page (0: any that is free).
        host: the address that is listened on; with another than 127.0.0.1 others on the network can use the page, by
            the link with a token that is printed.
        checkpoint: best (lowest validation loss), latest, or a step.
        browser: open the page in the browser.
    """
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise InputError(
            "serve needs a web server: pip install 'hid-museformer[page]', or HID_EXTRAS=page before ./hid"
        )
    if not 0 <= port <= MOST_PORTS:
        raise InputError(f"--port {port}: from 1 to {MOST_PORTS}, or 0 for any that is free")
    process.keep_programs()
    from jax_impl.page.server import serve as until_interrupted

    return until_interrupted(run, checkpoint, host, port, browser)
