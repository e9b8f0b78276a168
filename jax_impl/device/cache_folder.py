"""Where what is made once is kept for the next time: compiled programs, what training songs hold. Imports no JAX."""

import os
from pathlib import Path
from typing import NamedTuple

from configs import InputError

VARIABLE, NONE = "HID_CACHE", "none"
OTHERWISE = f"name another folder for what is kept, or {NONE}"


class Kept(NamedTuple):
    """A folder, and whether the user named it."""

    folder: Path
    is_named: bool


def kept() -> Kept | None:
    """As HID_CACHE says, or in the user's cache folder (XDG_CACHE_HOME); None: nothing is kept. Raises InputError where
    HID_CACHE names nobody's home.
    """
    if named := os.environ.get(VARIABLE, "").strip():
        try:
            return None if named.lower() == NONE else Kept(Path(named).expanduser().absolute(), True)
        except RuntimeError as error:
            raise InputError(f"{VARIABLE} {named}: there is no such home; {OTHERWISE}") from error
    caches = os.environ.get("XDG_CACHE_HOME", "")
    try:
        home = Path(caches) if os.path.isabs(caches) else Path.home() / ".cache"
    except RuntimeError:  # this user has no home
        return None
    return Kept(home / "hid-museformer", False)
