"""Futures of the stock runners give outcomes that say what their bodies and upstream runs did."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.exceptions import CancelledRun, FailedRun, UpstreamTaskError

from prefect_anyrunner import Status, TaskRunsFailed, gather, settle
from tests.stock import stock_tasks as tasks
from tests.stock.stock_runners import Runner, made, mapped, only, submitted


def test_results_stand_in_order_and_shape(runner: Runner, kind: str) -> None:
    one, two = submitted(runner, tasks.double, number=1), submitted(runner, tasks.double, number=2)
    assert gather({"a": [two, one], "b": (two,)}) == {"a": [4, 2], "b": (4,)}
    assert [outcome.runner for outcome in settle([one])] == [kind]


def test_an_exception_arrives_as_itself_with_a_note(runner: Runner, kind: str) -> None:
    futures = mapped(runner, tasks.odd_fails, {"number": range(4)})
    with pytest.raises(TaskRunsFailed) as raised:
        gather(futures)
    group = raised.value
    assert group.message == "2 of 4 task runs failed: 2 ValueError: odd 1 (odd_fails[1], odd_fails[3])"
    assert [repr(member) for member in group.exceptions] == ["ValueError('odd 1')", "ValueError('odd 3')"]
    note = group.exceptions[0].__notes__[-1]
    assert note.startswith(f"Task run {futures[1].task_run_id}: odd_fails[1], named 'odd_fails")
    assert f", on {kind}, http" in note
    assert group.outcomes[0].started is not None
    assert group.outcomes[0].attempts == 1


def test_a_group_that_a_body_raises_is_one_failure(runner: Runner) -> None:
    outcome = only(submitted(runner, tasks.raises_group))
    assert outcome.status is Status.FAILED
    assert isinstance(outcome.error, ExceptionGroup)
    assert [repr(inner) for inner in outcome.error.exceptions] == ["ValueError('one')", "KeyError('two')"]


def test_timeouts_of_the_user_are_failures(runner: Runner) -> None:
    own, limit = settle([submitted(runner, tasks.raises_timeout), submitted(runner, tasks.times_out)], timeout=100)
    assert own.status is limit.status is Status.FAILED
    assert repr(own.error) == "TimeoutError('of the user')"
    assert isinstance(limit.error, TimeoutError)
    assert limit.state is not None
    assert limit.state.name == "TimedOut"


def test_a_returned_state_is_the_outcome(runner: Runner) -> None:
    failed, cancelled, completed = settle(
        [submitted(runner, task) for task in (tasks.returns_failed, tasks.returns_cancelled, tasks.returns_completed)],
        timeout=100,
    )
    assert failed.status is Status.FAILED
    assert repr(failed.error) == repr(FailedRun("said so"))
    assert cancelled.status is Status.CANCELLED
    assert repr(cancelled.error) == repr(CancelledRun("stopped by hand"))
    assert (completed.status, completed.value) == (Status.COMPLETED, 5)


def test_blocked_runs_name_the_root(runner: Runner) -> None:
    root = submitted(runner, tasks.odd_fails, number=1)
    middle = submitted(runner, tasks.add_one, number=root)
    futures = {
        "root": root,
        "middle": middle,
        "low": submitted(runner, tasks.add_one, number=middle),
        "nested": submitted(runner, tasks.add_one, number=[{"a": root}]),
        "after": submitted(runner, tasks.double, number=1, wait_for=[root]),
    }
    report = settle(futures, timeout=100)
    failed, *blocked = report
    assert [outcome.status for outcome in blocked] == [Status.BLOCKED] * 4
    for outcome in blocked:
        assert outcome.upstream == (root.task_run_id,)
        assert isinstance(outcome.error, UpstreamTaskError)
        assert outcome.error.__cause__ is failed.error
        assert "ended failed: ValueError: odd 1" in str(outcome.error)
    with pytest.raises(TaskRunsFailed, match=r"1 of 5 task runs failed: 1 ValueError: odd 1 .*; 4 blocked by them"):
        report.raise_for_failures()


def test_the_root_is_found_although_only_the_last_run_is_settled(runner: Runner) -> None:
    root = submitted(runner, tasks.odd_fails, number=1)
    last = submitted(runner, tasks.add_one, number=submitted(runner, tasks.add_one, number=root))
    with pytest.raises(TaskRunsFailed) as raised:
        gather(last, timeout=100)
    assert raised.value.outcomes[0].status is Status.BLOCKED
    if "process" not in type(runner).__name__.lower():  # on processes the run in the middle has no task run in the API
        assert raised.value.outcomes[0].upstream == (root.task_run_id,)
        assert "odd 1" in str(raised.value.exceptions[0])


def test_a_flow_ends_with_the_one_combined_failure(kind: str, prefect_server: str, request: Any) -> None:
    if kind == "process":
        pytest.skip("a pool of its own for one flow takes ten seconds, and shows what threads show")
    from prefect import flow

    @flow(task_runner=made(kind, request), name=f"nightly-{kind}")
    def nightly() -> Any:
        return gather(tasks.odd_fails.map(range(3)))

    with pytest.raises(TaskRunsFailed) as raised:
        nightly()
    assert raised.value.message == "1 of 3 task runs failed: 1 ValueError: odd 1 (odd_fails[1])"
    assert str(raised.value.outcomes[0].task_run_name).startswith("odd_fails-")
