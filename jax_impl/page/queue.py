"""One model, many who ask: requests wait in a line, are told their place in it, and leave it when nobody listens any
more.

All that the model does happens in one thread, one event after the other, so nothing of two requests is ever mixed. A
request that is cancelled is closed there too, after at most the tokens between two looks.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress

from configs import InputError
from jax_impl.page.writing import Event

MOST_WAITING = 32
STILL_HERE = 10.0  # seconds after which a word goes to a page that waits
END = object()
Making = Callable[[], Iterator[Event]]


class Busy(InputError):
    """So many wait already that one more makes no sense."""


class Ended(InputError):
    """The server ends while a request is worked on."""


class Line:
    """Use from one event loop alone."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._waiting: list[object] = []
        self._moved, self._ended = asyncio.Event(), asyncio.Event()

    @property
    def is_free(self) -> bool:
        return not self._waiting

    def end(self) -> None:
        """All that is worked on ends, and all that waits: each raises Ended."""
        self._ended.set()
        self._moved.set()

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
            for coming in (self._place(turn), self._of(make())):
                async with aclosing(coming):
                    async for event in coming:
                        yield event
        finally:
            self._waiting.remove(turn)
            self._moved.set()

    async def _place(self, turn: object) -> AsyncIterator[Event | None]:
        told = None
        while (ahead := self._waiting.index(turn)) > 0:
            yield Event("queued", {"ahead": ahead}) if ahead != told else None
            told = ahead
            self._refuse_at_the_end()
            self._moved.clear()
            try:
                await asyncio.wait_for(self._moved.wait(), STILL_HERE)
            except TimeoutError:
                continue

    def _refuse_at_the_end(self) -> None:
        if self._ended.is_set():
            raise Ended("the server was ended; your song is safe in this browser")

    async def _of(self, events: Iterator[Event]) -> AsyncIterator[Event | None]:
        ending = asyncio.ensure_future(self._ended.wait())
        try:
            while True:
                self._refuse_at_the_end()
                coming = asyncio.wrap_future(self._thread.submit(next, events, END))
                while not (
                    await asyncio.wait([coming, ending], timeout=STILL_HERE, return_when=asyncio.FIRST_COMPLETED)
                )[0]:
                    yield None
                self._refuse_at_the_end()
                if (event := coming.result()) is END:
                    return
                yield event
        finally:
            ending.cancel()
            with suppress(RuntimeError):  # the server ends, and all events with it
                self._thread.submit(events.close)  # behind the step that it may be at
