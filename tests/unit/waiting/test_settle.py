from __future__ import annotations

import asyncio
import collections
import signal
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import CrashedRun, UnfinishedRun
from prefect.states import Completed, Crashed, Failed, Running

from prefect_anyrunner import Report, Status, TaskRunsFailed, agather, as_settled, asettle, gather, settle
from prefect_anyrunner._waiting.session import recording
from tests.unit.fake_future import FakeFuture


def done(value: Any = None) -> FakeFuture:
    return FakeFuture().ends(value)


def waited_for(*futures: FakeFuture) -> None:
    """Return once somebody waits for all of `futures`."""
    until = time.monotonic() + 20
    while not all(future.callbacks for future in futures):
        assert time.monotonic() < until, "nobody ever waited for it"
        time.sleep(0.001)


def once_waited_for(*futures: FakeFuture, do: Callable[[], object]) -> threading.Thread:
    """Start a thread that calls `do` once somebody waits for all of `futures`."""

    def act() -> None:
        waited_for(*futures)
        do()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


# --- states stand for their runs (rule E2) ---------------------------------------------------------------------------


def state_of(state: State[Any], **ids: Any) -> State[Any]:
    state.state_details.task_run_id = ids.get("task", uuid4())
    return state


def test_final_states_are_settled_in_their_shape() -> None:
    error = ValueError("boom")
    good, bad = state_of(Completed(data=4)), state_of(Failed(data=error))
    report = settle({"a": [good, bad], "b": good})
    assert [(each.path, each.status) for each in report] == [
        (("a", 0), Status.COMPLETED),
        (("a", 1), Status.FAILED),
        (("b",), Status.COMPLETED),
    ]
    assert [each.value for each in report] == [4, None, 4]
    assert report[1].error is error
    assert gather([good]) == [4]


def test_state_of_a_flow_run_stands_for_the_states_it_holds() -> None:
    inner = [state_of(Completed(data=1)), {"b": state_of(Crashed(data=CrashedRun("gone")))}]
    report = settle(Failed(data=inner))
    assert [(each.path, each.status) for each in report] == [((0,), Status.COMPLETED), ((1, "b"), Status.CRASHED)]


def test_state_of_a_flow_run_that_holds_none_stands_for_itself() -> None:
    (outcome,) = settle(Completed(data=[1, 2]))
    assert (outcome.task_name, outcome.value) == ("flow", [1, 2])


def test_state_that_is_not_final_is_refused_by_place() -> None:
    with pytest.raises(TypeError, match=r"futures\[0\] is a state that is not final \(Running\)"):
        settle([state_of(Running())])


# --- what can be passed ---------------------------------------------------------------------------------------------


Pair = collections.namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda f: f(1), 1),
        (lambda f: [f(1), f(2)], [1, 2]),
        (lambda f: (f(1), f(2)), (1, 2)),
        (lambda f: {"a": f(1), 2: [f(2), {"c": (f(3),)}]}, {"a": 1, 2: [2, {"c": (3,)}]}),
        (lambda f: Pair(f(1), [f(2)]), Pair(1, [2])),
        (lambda f: {f(1)}, [1]),
        (lambda f: (f(n) for n in range(3)), [0, 1, 2]),
        (lambda f: iter([f(1)]), [1]),
        (lambda f: [], []),
        (lambda f: {}, {}),
        (lambda f: {"a": []}, {"a": []}),
    ],
)
def test_gather_returns_the_shape_of_the_argument(shape: Any, expected: Any) -> None:
    result = gather(shape(done))
    assert result == expected
    assert type(result) is type(expected)


def test_outcomes_say_where_they_stood() -> None:
    report = settle({"a": [done(), done()], 7: done(), ("x",): done()})
    assert [outcome.path for outcome in report] == [("a", 0), ("a", 1), (7,), ("('x',)",)]
    assert [outcome.index for outcome in report] == [0, 1, 2, 3]
    assert settle(done())[0].path == ()


def test_duplicates_are_answered_each_time_and_waited_for_once() -> None:
    one, other = done(1), done(2)
    assert gather([one, other, one]) == [1, 2, 1]
    assert one.looked_at == 1


def test_nothing_to_wait_for_is_an_empty_report() -> None:
    report = settle([])
    assert list(report) == []
    assert report.ok
    assert report.summary() == "0 task runs: nothing to wait for"


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ([done(), [3]], r"futures\[1\]\[0\] is a int, not a future: pass what `.submit\(\)`"),
        ({"a": "text"}, r"futures\['a'\] is a str, not a future"),
        (None, "futures is a NoneType, not a future"),
        (threading.Lock(), "futures is a lock, not a future"),
    ],
)
def test_something_else_is_refused_with_its_place(item: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        settle(item)


def test_a_coroutine_is_told_to_be_awaited() -> None:
    waiting = coroutine()
    with pytest.raises(TypeError, match="has to be awaited first"):
        settle([waiting])
    waiting.close()


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf")])
def test_a_timeout_that_is_no_duration_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        settle([], timeout=timeout)


@pytest.mark.parametrize("timeout", ["1", True, [1]])
def test_a_timeout_that_is_no_number_is_refused(timeout: Any) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        as_settled([], timeout=timeout)


@pytest.mark.parametrize("timeout", [0, 0.01, float("inf")])
def test_what_has_ended_is_answered_whatever_the_timeout(timeout: float) -> None:
    assert settle([done(1)], timeout=timeout).results() == [1]


def test_what_has_not_ended_in_time_is_unfinished_and_left_alone() -> None:
    slow = FakeFuture()
    report = settle([done(1), slow], timeout=0.01)
    assert [outcome.status for outcome in report] == [Status.COMPLETED, Status.UNFINISHED]
    assert isinstance(report[1].error, UnfinishedRun)
    assert str(report[1].error) == "It had not ended after 0.01 seconds."
    assert report[1].task_run_id == slow.task_run_id
    assert slow.cancels == []


def test_a_timeout_of_the_user_is_no_timeout_of_ours() -> None:
    report = settle([FakeFuture().fails(TimeoutError("mine"))], timeout=0.01)
    assert report[0].status is Status.FAILED
    assert repr(report[0].error) == "TimeoutError('mine')"


def test_waits_until_the_last_has_ended() -> None:
    futures = [FakeFuture() for _ in range(3)]

    def end() -> None:
        waited_for(*futures)
        for number in (2, 0, 1):
            futures[number].ends(number)

    thread = threading.Thread(target=end)
    thread.start()
    assert gather(futures) == [0, 1, 2]
    thread.join()


def test_a_future_that_ends_unheard_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_waiting_task_lends_its_worker() -> None:
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


def test_a_worker_is_released_although_the_first_run_has_ended() -> None:
    future = FakeFuture()
    seen: list[bool] = []

    def end() -> None:
        seen.append(future.worker_released)
        future.ends()

    thread = once_waited_for(future, do=end)
    settle([done(), future])
    thread.join()
    assert seen == [True]


def test_looking_at_a_future_is_noted() -> None:
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


def test_what_is_late_comes_last_and_unfinished() -> None:
    slow = FakeFuture()
    outcomes = list(as_settled([slow, done(1)], timeout=0.01))
    assert [(outcome.index, outcome.status) for outcome in outcomes] == [(1, "completed"), (0, "unfinished")]


def test_the_worker_is_not_lent_while_the_loop_has_it() -> None:
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


# --- beside the results ---------------------------------------------------------------------------------------------


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
