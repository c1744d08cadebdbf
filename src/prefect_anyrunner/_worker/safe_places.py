"""Where a body must not be interrupted, because the exception would leave something half done.

An exception inside a function that takes a lock may leave the lock taken, and one inside the driver may leave a run
without an end. `Condition.wait` is safe while it blocks, because Ctrl-C raises there too: Python then takes the lock of
the condition again and forgets the wait.
"""

from __future__ import annotations

import dis
import threading
from types import FrameType
from typing import Any

_UNSAFE = {
    "logging",
    "threading",
    "queue",
    "concurrent.futures._base",
    "concurrent.futures.thread",
    "prefect_anyrunner._driver.ledger",
    "prefect_anyrunner._publishing.publisher",
    "prefect_anyrunner.backends._thread.engine",
    "prefect_anyrunner.backends._thread.slots",
}
"""Modules whose functions must end before a body is interrupted."""
WAITS = {
    "threading.Condition.wait",
    "threading.Condition.wait_for",
    "threading.Event.wait",
    "threading.Semaphore.acquire",
    "queue.Queue.get",
    "queue.Queue.join",
    "queue.Queue.put",
    "concurrent.futures._base.Future.exception",
    "concurrent.futures._base.Future.result",
    "concurrent.futures._base.wait",
    "prefect_anyrunner._driver.ledger.RunLedger.wait_idle",
}
"""Functions of these modules that leave nothing half done if they are interrupted while `Condition.wait` blocks."""
_FIRST = "prefect_anyrunner._worker.interrupt"
"""Module of the first step of a body."""
_CONDITION_WAIT = threading.Condition.wait.__code__
_BLOCKING_LINES = {
    each.positions.lineno
    for each in dis.get_instructions(_CONDITION_WAIT)
    if each.argval == "acquire" and each.positions is not None
}
"""Lines of `Condition.wait` that acquire its lock: once as it makes the lock, and then to wait for a notification."""


def is_unsafe(frame: FrameType | None) -> bool:
    """Return whether a body must not be interrupted in `frame`."""
    if awaited_lock(frame) is not None:
        while frame is not None and f"{_module(frame)}.{frame.f_code.co_qualname}" in WAITS:
            frame = frame.f_back
    while frame is not None and (module := _module(frame)) != _FIRST:
        if module in _UNSAFE:
            return True
        frame = frame.f_back
    return False


def awaited_lock(frame: FrameType | None) -> Any:
    """Return the lock that `Condition.wait` waits for in `frame`, or None if it does not wait there.

    Each wait has a lock of its own. To release it ends the wait, as a notification does.
    """
    if frame is None or frame.f_code is not _CONDITION_WAIT or frame.f_lineno not in _BLOCKING_LINES:
        return None
    names = frame.f_locals
    return names["waiter"] if "gotit" in names else None  # without this name, it has only made the lock


def _module(frame: FrameType) -> Any:
    return frame.f_globals.get("__name__")
