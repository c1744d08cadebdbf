"""The handler of SIGINT on a Ray worker interrupts a body wherever it is, and nothing else."""

from __future__ import annotations

import _thread
import asyncio
import logging
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from prefect_anyrunner._worker.interrupt import leave_body, run_async_body, run_body
from prefect_anyrunner.backends._ray.cancelling import cancellable


@pytest.fixture
def claim(request: pytest.FixtureRequest) -> Iterator[str]:
    claim = str(request.node.name)
    handler, descriptor = signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # as in Ray's workers
    yield claim
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    leave_body(claim)
    signal.set_wakeup_fd(descriptor)
    signal.signal(signal.SIGINT, handler)


def ask_from_another_thread(when: threading.Event) -> None:
    """Do what `ray.cancel` does in a worker, once `when` is set."""

    def ask() -> None:
        when.wait()
        _thread.interrupt_main()

    threading.Thread(target=ask).start()


def test_a_call_into_c_is_interrupted(claim: str) -> None:
    started = threading.Event()
    ask_from_another_thread(started)

    def body() -> None:
        started.set()
        time.sleep(3600)

    with pytest.raises(KeyboardInterrupt), cancellable(claim):
        run_body(claim, body)


def test_the_wait_of_an_event_loop_is_interrupted(claim: str) -> None:
    started = threading.Event()
    ask_from_another_thread(started)

    async def body() -> None:
        asyncio.get_running_loop().call_soon(started.set)
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError), cancellable(claim):
        asyncio.run(run_async_body(claim, body))


def test_a_request_that_is_answered_is_answered_once(claim: str) -> None:
    interruptions = 0
    started = threading.Event()
    ask_from_another_thread(started)

    def body() -> None:
        nonlocal interruptions
        end = time.monotonic() + 0.3
        started.set()
        while time.monotonic() < end:
            try:
                time.sleep(0.01)
            except KeyboardInterrupt:
                interruptions += 1

    with cancellable(claim):
        run_body(claim, body)
    assert interruptions == 1


def test_a_request_in_an_unsafe_place_is_answered_after_it(claim: str) -> None:
    where: list[str] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            _thread.interrupt_main()
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                pass
            where.append("logged")

    logger = logging.Logger(claim)
    logger.addHandler(Slow())

    def body() -> None:
        logger.error("")
        where.append("after")
        time.sleep(3600)

    with pytest.raises(KeyboardInterrupt), cancellable(claim):
        run_body(claim, body)
    assert where[0] == "logged"
    assert logger.handlers[0].lock is not None
    assert logger.handlers[0].lock.acquire(blocking=False)


def test_a_wait_for_a_lock_is_interrupted(claim: str) -> None:
    started = threading.Event()
    ask_from_another_thread(started)

    def body() -> None:
        started.set()
        threading.Event().wait()

    with pytest.raises(KeyboardInterrupt), cancellable(claim):
        run_body(claim, body)


def test_a_request_that_python_drops_is_repeated(claim: str) -> None:
    class Dropping:
        def __del__(self) -> None:
            _thread.interrupt_main()
            time.sleep(0.001)

    def body() -> None:
        dropping = Dropping()
        del dropping
        time.sleep(3600)

    with pytest.raises(KeyboardInterrupt), cancellable(claim):
        run_body(claim, body)


def test_a_request_to_one_run_does_not_reach_the_next(claim: str) -> None:
    with pytest.raises(KeyboardInterrupt), cancellable(claim):
        run_body(claim, _thread.interrupt_main)

    def body() -> None:
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            time.sleep(0.01)

    with cancellable(f"{claim}, next"):
        run_body(f"{claim}, next", body)
    leave_body(f"{claim}, next")
