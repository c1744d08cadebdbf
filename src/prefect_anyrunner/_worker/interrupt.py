"""Asking a running body in this process to stop (rule K1): only the body, never Prefect's task engine around it."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from prefect_anyrunner._worker.safe_places import awaited_lock, is_unsafe

T = TypeVar("T")


class Interrupted(BaseException):
    """Raised in a thread that runs a body, to ask the body to stop."""


_INTERRUPTED = "anyrunner: the task run is cancelled"
"""The message with which the asyncio task of a body is cancelled."""
RETRY_SECONDS = 0.02
"""Seconds between two attempts to interrupt a body that is in a place where it must not be interrupted."""
LOOK_SECONDS = 0.3
"""Seconds between two checks of a run that waits without a body: whether `interrupt` has asked it to stop."""
_MOST_PENDING = 1000
"""Maximum number of requests that are kept for bodies that have not started here."""

_bodies: dict[str, int | asyncio.Task[Any]] = {}  # claim -> ident of the thread that runs the body, or its asyncio task
_injected: set[str] = set()  # claims of bodies in whose thread Python will raise, or has raised
_waiting: dict[str, bool] = {}  # claim of a run that waits without a body -> whether it was asked to stop
_pending: OrderedDict[str, None] = OrderedDict()
_lock = threading.Lock()


def run_body(claim: str, run: Callable[..., T], *args: Any) -> T:
    """Call `run`. `interrupt` can keep it from starting, and can stop it until it calls `leave_body`."""
    try:
        _enter(claim, threading.get_ident())
        return run(*args)
    except BaseException:
        leave_body(claim)
        raise


async def run_async_body(claim: str, run: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Await `run`; see `run_body`."""
    try:
        _enter(claim, asyncio.current_task() or threading.get_ident())
        return await run(*args)
    except BaseException:
        leave_body(claim)
        raise


def is_interruption(error: BaseException | None) -> bool:
    """Return whether `interrupt` has raised `error` in a body."""
    return isinstance(error, Interrupted) or (
        isinstance(error, asyncio.CancelledError) and error.args == (_INTERRUPTED,)
    )


def came_from_body(claim: str, error: BaseException) -> bool:
    """Return whether `error` was raised while the body of `claim` ran."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code in _BODY_CODE)
    return any(frame.f_locals["claim"] == claim for frame in frames)


_BODY_CODE = (run_body.__code__, run_async_body.__code__)


def interrupt(claim: str) -> None:
    """Ask the run of `claim` to stop if it is in this process, now or later.

    A thread that runs its body sees the request at its next bytecode: after a blocking C call has returned, but at once
    in Python's own waits. A coroutine sees it at its next `await`. A body that is logging or taking a lock is
    interrupted once it is done with that. A run without a body sees the request in `stoppable`, or when its next body
    starts.
    """
    if not _try_interrupt(claim):
        threading.Thread(target=_keep_trying, args=(claim,), name="anyrunner-interrupt", daemon=True).start()


def interrupt_in_signal(claim: str) -> None:
    """Ask the run of `claim` to stop, in a signal handler of the thread that runs it.

    The handler raises KeyboardInterrupt, which also ends a blocking call, except in `stoppable`. Code that runs before
    the body may drop that exception, as `__del__` does. The body does not start in that case.
    """
    # Without `_lock`, because the interrupted code may hold it: this thread alone enters and leaves the body.
    if claim in _waiting:
        _waiting[claim] = True
        return
    _keep_from_starting(claim)
    where = _bodies.get(claim)
    if isinstance(where, asyncio.Task):
        where.get_loop().call_soon_threadsafe(_cancel, claim, where)
        return
    raise KeyboardInterrupt


@contextmanager
def stoppable(claim: str, *, asked: bool = False) -> Iterator[Callable[[], bool]]:
    """Let a run wait without a body; yield a function that returns whether `interrupt` has asked it to stop.

    The caller looks every `LOOK_SECONDS`. `asked`: it was asked before.
    """
    _waiting[claim] = asked  # first, because a signal may come between these lines
    with _lock:
        if claim in _pending:
            del _pending[claim]
            _waiting[claim] = True
    try:
        yield lambda: _waiting[claim]
    finally:
        with _lock:
            if _waiting.pop(claim):  # perhaps since the caller has looked
                _keep_from_starting(claim)


def sleep(claim: str, seconds: float) -> None:
    """Sleep. Raises Interrupted as soon as `interrupt` asks the run to stop."""
    with stoppable(claim) as is_asked:
        for pause in _pauses(seconds, is_asked):
            time.sleep(pause)


async def async_sleep(claim: str, seconds: float) -> None:
    """Sleep as `sleep` does, without blocking the event loop."""
    with stoppable(claim) as is_asked:
        for pause in _pauses(seconds, is_asked):
            await asyncio.sleep(pause)


def _pauses(seconds: float, is_asked: Callable[[], bool]) -> Iterator[float]:
    end = time.monotonic() + seconds
    while not is_asked():
        if (left := end - time.monotonic()) <= 0:
            return
        yield min(left, LOOK_SECONDS)
    raise Interrupted


def leave_body(claim: str) -> None:
    """Withdraw a pending interrupt of this claim, so that it does not hit the thread's next body."""
    while True:
        try:
            with _lock:
                if claim in _injected:  # Python may not have raised it yet
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
                    _injected.discard(claim)
                    _ask_without_body(claim)
                _bodies.pop(claim, None)
            return
        except Interrupted:
            continue


def _enter(claim: str, where: int | asyncio.Task[Any]) -> None:
    with _lock:
        _bodies[claim] = where  # first, because a signal may come between these lines
        pending = claim in _pending
        _pending.pop(claim, None)
    if pending:
        raise Interrupted


def _ask_without_body(claim: str) -> None:
    """Keep a request for what a run does without a body, or for its next body."""
    if claim in _waiting:
        _waiting[claim] = True
    else:
        _keep_from_starting(claim)


def _keep_from_starting(claim: str) -> None:
    _pending[claim] = None
    while len(_pending) > _MOST_PENDING:
        _pending.popitem(last=False)


def _keep_trying(claim: str) -> None:
    while not _try_interrupt(claim):
        time.sleep(RETRY_SECONDS)


def _try_interrupt(claim: str) -> bool:
    """Interrupt the run unless its body is in an unsafe place; return whether nothing is left to do."""
    with _lock:
        where = _bodies.get(claim)
        if where is None:
            _ask_without_body(claim)
            return True
        if isinstance(where, asyncio.Task):
            where.get_loop().call_soon_threadsafe(_cancel, claim, where)
            return True
        if is_unsafe(sys._current_frames().get(where)):
            return False
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        raise_in(ctypes.c_ulong(where), ctypes.py_object(Interrupted))
        frame = sys._current_frames().get(where)
        if is_unsafe(frame):
            # The thread went on between the check and the request, and has not seen the request yet.
            raise_in(ctypes.c_ulong(where), None)
            return False
        _injected.add(claim)
        if (awaited := awaited_lock(frame)) is not None:
            with suppress(RuntimeError):  # a notification came first
                awaited.release()  # as a notification does: the thread goes on, and sees the request
        return True


def _cancel(claim: str, where: asyncio.Task[Any]) -> None:
    with _lock:
        runs = _bodies.get(claim) is where
        if not runs:
            _ask_without_body(claim)
    if runs:  # it waits at an `await`, because its event loop is running this function
        where.cancel(_INTERRUPTED)
