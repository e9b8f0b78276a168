"""MIDI ports by their names, as mido opens them with python-rtmidi below it, which is the extra `live`."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mido

from configs import InputError

VIRTUAL = "virtual:"
INSTALL = "--port needs python-rtmidi: pip install 'hid-museformer[live]', or HID_EXTRAS=live before ./hid"
SEQUENCER = Path("/dev/snd/seq")  # Linux's; python-rtmidi plays on it
MAKE = f"--port {VIRTUAL}NAME makes one (Linux, macOS)"


def opened(name: str) -> Any:
    """The output port of this name, or whose name has this in it; one that is made of virtual:NAME. Raises InputError
    where it cannot be.
    """
    backend, own = _backend(), name.removeprefix(VIRTUAL)
    if name == VIRTUAL:
        raise InputError(f"--port {name}: the port that is made needs a name: --port {VIRTUAL}NAME")
    try:
        if name.startswith(VIRTUAL):
            return backend.open_output(own, virtual=True)
        return backend.open_output(named(name, backend.get_output_names()))
    except (OSError, ImportError, NotImplementedError) as error:  # rtmidi's own errors are OSErrors
        raise InputError(f"--port {name}: cannot be opened ({error})") from error


def _backend() -> mido.Backend:
    """Raises InputError where there is none to ask."""
    if importlib.util.find_spec("rtmidi") is None:
        raise InputError(INSTALL)
    if sys.platform == "linux" and not SEQUENCER.exists():
        raise InputError(f"--port: this machine has no ALSA sequencer ({SEQUENCER}), which MIDI ports need")
    return mido.Backend("mido.backends.rtmidi")


def named(name: str, there: Sequence[str]) -> str:
    """Which of the ports that are there is meant: of this name, or else the one of which it is a part, in capitals or
    not. Raises InputError that lists them.
    """
    ports = list(dict.fromkeys(there))
    if not ports:
        raise InputError(f"--port {name}: there is no MIDI port here; start what is to play first, or {MAKE}")
    wanted = name.casefold()
    for found in (
        [port for port in ports if port == name],
        [port for port in ports if port.casefold() == wanted],
        [port for port in ports if wanted and wanted in port.casefold()],
    ):
        if len(found) > 1:
            raise InputError(f"--port {name}: more than one is called so: {', '.join(found)}")
        if found:
            return found[0]
    raise InputError(f"--port {name}: there is no such port; there are: {', '.join(ports)}; {MAKE}")
