"""Ctrl-C (SIGINT) at any moment. Python raises KeyboardInterrupt wherever the main thread happens to be. Inside an
import a compiled library may crash of it, and inside a hook of the garbage collector it is lost and the program goes
on; so there it waits until that is over.
"""

import gc
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType

AGAIN_SECONDS = 0.02
IMPORT = "<frozen importlib._bootstrap>"  # the file of what imports


def settle(main: Callable) -> None:
    """From now on, and while `main` runs. In another thread than the main one nothing is changed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, partial(_interrupt, main.__code__))


def _interrupt(main: CodeType, _number: int, frame: FrameType | None) -> None:
    """Raises KeyboardInterrupt, now or as soon as it does no harm."""
    hooks = [getattr(hook, "__code__", None) for hook in gc.callbacks]
    while frame is not None and frame.f_code is not main:
        if frame.f_code.co_filename == IMPORT or frame.f_code in hooks:
            later = threading.Timer(AGAIN_SECONDS, signal.raise_signal, [signal.SIGINT])
            later.daemon = True
            later.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
