"""A running body is asked to stop: it alone, and not while it holds a lock that others need."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from prefect import task

from prefect_anyrunner._serialization.values import dumps, loads
from prefect_anyrunner._worker.interrupt import Interrupted, bind_claim, interrupt, stoppable


class Entered(logging.Handler):
    """Stays in the midst of a record until it is told to go on."""

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
    bind_claim(claim)
    return stoppable(body).fn()


def test_body_that_logs_is_interrupted_after_it_has_logged() -> None:
    handler = Entered()
    logger = logging.Logger("told")
    logger.addHandler(handler)
    logged = threading.Event()

    @task
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

    @task
    def body() -> None:
        ran.append(1)

    interrupt("early")
    with pytest.raises(Interrupted):
        run(body, "early")
    run(body, "another")
    assert ran == [1]


def test_request_after_the_body_has_ended_hits_nothing() -> None:
    @task
    def body() -> str:
        return "done"

    assert run(body, "late") == "done"
    interrupt("late")
    assert sum(range(1000)) == 499500


def test_coroutine_that_waits_is_cancelled_at_once() -> None:
    waiting = threading.Event()

    @task
    async def body() -> None:
        waiting.set()
        await asyncio.get_running_loop().create_future()

    thread, raised = run_in_thread(lambda: asyncio.run(run(body, "waits")))
    waiting.wait()
    interrupt("waits")
    thread.join()
    assert isinstance(raised[0], asyncio.CancelledError)


def test_copy_is_the_task_in_all_else() -> None:
    @task(name="named", retries=2)
    def body(number: int) -> int:
        """Have a text."""
        return number

    bind_claim("copy")
    copied = stoppable(body)
    assert (copied.name, copied.retries, copied.task_key) == (body.name, body.retries, body.task_key)
    assert copied.fn.__doc__ == body.fn.__doc__
    assert copied.fn(3) == 3
    assert body.fn is not copied.fn


def test_copy_can_travel() -> None:
    @task
    def body(number: int) -> int:
        return number

    travelled = loads(dumps(stoppable(body), what="a task"))  # in the context of what the body submits
    bind_claim("far")
    assert travelled.fn(3) == 3
