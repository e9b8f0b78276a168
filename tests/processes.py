"""Processes that tests start as a user would."""

import os


def environment(**variables: str) -> dict[str, str]:
    """Of a process for which nobody has said where programs are kept."""
    ours = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "HID_CACHE", "XDG_CACHE_HOME")
    return {name: value for name, value in os.environ.items() if name not in ours} | variables
