"""One model, many who ask: requests wait in a line, are told their place in it, and leave it when nobody listens any
more.

All that the model does happens in one thread, one event after the other, so nothing of two requests is ever mixed. A
request that is cancelled is closed there too, after at most the tokens between two looks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from configs import InputError
from jax_impl.page.writing import Event

MOST_WAITING = 32
STILL_HERE = 10.0  # seconds after which a word goes to a page that waits
END = object()
Making = Callable[[], Iterator[Event]]


class Busy(InputError):
    """So many wait already that one more makes no sense."""


class Line:
    """Use from one event loop alone."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._waiting: list[object] = []
        self._moved = asyncio.Event()

    @property
    def is_free(self) -> bool:
        return not self._waiting

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def submit(self, function: Callable, *arguments: object) -> Future:
        """Runs it in the thread of the model, when that is free."""
        return self._thread.submit(function, *arguments)

    async def events(self, make: Making) -> AsyncIterator[Event | None]:
        """The events of a request once its turn has come, and before its place in the line, whenever that changes;
        None where for long there is nothing to tell. Raises Busy, and what `make` and its iterator raise.
        """
        if len(self._waiting) >= MOST_WAITING:
            raise Busy(f"{MOST_WAITING} requests wait for the model already: try again in a minute")
        turn = object()
        self._waiting.append(turn)
        try:
            async for event in self._place(turn):
                yield event
            async for event in self._of(make()):
                yield event
        finally:
            self._waiting.remove(turn)
            self._moved.set()

    async def _place(self, turn: object) -> AsyncIterator[Event | None]:
        told = None
        while (ahead := self._waiting.index(turn)) > 0:
            yield Event("queued", {"ahead": ahead}) if ahead != told else None
            told = ahead
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), STILL_HERE)
            except TimeoutError:
                continue

    async def _of(self, events: Iterator[Event]) -> AsyncIterator[Event | None]:
        try:
            while True:
                coming = asyncio.wrap_future(self._thread.submit(next, events, END))
                while not (await asyncio.wait([coming], timeout=STILL_HERE))[0]:
                    yield None
                if (event := coming.result()) is END:
                    return
                yield event
        finally:
            with suppress(RuntimeError):  # the server ends, and all events with it
                self._thread.submit(events.close)  # behind the step that it may be at
