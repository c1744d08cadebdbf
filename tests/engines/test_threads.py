"""The threads that a thread runner uses."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.exceptions import CrashedRun
from prefect.utilities.annotations import quote

from prefect_anyrunner import Report, Status, agather, gather, pick, settle
from prefect_anyrunner._worker.interrupt import Interrupted

pytestmark = pytest.mark.usefixtures("prefect_server")


@task
def own_thread(number: int) -> int:
    return threading.get_ident()


@task
def child_of(number: int) -> Any:
    return settle(own_thread.submit(number))


def limit_threads(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Let starting a thread for a body fail, except the first ones, as at the system's limit."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("anyrunner-threadpool"):
            if len(started) >= most:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


def assert_crashed(report: Report) -> None:
    for outcome in report:
        assert outcome.status is Status.CRASHED
        assert isinstance(outcome.error, CrashedRun)
        assert "no thread could be started for it: can't start new thread" in str(outcome.error)


def test_no_more_threads_than_workers() -> None:
    @flow(task_runner=pick("thread://?max_workers=2"))
    def mapping() -> list[str]:
        before = set(threading.enumerate())
        gather(own_thread.map(range(40)))
        started = set(threading.enumerate()) - before
        return [each.name for each in started if each.name.startswith("anyrunner-threadpool")]

    assert 1 <= len(mapping()) <= 2


def test_runs_crash_if_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(task_runner=pick("thread://?max_workers=2"))
    def limited() -> list[Report]:
        with monkeypatch.context() as limit:
            limit_threads(limit, 0)
            crashed = settle(own_thread.map(range(5)))
        return [crashed, settle(own_thread.map(range(5)))]

    crashed, later = limited()
    assert len(crashed) == 5
    assert_crashed(crashed)
    assert len(later.results()) == 5


def test_runs_wait_for_the_threads_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(task_runner=pick("thread://?max_workers=4"))
    def limited() -> list[int]:
        go = threading.Event()

        @task
        def hold() -> int:
            go.wait()
            return threading.get_ident()

        limit_threads(monkeypatch, 1)
        held = hold.submit()
        futures = own_thread.map(range(6))
        go.set()
        return gather([held, *futures])  # type: ignore[no-any-return]

    assert len(set(limited())) == 1


def test_a_body_that_waits_gets_the_crash_of_a_run_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(task_runner=pick("thread://?max_workers=1"))
    def limited() -> Any:
        limit_threads(monkeypatch, 1)
        return child_of.submit(0).result()

    report: Any = limited()
    assert_crashed(report)


def test_an_interrupted_wait_leaves_as_many_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(task_runner=pick("thread://?max_workers=1"))
    def interrupted() -> Any:
        context: Any = FlowRunContext.get()
        threads = context.task_runner._threads

        def interrupt() -> None:
            raise Interrupted

        @task
        def wait() -> int:
            with monkeypatch.context() as early, pytest.raises(Interrupted):
                early.setattr(threads, "_start_more", interrupt)
                with threads.release_worker():
                    pass
            return int(threads._slots._taken)

        return wait.submit().result()

    assert interrupted() == 1


@task
def add_one(number: int) -> int:
    return number + 1


@task
async def waits_twice_at_once() -> Any:
    return await asyncio.gather(agather(add_one.map([1])), agather(add_one.map([1, 2, 3])))


def test_a_coroutine_that_waits_several_times_at_once_gives_its_slot_away_until_the_last() -> None:
    @flow(task_runner=pick("thread://?max_workers=1"))
    def waiting() -> Any:
        return gather(waits_twice_at_once.submit())

    assert waiting() == [[2], [2, 3, 4]]


def test_a_callback_that_waits_for_another_run_lets_it_run() -> None:
    results: list[int] = []

    @flow(task_runner=pick("thread://?max_workers=1"))
    def waiting() -> None:
        first: Any = add_one.submit(1)
        second: Any = add_one.submit(2)
        first.add_done_callback(lambda _: results.append(second.result()))

    waiting()
    assert results == [3]


@task
def runs_until(stopped: Any) -> None:
    while not stopped.is_set():
        time.sleep(0.01)


@task
def submits_endless(stopped: Any) -> None:
    runs_until.submit(quote(stopped)).wait()


def test_a_flow_that_is_over_stops_what_its_task_runs_have_submitted() -> None:
    stopped = threading.Event()

    @flow(task_runner=pick("thread://?max_workers=2"), timeout_seconds=3)
    def too_long() -> None:
        future: Any = submits_endless.submit(quote(stopped))
        future.wait()

    before = threading.active_count()
    state: Any = too_long(return_state=True)
    try:
        assert state.name == "TimedOut"
        bodies = [thread for thread in threading.enumerate() if thread.name.startswith("anyrunner-threadpool")]
        assert not bodies, (before, bodies)
    finally:
        stopped.set()
