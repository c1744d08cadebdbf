"""The handlers of SIGINT and SIGTERM survive the start and the stop of a Ray in this process."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_KEPT = (signal.SIGINT, signal.SIGTERM)
_ACTION_BYTES = 512
"""Size, in bytes, that a C `struct sigaction` fits into on every system; it is only copied here."""


@contextmanager
def signals_kept() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM when the block ends.

    Ray replaces Python's handler if it starts in the main thread. Its core worker, in any thread, replaces the handler
    that the operating system calls, with one that aborts the process three seconds after a SIGTERM. When Ray stops, it
    leaves the default there. Python can set handlers only in the main thread; in other threads, the handler that the
    operating system calls is made to agree with the one that Python knows.
    """
    if os.name != "posix":
        yield
        return
    in_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _KEPT}
    actions = {number: _action(number) for number in _KEPT}
    try:
        yield
    finally:
        # The operating system calls one and the same function for all handlers of Python.
        bridge = next((actions[number] for number in _KEPT if callable(before[number])), None)
        for number in _KEPT:
            if before[number] is None:  # Python did not set it
                _set_action(number, actions[number])
            elif in_main:
                signal.signal(number, before[number])
            elif not callable(default := signal.getsignal(number)):  # now: the main thread may have changed it since
                ctypes.pythonapi.PyOS_setsig(number, ctypes.c_void_p(int(default or 0)))
            elif bridge is not None:
                _set_action(number, bridge)


def _action(number: int) -> Any:
    action = ctypes.create_string_buffer(_ACTION_BYTES)
    ctypes.CDLL(None).sigaction(number, None, action)
    return action


def _set_action(number: int, action: Any) -> None:
    ctypes.CDLL(None).sigaction(number, action, None)
