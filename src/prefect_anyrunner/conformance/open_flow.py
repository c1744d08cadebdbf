"""The flows that cases run in.

Workers import this module, and flows are pickled by value, so a flow refers to nothing that cannot be pickled.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from prefect import flow
from prefect.task_runners import TaskRunner


@flow(name="conformance")
def serving_flow(key: str) -> None:
    """Call the bodies that the open flow `key` is given."""
    from prefect_anyrunner.conformance.open_flow import serve

    serve(key)


@flow(name="conformance-async")
async def serving_flow_async(key: str) -> None:
    """Call the bodies that the open flow `key` is given."""
    from prefect_anyrunner.conformance.open_flow import serve_async

    await serve_async(key)


T = TypeVar("T")
Make = Callable[..., TaskRunner[Any]]


_limit = 150.0


def limit() -> float:
    """Return the seconds that a case waits for one thing before it fails."""
    return _limit


def set_limit(seconds: float) -> None:
    """Set the seconds that `limit` returns in this process."""
    global _limit
    _limit = seconds


def api_limit() -> float:
    """Return the seconds that the Prefect API gets to show a state, because events reach it with a delay."""
    return limit() * 0.8


_keys = itertools.count()
_jobs: dict[str, queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]] = {}


class OpenFlow:
    """A flow run in a thread of its own that calls the bodies it is given until it is closed.

    It lets many cases share one engine, because starting an engine takes seconds.
    """

    def __init__(self, runner: TaskRunner[Any], *, asynchronous: bool = False) -> None:
        self._key = f"open-{next(_keys)}"
        self._jobs = _jobs[self._key] = queue.SimpleQueue()
        self._ended: Future[None] = Future()
        self._asynchronous = asynchronous
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run, runner), name=self._key, daemon=True)
        self._thread.start()

    def _run(self, runner: TaskRunner[Any]) -> None:
        try:
            if self._asynchronous:
                asyncio.run(serving_flow_async.with_options(task_runner=runner)(self._key))
            else:
                serving_flow.with_options(task_runner=runner)(self._key)
        except BaseException as exc:
            self._ended.set_exception(exc)
            while not self._jobs.empty():
                if (job := self._jobs.get()) is not None:
                    job[1].set_exception(exc)
        else:
            self._ended.set_result(None)

    def call(self, body: Callable[[], T], within: float | None = None) -> T:
        """Return the result of `body()`, called inside the flow. Raises TimeoutError after `within` seconds.

        `within` is one and a half times the `limit()` by default.
        """
        answer: Future[T] = Future()
        self._jobs.put((body, answer))
        return answer.result(within or limit() * 1.5)

    def close(self, within: float | None = None) -> None:
        """Let the flow run end, and wait for its end. Raises TimeoutError after `within` seconds."""
        self._jobs.put(None)
        self._ended.result(within or limit() * 1.5)
        del _jobs[self._key]


def serve(key: str) -> None:
    """Call the bodies that the open flow `key` is given until it is closed.

    The flows refer to this function by name, because the queues that it uses cannot be pickled.
    """
    while (job := _jobs[key].get()) is not None:
        body, answer = job
        try:
            answer.set_result(body())
        except BaseException as exc:
            answer.set_exception(exc)


async def serve_async(key: str) -> None:
    """Do the same as `serve`, for bodies that return a coroutine."""
    while (job := await asyncio.to_thread(_jobs[key].get)) is not None:
        body, answer = job
        try:
            answer.set_result(await body())
        except BaseException as exc:
            answer.set_exception(exc)


class SharedFlow:
    """An `OpenFlow` that starts when it is first needed, and starts again when a case has left it unusable."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._open: OpenFlow | None = None

    def call(self, body: Callable[[], T]) -> T:
        """Do the same as `OpenFlow.call`."""
        if self._open is None:
            self._open = OpenFlow(self._make())
        try:
            return self._open.call(body)
        except TimeoutError:
            self._open = None  # it hangs, so the next case gets a new one
            raise

    def close(self) -> None:
        """End the flow run if one is open."""
        if self._open is not None:
            self._open.close()
            self._open = None


def call_and_close(opened: OpenFlow, body: Callable[[], T]) -> T:
    """Return the result of `body()`, called inside the open flow, after the flow run has ended."""
    try:
        answer = opened.call(body)
    except BaseException:
        opened.close(within=limit() * 0.3)  # the case has failed already
        raise
    opened.close()
    return answer
