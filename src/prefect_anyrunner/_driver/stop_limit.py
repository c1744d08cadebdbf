"""How long a flow run may take to stop, and signals that arrive meanwhile (rule Q1).

Prefect raises the first signal in the flow, and the runner stops all runs. A second one is held back until the engine
has stopped, but running bodies are not waited for any more. A third one is raised at once.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from prefect.exceptions import Pause

STOP_SECONDS = 20.0
"""Seconds that a flow run gets to stop unless its runner says otherwise, because Prefect's worker kills it after 30."""
_ALARM = getattr(signal, "SIGALRM", None)
"""The signal by which Prefect interrupts a flow whose `timeout_seconds` are over; None on Windows."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([_ALARM] if _ALARM is not None else []))


class StopLimit:
    """The time that a stopping flow run may wait: half of it for running bodies, and the rest for the API."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._bodies_end: float | None = None
        self._end = 0.0

    def begin(self) -> None:
        """Start the clock, unless it is running."""
        if self._bodies_end is None:
            self._bodies_end, self._end = time.monotonic() + self.seconds / 2, time.monotonic() + self.seconds

    def hurry(self) -> None:
        """Stop waiting for bodies. A signal handler may call it."""
        self.begin()
        self._bodies_end, self._end = 0.0, min(self._end, time.monotonic() + self.seconds / 2)

    def left_for_bodies(self) -> float:
        """Return the seconds that running bodies get to stop."""
        return max((self._bodies_end or 0.0) - time.monotonic(), 0.0)

    def left(self) -> float:
        """Return the seconds until the flow run stops waiting for anything."""
        return max(self._end - time.monotonic(), 0.0)


def _nothing() -> None:
    pass


@contextmanager
def signals_held_back(on_signal: Callable[[], None] = _nothing) -> Iterator[None]:
    """Hold back a SIGINT, a SIGTERM or an alarm until the block ends, because it would leave processes behind.

    `on_signal` is called when a SIGINT or SIGTERM arrives, in its handler. A second one of these is not held back.
    Signals arrive only in the main thread; in any other thread, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # An ignored signal stays ignored, and a handler that was not set from Python stays in place.
    before = {number: found for number in _SIGNALS if (found := signal.getsignal(number)) not in (None, signal.SIG_IGN)}
    held: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number == _ALARM:
            held.append(number)
            return
        if held and held[0] != _ALARM:
            for each in _SIGNALS:
                if each in before:
                    signal.signal(each, before[each])
            held.clear()
            signal.raise_signal(number)
            return
        held.insert(0, number)  # before an alarm, which says less
        on_signal()

    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is note:  # else another handler was set meanwhile
                signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def is_signal(exc_type: type[BaseException] | None) -> bool:
    """Return whether running bodies must stop if this exception ends the flow run: Ctrl-C, SIGTERM, `sys.exit()`."""
    return exc_type is not None and not issubclass(exc_type, Exception | Pause)


def finish_until_stopped(
    finish: Callable[[type[BaseException] | None], None],
    exc_type: type[BaseException] | None,
    limit: StopLimit,
    *,
    stop: bool,
) -> None:
    """Call `finish` with the exception that ends the flow run, and once more if a signal arrives meanwhile.

    `stop`: running bodies must stop whatever the exception is, because the flow run was cancelled or has timed out.
    """
    if not stop and not is_signal(exc_type):
        try:
            finish(exc_type)
            return
        except Exception:
            raise
        except BaseException as exc:
            with signals_held_back(limit.hurry):
                finish(type(exc))
            raise
    with signals_held_back(limit.hurry):
        finish(exc_type)
