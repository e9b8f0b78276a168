"""Ctrl-C (SIGINT) at any moment. Python raises KeyboardInterrupt wherever the main thread happens to be. Inside an
import a compiled library may crash of it, and inside a hook of the garbage collector it is lost and the program goes
on; so there it waits until that is over.
"""

import signal
import threading
from types import FrameType

AGAIN_SECONDS = 0.02
IMPORT = "<frozen importlib._bootstrap>"  # the file of what imports
HOOKS = {"_xla_gc_callback"}  # JAX's


def settle() -> None:
    """From now on. In another thread than the main one nothing is changed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)


def interrupt(_number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, now or as soon as it does no harm."""
    while frame is not None:
        if frame.f_code.co_filename == IMPORT or frame.f_code.co_name in HOOKS:
            later = threading.Timer(AGAIN_SECONDS, signal.raise_signal, [signal.SIGINT])
            later.daemon = True
            later.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
