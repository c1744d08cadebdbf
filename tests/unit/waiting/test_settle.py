"""Waiting for futures: timeouts, callbacks, the worker of a waiting task, threads and event loops."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from prefect.exceptions import UnfinishedRun

from prefect_anyrunner import Report, Status, TaskRunsFailed, agather, as_settled, asettle, gather, settle
from prefect_anyrunner._waiting.session import recording
from tests.unit.fake_future import FakeFuture


def done(value: Any = None) -> FakeFuture:
    return FakeFuture().ends(value)


def waited_for(*futures: FakeFuture) -> None:
    """Return once all of `futures` are waited for."""
    until = time.monotonic() + 20
    while not all(future.callbacks for future in futures):
        assert time.monotonic() < until, "nobody ever waited for it"
        time.sleep(0.001)


def once_waited_for(*futures: FakeFuture, do: Callable[[], object]) -> threading.Thread:
    """Start a thread that calls `do` once all of `futures` are waited for."""

    def act() -> None:
        waited_for(*futures)
        do()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf")])
def test_a_timeout_that_is_not_a_duration_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        settle([], timeout=timeout)


@pytest.mark.parametrize("timeout", ["1", True, [1]])
def test_a_timeout_that_is_not_a_number_is_refused(timeout: Any) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        as_settled([], timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.01, float("inf")])
def test_a_run_that_has_ended_is_answered_with_any_timeout(timeout: float) -> None:
    assert settle([done(1)], timeout=timeout).results() == [1]


def test_a_run_that_has_not_ended_in_time_is_unfinished_and_left_alone() -> None:
    slow = FakeFuture()
    report = settle([done(1), slow], timeout=0.01)
    assert [outcome.status for outcome in report] == [Status.COMPLETED, Status.UNFINISHED]
    assert isinstance(report[1].error, UnfinishedRun)
    assert str(report[1].error) == "It had not ended after 0.01 seconds."
    assert report[1].task_run_id == slow.task_run_id
    assert slow.cancels == []


def test_a_timeout_error_of_a_body_is_a_failure_of_its_run() -> None:
    report = settle([FakeFuture().fails(TimeoutError("mine"))], timeout=0.01)
    assert report[0].status is Status.FAILED
    assert repr(report[0].error) == "TimeoutError('mine')"


def test_gather_waits_until_the_last_run_has_ended() -> None:
    futures = [FakeFuture() for _ in range(3)]

    def end() -> None:
        waited_for(*futures)
        for number in (2, 0, 1):
            futures[number].ends(number)

    thread = threading.Thread(target=end)
    thread.start()
    assert gather(futures) == [0, 1, 2]
    thread.join()


def test_a_run_whose_callback_is_lost_is_found_by_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(FakeFuture):
        def add_done_callback(self, fn: Any) -> None:
            super().add_done_callback(lambda _: None)

    monkeypatch.setattr("prefect_anyrunner._waiting.wait_set.POLL_SECONDS", 0.01)
    future = Deaf()
    thread = once_waited_for(future, do=lambda: future.ends(1))
    assert settle([future]).results() == [1]
    thread.join()


def test_a_real_ctrl_c_ends_the_wait() -> None:
    future = FakeFuture()

    thread = once_waited_for(future, do=lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        settle([future])
    thread.join()


# --- the worker, the flow's end -------------------------------------------------------------------------------------


def test_a_waiting_task_releases_its_worker() -> None:
    future = FakeFuture()
    seen: list[bool] = []

    def end() -> None:
        waited_for(future)
        seen.append(future.worker_released)
        future.ends()

    thread = threading.Thread(target=end)
    thread.start()
    settle([future])
    thread.join()
    assert seen == [True]
    assert not future.worker_released


def test_a_waiting_task_releases_its_worker_although_its_first_run_has_ended() -> None:
    future = FakeFuture()
    seen: list[bool] = []

    def end() -> None:
        seen.append(future.worker_released)
        future.ends()

    thread = once_waited_for(future, do=end)
    settle([done(), future])
    thread.join()
    assert seen == [True]


def test_settling_marks_a_future_as_awaited() -> None:
    future = done()
    settle([future])
    assert future.was_awaited


# --- as they come ---------------------------------------------------------------------------------------------------


def test_outcomes_come_as_runs_end() -> None:
    first, second = FakeFuture(), FakeFuture()
    thread = once_waited_for(first, second, do=lambda: second.ends(2))
    outcomes = iter(as_settled([first, second, second]))
    assert [next(outcomes).index, next(outcomes).index] == [1, 2]
    first.ends(1)
    assert next(outcomes).value == 1
    assert list(outcomes) == []
    thread.join()


def test_a_run_that_is_late_comes_last_and_unfinished() -> None:
    slow = FakeFuture()
    outcomes = list(as_settled([slow, done(1)], timeout=0.01))
    assert [(outcome.index, outcome.status) for outcome in outcomes] == [(1, "completed"), (0, "unfinished")]


def test_the_worker_is_not_released_inside_the_body_of_the_loop() -> None:
    future, other = FakeFuture(), FakeFuture()
    thread = once_waited_for(future, other, do=lambda: future.ends(1))
    outcomes = iter(as_settled([future, other]))
    next(outcomes)
    assert not other.worker_released
    assert not future.worker_released
    thread.join()


# --- async ----------------------------------------------------------------------------------------------------------


def test_the_event_loop_goes_on_while_it_waits() -> None:
    async def main() -> Any:
        future = FakeFuture()
        waiting = asyncio.create_task(agather({"a": future}))
        while not future.callbacks:  # only goes on if the loop does
            await asyncio.sleep(0)
        future.ends(3)
        return await waiting

    assert asyncio.run(main()) == {"a": 3}


def test_an_async_wait_times_out() -> None:
    report = asyncio.run(asettle([FakeFuture(), done(1)], timeout=0.01))
    assert [outcome.status for outcome in report] == ["unfinished", "completed"]


def test_a_cancelled_wait_ends_and_leaves_the_runs_alone() -> None:
    future = FakeFuture()

    async def main() -> None:
        waiting = asyncio.create_task(asettle([future]))
        while not future.callbacks:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    threads = threading.active_count()
    asyncio.run(main())
    assert threading.active_count() == threads
    assert future.cancels == []
    future.ends()  # its callback finds a closed loop


def test_outcomes_come_in_async_for_as_well() -> None:
    async def main() -> list[int]:
        first, second = FakeFuture(), done(2)
        seen = []
        async for outcome in as_settled([first, second]):
            seen.append(outcome.index)
            first.ends(1) if first.outcome() is None else None
        return seen

    assert asyncio.run(main()) == [1, 0]


# --- recorded reports ---------------------------------------------------------------------------------------------


def test_reports_are_recorded_inside_the_block_only() -> None:
    settle([done(0)])
    with recording() as outer:
        settle([done(1)])
        with recording() as inner, pytest.raises(TaskRunsFailed):
            gather([FakeFuture().fails(ValueError())])
    settle([done(2)])
    assert [report.results(default="-") for report in outer] == [[1], ["-"]]
    assert [type(report) for report in inner] == [Report]


def test_settling_twice_gives_equal_reports() -> None:
    futures = [done([1]), FakeFuture().fails(ValueError("x", 3))]
    assert settle(futures) == settle(futures)
    assert settle(futures) != settle(futures[:1])
