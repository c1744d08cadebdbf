"""Asking a running body to stop, in this process (rule K1): only the body, never Prefect's engine around it."""

from __future__ import annotations

import asyncio
import copy
import ctypes
import functools
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from prefect.tasks import Task


class Interrupted(BaseException):
    """Raised in a thread that runs a body, to ask it to stop."""


_AGAIN = 0.02
"""Seconds between two looks at a body that is where it must not be interrupted."""
_REMEMBERED = 1000
"""How many requests are kept for bodies that have not begun here."""
_UNSAFE = {"logging", "threading", "queue", "concurrent.futures._base", "concurrent.futures.thread"}
"""Modules that hold locks which others wait for: what is raised in them may leave a lock taken for ever."""


_bodies: dict[str, int | asyncio.Task[Any]] = {}  # claim -> ident of the thread that runs the body, or its asyncio task
_requested: set[str] = set()  # bodies in whose thread Python is to raise, or has raised
_asked: OrderedDict[str, None] = OrderedDict()
_lock = threading.Lock()


_claim: ContextVar[str] = ContextVar("anyrunner_claim")


def bind_claim(claim: str) -> None:
    """Say for which claim the stoppable task runs that the calling context runs next."""
    _claim.set(claim)


def _bound_claim() -> str:
    # By this name, which travels, with the task itself, in the context of what its body submits: a variable does not.
    return _claim.get()


def stoppable(task: Task[Any, Any]) -> Task[Any, Any]:
    """Return a copy of `task` whose body `interrupt` can stop while it runs, and keep from starting before."""
    fn: Callable[..., Any] = task.fn
    body: Callable[..., Any]
    if task.isasync:

        @functools.wraps(fn)
        async def body(*args: Any, **kwargs: Any) -> Any:
            claim = _bound_claim()
            try:
                _enter(claim, asyncio.current_task() or threading.get_ident())
                return await fn(*args, **kwargs)
            finally:
                leave_body(claim)
    else:

        @functools.wraps(fn)
        def body(*args: Any, **kwargs: Any) -> Any:
            claim = _bound_claim()
            try:
                _enter(claim, threading.get_ident())
                return fn(*args, **kwargs)
            finally:
                leave_body(claim)

    one = copy.copy(task)
    one.fn = body
    return one


def interrupt(claim: str) -> None:
    """Ask the body of `claim` to stop if it runs in this process, now or later.

    In a thread the request is seen at the next bytecode (a blocking C call ends first), in a coroutine at its next
    `await`. While the body is in the midst of logging or of taking a lock, it is left until it has come out of there.
    """
    with _lock:
        if claim not in _bodies:
            _asked[claim] = None
            while len(_asked) > _REMEMBERED:
                _asked.popitem(last=False)
            return
    if not _try_interrupt(claim):
        threading.Thread(target=_keep_trying, args=(claim,), name="anyrunner-interrupt", daemon=True).start()


def leave_body(claim: str) -> None:
    """Keep the calling thread from being interrupted on account of `claim`, which would hit whatever it runs next."""
    while True:
        try:
            with _lock:
                if claim in _requested:  # and perhaps not yet raised: too late now
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
                    _requested.discard(claim)
                _bodies.pop(claim, None)
            return
        except Interrupted:
            continue


def _enter(claim: str, where: int | asyncio.Task[Any]) -> None:
    with _lock:
        asked = claim in _asked
        _asked.pop(claim, None)
        _bodies[claim] = where
    if asked:
        raise Interrupted


def _keep_trying(claim: str) -> None:
    while not _try_interrupt(claim):
        time.sleep(_AGAIN)


def _try_interrupt(claim: str) -> bool:
    """Interrupt the body unless it is in an unsafe place; tell whether nothing is left to do."""
    with _lock:
        where = _bodies.get(claim)
        if where is None:
            return True
        if isinstance(where, asyncio.Task):
            where.get_loop().call_soon_threadsafe(where.cancel)
            return True
        if _is_unsafe(where):
            return False
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        raise_in(ctypes.c_ulong(where), ctypes.py_object(Interrupted))
        if _is_unsafe(where):  # it went on between the look and the request, and has not seen that one yet
            raise_in(ctypes.c_ulong(where), None)
            return False
        _requested.add(claim)
        return True


def _is_unsafe(ident: int) -> bool:
    frame = sys._current_frames().get(ident)
    while frame is not None and frame.f_globals.get("__name__") != __name__:  # up to the body's first step
        if frame.f_globals.get("__name__") in _UNSAFE:
            return True
        frame = frame.f_back
    return False
