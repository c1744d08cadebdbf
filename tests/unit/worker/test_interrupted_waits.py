"""A body that waits in Python's own classes is interrupted at once, and leaves them as they were."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import importlib
import logging
import queue
import signal
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from prefect_anyrunner._driver.ends import NOT_STARTED, cancelled
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.ledger import RunLedger
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._worker import interrupt as module
from prefect_anyrunner._worker.interrupt import (
    Interrupted,
    async_sleep,
    interrupt,
    interrupt_in_signal,
    leave_body,
    run_async_body,
    run_body,
    sleep,
    stoppable,
)
from prefect_anyrunner._worker.safe_places import WAITS, awaited_lock
from prefect_anyrunner.backends._thread.slots import Slots
from tests.unit.publishing.test_change import load
from tests.unit.publishing.test_change import run as made_run
from tests.unit.worker.test_interrupt import run, run_in_thread


def until_blocked(thread: threading.Thread) -> None:
    """Return once `Condition.wait` blocks the thread; the time limit of the test ends the wait."""
    while awaited_lock(sys._current_frames().get(thread.ident or 0)) is None:
        assert thread.is_alive()


def until_waiting(claim: str) -> None:
    while claim not in module._waiting:
        pass


class AnEvent:
    def __init__(self) -> None:
        self.event = threading.Event()

    def wait(self) -> None:
        self.event.wait()

    def still_works(self) -> bool:
        self.event.set()
        return self.event.wait(0) and not self.event._cond._waiters  # type: ignore[attr-defined]


class ACondition:
    def __init__(self) -> None:
        self.condition = threading.Condition()  # with a lock that its owner may take again

    def wait(self) -> None:
        with self.condition:
            self.condition.wait(3600)

    def still_works(self) -> bool:
        is_free = self.condition.acquire(blocking=False)
        self.condition.release()
        return is_free and not self.condition._waiters  # type: ignore[attr-defined]


class AQueue:
    def __init__(self) -> None:
        self.queue: queue.Queue[int] = queue.Queue()

    def wait(self) -> None:
        self.queue.get()

    def still_works(self) -> bool:
        self.queue.put(7)
        return self.queue.get(block=False) == 7


class ASemaphore:
    def __init__(self) -> None:
        self.semaphore = threading.Semaphore(0)

    def wait(self) -> None:
        self.semaphore.acquire()

    def still_works(self) -> bool:
        self.semaphore.release()
        return self.semaphore.acquire(blocking=False)


class AResult:
    def __init__(self) -> None:
        self.future: concurrent.futures.Future[int] = concurrent.futures.Future()

    def wait(self) -> None:
        self.future.result()

    def still_works(self) -> bool:
        self.future.set_result(7)
        return self.future.result() == 7


class SomeFutures(AResult):
    def wait(self) -> None:
        concurrent.futures.wait([self.future])


@pytest.mark.parametrize("kind", [AnEvent, ACondition, AQueue, ASemaphore, AResult, SomeFutures])
def test_a_body_that_waits_is_interrupted_at_once(kind: Callable[[], Any]) -> None:
    awaited = kind()
    thread, raised = run_in_thread(lambda: run(awaited.wait, kind.__name__))
    until_blocked(thread)
    interrupt(kind.__name__)
    thread.join()
    assert isinstance(raised[0], Interrupted)
    assert awaited.still_works()


def test_a_body_that_waits_again_and_again_is_interrupted_while_others_notify_it() -> None:
    condition = threading.Condition()
    over = threading.Event()

    rounds: list[int] = []

    def body() -> None:
        while True:
            rounds.append(1)
            with condition:
                condition.wait(0.0001)

    def notify() -> None:
        while not over.is_set():
            with condition:
                condition.notify()

    notifying = threading.Thread(target=notify)
    notifying.start()
    try:
        for number in range(20):
            claim = f"waits again {number}"
            rounds.clear()
            thread, raised = run_in_thread(lambda claim=claim: run(body, claim))
            while len(rounds) < 5:
                pass
            interrupt(claim)
            thread.join()
            assert isinstance(raised[0], Interrupted)
    finally:
        over.set()
        notifying.join()
    assert condition.acquire(blocking=False)
    assert not condition._waiters  # type: ignore[attr-defined]


def test_the_waits_that_may_be_interrupted_exist() -> None:
    for name in WAITS:
        parts = name.split(".")
        split = next(at for at, part in enumerate(parts) if part[0].isupper() or at == len(parts) - 1)
        found: Any = importlib.import_module(".".join(parts[:split]))
        for part in parts[split:]:
            found = getattr(found, part)
        assert f"{found.__module__}.{found.__code__.co_qualname}" == name


# --- our own locks ---------------------------------------------------------------------------------------------------


class NoEvents:
    def changed(self, new: Any) -> None:
        pass


def test_a_body_that_ends_another_run_is_interrupted_after_that() -> None:
    released: list[Run] = []
    entered, go = threading.Event(), threading.Event()

    def release(ended: Run) -> None:
        entered.set()
        while not go.is_set():  # in Python code, where an interruption would be seen
            pass
        released.append(ended)

    events: Any = NoEvents()
    ledger = RunLedger("thread", logging.getLogger(__name__), events, release)
    future: AnyFuture[Any] = AnyFuture(uuid.uuid4(), task_name="load", runner_name="thread")
    other = Run(load, made_run(), future, {}, None, contextvars.copy_context())
    ledger.add(other)

    def body() -> None:
        ledger.end(other, cancelled(NOT_STARTED))
        while True:
            pass

    thread, raised = run_in_thread(lambda: run(body, "ends another"))
    entered.wait()
    interrupt("ends another")
    go.set()
    thread.join()
    assert released == [other]
    assert ledger.open_runs() == []
    assert isinstance(raised[0], Interrupted)


def test_a_body_that_waits_for_its_slot_is_interrupted_once_it_has_it() -> None:
    slots = Slots(1)
    first: Any = object()
    second: Any = object()
    slots.put([first, second])
    assert slots.fill() == [first]
    gave, go = threading.Event(), threading.Event()
    took: list[bool] = []

    def body() -> None:
        with slots.held():
            slots.give_back()
            gave.set()
            go.wait()
            slots.take_again()
            took.append(True)
            while True:
                pass

    thread, raised = run_in_thread(lambda: run(body, "takes again"))
    gave.wait()
    assert slots.fill() == [second]
    go.set()
    while not slots._resuming:
        pass
    until_blocked(thread)
    interrupt("takes again")
    slots.pass_on()
    thread.join()
    assert took == [True]
    assert isinstance(raised[0], Interrupted)
    assert slots._taken == 1


# --- runs without a body ---------------------------------------------------------------------------------------------


def test_a_run_that_sleeps_before_its_next_attempt_is_interrupted() -> None:
    thread, raised = run_in_thread(lambda: sleep("sleeps", 3600))
    until_waiting("sleeps")
    interrupt("sleeps")
    thread.join()
    assert isinstance(raised[0], Interrupted)


def test_a_coroutine_that_sleeps_before_its_next_attempt_is_interrupted() -> None:
    thread, raised = run_in_thread(lambda: asyncio.run(async_sleep("sleeps in a loop", 3600)))
    until_waiting("sleeps in a loop")
    interrupt("sleeps in a loop")
    thread.join()
    assert isinstance(raised[0], Interrupted)


def test_a_request_that_was_too_late_for_a_body_reaches_the_wait_after_it() -> None:
    async def body() -> None:
        interrupt("after the body")  # the loop hears of it at the next await
        leave_body("after the body")
        for _ in range(3):
            await asyncio.sleep(0)

    asyncio.run(run_async_body("after the body", body))
    with stoppable("after the body") as is_asked:
        assert is_asked()


def test_a_request_that_was_too_late_for_a_wait_keeps_the_next_body_from_starting() -> None:
    with stoppable("after the wait"):
        interrupt("after the wait")
    with pytest.raises(Interrupted):
        run_body("after the wait", pytest.fail)


def test_a_signal_raises_nothing_in_a_wait_without_a_body() -> None:
    before = signal.signal(signal.SIGINT, lambda *_: interrupt_in_signal("signalled"))
    try:
        with stoppable("signalled") as is_asked:
            assert not is_asked()
            signal.raise_signal(signal.SIGINT)
            assert is_asked()
    finally:
        signal.signal(signal.SIGINT, before)
