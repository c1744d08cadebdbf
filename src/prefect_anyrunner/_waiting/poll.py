"""The two loops that wait: one blocks a thread, the other one an asyncio task."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._waiting.runs import Ended
from prefect_anyrunner._waiting.wait_set import Waiting

T = TypeVar("T")

TURN = 0.05
"""Seconds that an event loop may stand still at a time, where a worker is lent to others only meanwhile (Ray)."""


def _rounds(waiting: Waiting, *, lend: bool = False) -> Iterator[list[Ended]]:
    """Yield what has ended, time and again, until nothing is open; with `lend` free this worker during each wait."""
    inbox: queue.SimpleQueue[int] = queue.SimpleQueue()
    yield waiting.subscribe(inbox.put)
    while waiting.open and waiting.deadline.remaining() > 0:
        keys = []
        with suppress(queue.Empty):
            if lend:
                with waiting.blocking():
                    waiting.lend()
                    keys.append(inbox.get(timeout=waiting.pause()))
            else:
                waiting.lend()
                keys.append(inbox.get(timeout=waiting.pause()))
            while True:
                keys.append(inbox.get_nowait())
        if not keys:
            raise_if_suspended()
        yield waiting.took(keys)
    yield waiting.rest()


async def _arounds(waiting: Waiting, *, lend: bool = False) -> AsyncIterator[list[Ended]]:
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[int] = asyncio.Queue()

    def tell(key: int) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(inbox.put_nowait, key)

    yield await _aside(waiting, waiting.subscribe, tell)
    while waiting.open and waiting.deadline.remaining() > 0:
        keys = []
        with suppress(TimeoutError):
            async with asyncio.timeout(waiting.pause()):
                while waiting.lends and inbox.empty():  # the worker is lent and the loop goes on, in turn
                    waiting.lend(TURN)
                    await asyncio.sleep(TURN)
                if lend:
                    with waiting.blocking():
                        keys.append(await inbox.get())
                else:
                    keys.append(await inbox.get())
        while not inbox.empty():
            keys.append(inbox.get_nowait())
        if not keys:
            raise_if_suspended()
        yield await _aside(waiting, waiting.took, keys)
    yield await _aside(waiting, waiting.rest)


async def _aside(waiting: Waiting, call: Callable[..., T], *args: Any) -> T:
    """Call `call` in a worker thread if it may block, which only stock futures do."""
    return await asyncio.to_thread(call, *args) if waiting.has_stock else call(*args)
