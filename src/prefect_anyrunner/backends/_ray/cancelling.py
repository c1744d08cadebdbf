"""`ray.cancel` interrupts a body wherever it is (rule K1).

Ray only marks SIGINT as received. Python calls the handler between two bytecodes of the main thread, so neither the
wait of an event loop nor `time.sleep` ends for it. But Python writes to the wakeup descriptor at once: a thread waits
there and sends a real signal, which ends such a call. That cannot be SIGINT, because Ray blocks it in its workers, so
that Ctrl-C does not reach them.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from prefect_anyrunner._worker.interrupt import RETRY_SECONDS, interrupt_in_signal
from prefect_anyrunner._worker.safe_places import is_unsafe

_REAL = signal.SIGURG if sys.platform != "win32" else signal.SIGINT
"""The real signal: programs expect it to come for no reason, and hardly any has a handler for it."""
_MOST_RETRIES = 50
"""Number of retries after which a body that is still in an unsafe place waits there, and can be interrupted."""
_SAME_REQUEST_SECONDS = 1.0
"""Seconds after an interruption in which a received SIGINT is taken for the one that led to it."""


class _Cancellable:
    """A run that Ray may cancel."""

    def __init__(self, claim: str) -> None:
        self.claim = claim
        self.is_asked = False
        self.retries = 0
        self.interrupted_at: float | None = None

    def is_asked_again(self) -> bool:
        """Return whether a SIGINT that is received now is not the one that has interrupted the run."""
        return self.interrupted_at is not None and time.monotonic() - self.interrupted_at > _SAME_REQUEST_SECONDS


class CancelSignal:
    """The handler of both signals, and the thread that sends one of them; each process has one such object."""

    def __init__(self) -> None:
        self._run: _Cancellable | None = None
        self._lock = threading.Lock()
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        self._drop_hook = sys.unraisablehook
        self._main = threading.main_thread()
        threading.Thread(target=self._watch, name="anyrunner-ray-cancel", daemon=True).start()
        if sys.platform != "win32":
            # A process that a body forks has the descriptor too, and its signals are not for this process.
            os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

    @contextmanager
    def interrupts(self, claim: str) -> Iterator[None]:
        """Let SIGINT interrupt the run of `claim`, in the main thread. A body may change the handler."""
        run = _Cancellable(claim)
        with self._lock:
            self._drain()  # of signals that were meant for the run before
            self._run = run
        self._drop_hook, sys.unraisablehook = sys.unraisablehook, self._on_dropped
        before = signal.getsignal(_REAL) or signal.SIG_DFL
        try:
            signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
            signal.signal(_REAL, self._on_signal)
            signal.signal(signal.SIGINT, self._on_signal)
            yield
        finally:
            self._run = None  # a signal that the thread sends after this finds no run
            sys.unraisablehook = self._drop_hook
            signal.set_wakeup_fd(-1)
            signal.signal(_REAL, before)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        run = self._run
        if run is None or run.interrupted_at is not None:
            return
        if number != signal.SIGINT and not run.is_asked:
            return
        if run.retries < _MOST_RETRIES and is_unsafe(frame):
            run.retries += 1
            if number == signal.SIGINT:  # also if the body has taken the wakeup descriptor away
                self._ask()
            return
        run.interrupted_at = time.monotonic()
        interrupt_in_signal(run.claim)

    def _on_dropped(self, unraisable: Any) -> None:
        # Python drops what the handler raises in `__del__` or in a callback of a weak reference.
        run = self._run
        was_interrupted = run is not None and run.interrupted_at is not None
        if run is not None and was_interrupted and isinstance(unraisable.exc_value, KeyboardInterrupt):
            run.interrupted_at = None
            self._ask()
        else:
            self._drop_hook(unraisable)

    def _ask(self) -> None:
        with suppress(BlockingIOError):  # then the thread has enough to read
            self._sender.send(bytes([signal.SIGINT]))

    def _watch(self) -> None:
        while True:
            wait([self._receiver])
            while self._send_signal():
                time.sleep(RETRY_SECONDS)

    def _send_signal(self) -> bool:
        """Interrupt the main thread if Ray has asked for it and its run has not seen that; return whether it was."""
        with self._lock:
            asked = self._drain()
            run = self._run
            if run is None:
                return False
            if asked and run.is_asked_again():
                run.interrupted_at = None
            run.is_asked = run.is_asked or asked
            if run.interrupted_at is not None or not run.is_asked:
                return False
            if sys.platform == "win32":
                signal.raise_signal(_REAL)  # there, it reaches the main thread from any other
            else:
                signal.pthread_kill(self._main.ident or 0, _REAL)
        return True

    def _drain(self) -> bool:
        """Return whether SIGINT was received since the last call."""
        received = b""
        with suppress(BlockingIOError):
            while more := self._receiver.recv(4096):
                received += more
        return signal.SIGINT in received


_cancel_signal = cache(CancelSignal)


@contextmanager
def cancellable(claim: str) -> Iterator[None]:
    """Let `ray.cancel` interrupt the run of `claim`, which this thread runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _cancel_signal().interrupts(claim):
        yield
