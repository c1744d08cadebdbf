"""A running body is asked to stop: it alone, and not while it holds a lock that others need."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from prefect_anyrunner._worker.interrupt import (
    Interrupted,
    came_from_body,
    interrupt,
    interrupt_in_signal,
    leave_body,
    run_async_body,
    run_body,
)


class Entered(logging.Handler):
    """Stays in the midst of a record until `go` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.here, self.go = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.here.set()
        self.go.wait()


def run_in_thread(fn: Any) -> tuple[threading.Thread, list[BaseException]]:
    raised: list[BaseException] = []

    def call() -> None:
        try:
            fn()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, raised


def run(body: Any, claim: str) -> Any:
    """Run a body as the engine does, which says when it has returned."""

    def call() -> Any:
        result = body()
        leave_body(claim)
        return result

    return run_body(claim, call)


def test_body_that_logs_is_interrupted_after_it_has_logged() -> None:
    handler = Entered()
    logger = logging.Logger("interrupted")
    logger.addHandler(handler)
    logged = threading.Event()

    def body() -> None:
        logger.warning("a record")
        logged.set()
        while True:
            pass

    thread, raised = run_in_thread(lambda: run(body, "logs"))
    handler.here.wait()
    interrupt("logs")
    handler.go.set()
    thread.join()
    assert logged.is_set()
    assert isinstance(raised[0], Interrupted)
    assert handler.lock is not None and handler.lock.acquire(blocking=False)


def test_request_before_the_body_begins_keeps_it_from_running() -> None:
    ran: list[int] = []

    def body() -> None:
        ran.append(1)

    interrupt("early")
    with pytest.raises(Interrupted):
        run(body, "early")
    run(body, "another")
    assert ran == [1]


def test_request_after_the_body_has_ended_hits_nothing() -> None:
    def body() -> str:
        return "done"

    assert run(body, "late") == "done"
    interrupt("late")
    assert sum(range(1000)) == 499500


def test_coroutine_that_waits_is_cancelled_at_once() -> None:
    waiting = threading.Event()

    async def body() -> None:
        waiting.set()
        await asyncio.get_running_loop().create_future()

    thread, raised = run_in_thread(lambda: asyncio.run(run_async_body("waits", body)))
    waiting.wait()
    interrupt("waits")
    thread.join()
    assert isinstance(raised[0], asyncio.CancelledError)


def test_request_that_comes_to_the_loop_after_the_coroutine_has_ended_hits_nothing() -> None:
    async def body() -> str:
        interrupt("too late")  # it reaches the loop at the next await
        leave_body("too late")
        for _ in range(3):
            await asyncio.sleep(0)
        return "stored"

    assert asyncio.run(run_async_body("too late", body)) == "stored"


def test_what_the_body_has_raised_is_told_from_the_rest() -> None:
    def body() -> None:
        raise ValueError("the body's")

    with pytest.raises(ValueError) as raised:
        run(body, "this one")
    assert came_from_body("this one", raised.value)
    assert not came_from_body("another one", raised.value)
    assert not came_from_body("this one", ValueError("of somebody else"))


@pytest.fixture
def claim(request: pytest.FixtureRequest) -> Iterator[str]:
    """The claim of a body that SIGINT interrupts."""
    claim = str(request.node.name)
    before = signal.signal(signal.SIGINT, lambda *_: interrupt_in_signal(claim))
    yield claim
    leave_body(claim)
    signal.signal(signal.SIGINT, before)


def test_body_does_not_start_though_what_came_before_dropped_the_exception(claim: str) -> None:
    with suppress(KeyboardInterrupt):  # as Python does in `__del__` and in callbacks of weak references
        signal.raise_signal(signal.SIGINT)
    started: list[bool] = []
    with pytest.raises(Interrupted):
        run(lambda: started.append(True), claim)
    assert not started


def test_signal_interrupts_a_body(claim: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(lambda: signal.raise_signal(signal.SIGINT), claim)


def test_signal_interrupts_a_coroutine_at_its_next_await(claim: str) -> None:
    async def body() -> None:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run_async_body(claim, body))
