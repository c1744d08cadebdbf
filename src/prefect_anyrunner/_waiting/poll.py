"""The two loops that wait: one blocks a thread, the other one blocks an asyncio task."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any, TypeVar

from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._waiting.runs import Ended
from prefect_anyrunner._waiting.wait_set import WaitSet

T = TypeVar("T")

Inbox = queue.SimpleQueue[int]
"""The keys of runs whose futures have called back."""

LOOP_BLOCKED_SECONDS = 0.05
"""Longest time, in seconds, to block an event loop in one go on Ray, which frees a worker only during that wait."""


def wait_loop(wait_set: WaitSet, *, release: bool = False) -> Iterator[list[Ended]]:
    """Yield the runs that have ended, repeatedly, until none is open.

    `release`: free the worker of the calling task during each wait, because the caller does not free it throughout.
    """
    inbox: Inbox = queue.SimpleQueue()
    yield wait_set.subscribe(inbox.put)
    while wait_set.open and wait_set.deadline.remaining() > 0:
        yield wait_for_next(wait_set, inbox, release=release)
    yield wait_set.finish()


def wait_for_next(wait_set: WaitSet, inbox: Inbox, *, release: bool) -> list[Ended]:
    """Wait until the next run ends or a poll is due; return the runs that have ended."""
    keys = []
    with suppress(queue.Empty), wait_set.release_worker() if release else nullcontext():
        wait_set.wait_in_engine()
        keys.append(inbox.get(timeout=wait_set.pause()))
    return collect_ended(wait_set, inbox, keys)


def collect_ended(wait_set: WaitSet, inbox: Inbox, keys: list[int] | None = None) -> list[Ended]:
    """Return the runs that have ended, among them those with `keys`, without waiting."""
    keys = keys or []
    with suppress(queue.Empty):
        while True:
            keys.append(inbox.get_nowait())
    if wait_set.poll_is_due:
        raise_if_suspended()
    return wait_set.collect(keys)


async def await_loop(wait_set: WaitSet, *, release: bool = False) -> AsyncIterator[list[Ended]]:
    """Do what `wait_loop` does without blocking the event loop."""
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[int] = asyncio.Queue()

    def notify(key: int) -> None:
        with suppress(RuntimeError):  # the loop has been closed, so no one waits any more
            loop.call_soon_threadsafe(inbox.put_nowait, key)

    yield await in_thread_if_blocking(wait_set, wait_set.subscribe, notify)
    while wait_set.open and wait_set.deadline.remaining() > 0:
        keys = []
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_set.pause()):
                while wait_set.waits_in_engine and inbox.empty():  # the engine and the event loop take turns
                    wait_set.wait_in_engine(LOOP_BLOCKED_SECONDS)
                    await asyncio.sleep(LOOP_BLOCKED_SECONDS)
                with wait_set.release_worker() if release else nullcontext():
                    keys.append(await inbox.get())
        while not inbox.empty():
            keys.append(inbox.get_nowait())
        if wait_set.poll_is_due:
            raise_if_suspended()
        yield await in_thread_if_blocking(wait_set, wait_set.collect, keys)
    yield await in_thread_if_blocking(wait_set, wait_set.finish)


async def in_thread_if_blocking(wait_set: WaitSet, call: Callable[..., T], *args: Any) -> T:
    """Return `call(*args)`, called in a worker thread if it may block, which only stock futures do."""
    return await asyncio.to_thread(call, *args) if wait_set.has_stock else call(*args)
