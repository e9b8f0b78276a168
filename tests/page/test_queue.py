"""Requests wait in a line for the one model, know their place in it, and leave it when nobody listens."""

import asyncio
import threading

import pytest

from jax_impl.page import queue
from jax_impl.page.queue import Busy, Ended, Line
from jax_impl.page.writing import Event

ALIVE = []  # generators, which would else be closed when nobody has them any more


def making(log: list, name: str, steps: int = 3, go_on: threading.Event | None = None):
    def make():
        ALIVE.append(events())
        return ALIVE[-1]

    def events():
        try:
            for step in range(steps):
                if go_on:
                    go_on.wait(30)
                log.append((name, step))
                yield Event("bars", {"step": step})
        finally:
            log.append((name, "over"))

    return make


async def heard(line: Line, make) -> list:
    return [event and (event.name, *event.data.values()) async for event in line.events(make)]


def test_one_after_the_other_each_told_its_place():
    async def both():
        line, log, go_on = Line(), [], threading.Event()
        first = asyncio.create_task(heard(line, making(log, "a", go_on=go_on)))
        await asyncio.sleep(0)
        second = asyncio.create_task(heard(line, making(log, "b")))
        third = asyncio.create_task(heard(line, making(log, "c")))
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not line.is_free
        go_on.set()
        out = await asyncio.gather(first, second, third)
        assert line.is_free
        line.close()
        return out, log

    (first, second, third), log = asyncio.run(both())
    bars = [("bars", 0), ("bars", 1), ("bars", 2)]
    assert first == bars and second == [("queued", 1), *bars] and third == [("queued", 2), ("queued", 1), *bars]
    assert log == [(name, step) for name in "abc" for step in (0, 1, 2, "over")], "nothing of two is mixed"


def test_who_stops_listening_is_closed_and_the_next_one_begins():
    async def both():
        line, log = Line(), []
        first, second = line.events(making(log, "a", 1000)), asyncio.create_task(asyncio.sleep(0))
        assert (await anext(first)).data == {"step": 0}
        second = asyncio.create_task(heard(line, making(log, "b")))
        await asyncio.sleep(0.01)
        await first.aclose()
        await second
        line.close()
        return log

    log = asyncio.run(both())
    steps = [step for name, step in log if name == "a"]
    assert steps[-1] == "over" and len(steps) <= 4, "at most the step that it was at"
    assert log.index(("a", "over")) < log.index(("b", 0)) and log[-1] == ("b", "over")


def test_who_leaves_while_waiting_never_begins():
    async def both():
        line, log, go_on = Line(), [], threading.Event()
        first = asyncio.create_task(heard(line, making(log, "a", go_on=go_on)))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(heard(line, making(log, "b")))
        await asyncio.sleep(0.01)
        waiting.cancel()
        await asyncio.wait([waiting])
        go_on.set()
        await first
        assert line.is_free
        line.close()
        return log

    assert {name for name, _ in asyncio.run(both())} == {"a"}


def test_an_error_reaches_who_asked_and_the_line_goes_on():
    def broken():
        yield Event("begun", {})
        raise ValueError("no")

    async def both():
        line, log = Line(), []
        with pytest.raises(ValueError, match="no"):
            await heard(line, broken)
        out = await heard(line, making(log, "b"))
        line.close()
        return out

    assert len(asyncio.run(both())) == 3


def test_a_line_that_is_too_long_says_so(monkeypatch):
    monkeypatch.setattr(queue, "MOST_WAITING", 1)

    async def both():
        line, go_on = Line(), threading.Event()
        first = asyncio.create_task(heard(line, making([], "a", go_on=go_on)))
        await asyncio.sleep(0.01)
        with pytest.raises(Busy, match="try again"):
            await heard(line, making([], "b"))
        go_on.set()
        await first
        line.close()

    asyncio.run(both())


def test_a_page_that_waits_hears_that_the_server_is_there(monkeypatch):
    monkeypatch.setattr(queue, "STILL_HERE", 0.01)

    async def one():
        line, go_on = Line(), threading.Event()
        threading.Timer(0.2, go_on.set).start()
        out = await heard(line, making([], "a", 1, go_on))
        line.close()
        return out

    *still_here, last = asyncio.run(one())
    assert last == ("bars", 0) and still_here and set(still_here) == {None}


def test_at_the_end_of_the_server_all_that_is_written_ends_and_all_that_waits():
    async def both():
        line, log = Line(), []
        first = asyncio.create_task(heard(line, making(log, "a", 10**6)))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(heard(line, making(log, "b")))
        await asyncio.sleep(0.01)
        line.end()
        out = await asyncio.gather(first, second, return_exceptions=True)
        line.close()
        return out, log

    out, log = asyncio.run(both())
    assert [type(error) for error in out] == [Ended, Ended] and {name for name, _ in log} == {"a"}
