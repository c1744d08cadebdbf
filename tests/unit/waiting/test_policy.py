"""Failure policies: their text, the number of failures that they tolerate, and their reaction."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from prefect_anyrunner import FailurePolicy, Status, TaskRunsFailed, agather, gather, settle
from tests.unit.fake_future import FakeFuture


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", FailurePolicy()),
        ("tolerate=3", FailurePolicy(3)),
        ("tolerate=5%,then=cancel", FailurePolicy("5%", "cancel")),
        (" then = drain , tolerate = 0.5 % ", FailurePolicy("0.5 %", "drain")),
    ],
)
def test_a_policy_is_parsed_from_its_text(text: str, policy: FailurePolicy) -> None:
    assert FailurePolicy.parse(text) == policy
    assert FailurePolicy.parse(str(policy)) == policy


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("tolerate=many", ["tolerate must be a count or a percentage such as '5%', not 'many'"]),
        ("tolerate=-1", ["tolerate must be a count"]),
        ("tolerate=101%", ["tolerate must be at most 100%"]),
        ("tolerate=nan%", ["tolerate must be a count"]),
        ("tolerate=1,tolerate=2", ["tolerate is given twice"]),
        ("then=stop", ["then must be 'finish', 'drain' or 'cancel', not 'stop'"]),
        ("tolerance=1,then=stop,5%", ["'tolerance=1' is neither", "then must be", "'5%' is neither"]),
    ],
)
def test_all_problems_of_a_policy_are_reported_at_once(text: str, problems: list[str]) -> None:
    with pytest.raises(ValueError, match="failure policy") as raised:
        FailurePolicy.parse(text)
    for problem in problems:
        assert problem in str(raised.value)


@pytest.mark.parametrize("tolerate", [-1, True, 1.5, None, "5", "%"])
def test_a_tolerance_that_is_neither_a_count_nor_a_percentage_is_refused(tolerate: Any) -> None:
    with pytest.raises(ValueError, match="tolerate must"):
        FailurePolicy(tolerate)


def test_a_policy_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="policy must be a FailurePolicy"):
        settle([], policy=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tolerate", "total", "allowed"),
    [(0, 10, 0), (3, 10, 3), ("5%", 100, 5), ("5%", 19, 0), ("0.5%", 1000, 5), ("29%", 100, 29), ("100%", 7, 7)],
)
def test_a_percentage_is_rounded_down_to_runs(tolerate: int | str, total: int, allowed: int) -> None:
    assert FailurePolicy(tolerate).allowed(total) == allowed


def many(failing: int, total: int) -> list[FakeFuture]:
    return [FakeFuture().fails(ValueError(n)) if n < failing else FakeFuture().ends(n) for n in range(total)]


def test_a_tolerated_run_has_the_default_as_result() -> None:
    assert gather(many(1, 4), policy="tolerate=25%", default="-") == ["-", 1, 2, 3]
    assert gather(many(1, 2), policy="tolerate=1") == [None, 1]
    report = settle(many(1, 4), policy=FailurePolicy(1))
    assert report.ok
    assert report.results() == [None, 1, 2, 3]
    assert len(report.failures) == 1


def test_one_failure_more_than_tolerated_raises_with_all_of_them() -> None:
    with pytest.raises(
        TaskRunsFailed, match=r"^2 of 4 task runs failed: 2 ValueError: 0 \(load\[0-1\]\); 1 would have been"
    ):
        gather(many(2, 4), policy="tolerate=1")


def test_runs_blocked_by_a_tolerated_one_are_tolerated_with_it() -> None:
    root = FakeFuture().fails(ValueError())
    assert gather([root, FakeFuture().is_blocked_by(root)], policy="tolerate=1") == [None, None]


def test_runs_blocked_by_one_that_was_not_passed_count_as_failures() -> None:
    elsewhere = FakeFuture().fails(ValueError())
    with pytest.raises(TaskRunsFailed):
        gather([FakeFuture().is_blocked_by(elsewhere)])
    assert gather([FakeFuture().is_blocked_by(elsewhere)], policy="tolerate=1") == [None]


def ending(policy: str, *, fail: int = 1) -> tuple[Any, list[FakeFuture], FakeFuture]:
    """Settle `fail` failures, a run that has started and two that have not; return the report and the futures."""
    failing = [FakeFuture() for _ in range(fail)]
    started, *waiting = futures = [FakeFuture(running=True), FakeFuture(), FakeFuture()]

    def act() -> None:
        until = time.monotonic() + 20
        while not all(future.callbacks for future in [*failing, *futures]):
            assert time.monotonic() < until
            time.sleep(0.001)
        for future in failing:
            future.fails(ValueError())
        if policy.endswith("finish"):
            for future in waiting:
                future.ends()
        if not policy.endswith("cancel"):
            while policy.endswith("drain") and not all(future.cancels for future in futures):
                time.sleep(0.001)
            started.ends()

    thread = threading.Thread(target=act)
    thread.start()
    report = settle([*failing, *futures], policy=policy)
    thread.join()
    return report, futures, started


def test_finish_lets_everything_run() -> None:
    report, futures, _ = ending("then=finish")
    assert [future.cancels for future in futures] == [[], [], []]
    assert report.counts == {Status.FAILED: 1, Status.COMPLETED: 3}


def test_drain_starts_no_more_runs_and_lets_running_ones_finish() -> None:
    report, futures, _ = ending("then=drain")
    assert [future.cancels for future in futures] == [[False], [False], [False]]
    assert [outcome.status for outcome in report] == ["failed", "completed", "cancelled", "cancelled"]


def test_cancel_also_stops_running_runs() -> None:
    report, futures, _ = ending("then=cancel")
    assert [future.cancels for future in futures] == [[True], [True], [True]]
    assert [outcome.status for outcome in report] == ["failed", "cancelled", "cancelled", "cancelled"]


def test_a_policy_acts_only_when_success_has_become_impossible() -> None:
    report, futures, _ = ending("tolerate=1,then=finish", fail=1)
    assert report.ok
    _, futures, _ = ending("tolerate=1,then=cancel", fail=2)
    assert all(future.cancels for future in futures)


def test_runs_that_the_policy_cancelled_are_counted_but_are_not_members() -> None:
    report, _, _ = ending("then=cancel")
    with pytest.raises(TaskRunsFailed) as raised:
        report.raise_for_failures()
    assert raised.value.message == "1 of 4 task runs failed: 1 ValueError (load[0]); 3 cancelled because of them"
    assert [type(member) for member in raised.value.exceptions] == [ValueError]


def test_the_policy_acts_in_async_as_well() -> None:
    async def main() -> None:
        waiting = FakeFuture()
        with pytest.raises(TaskRunsFailed, match="1 cancelled because of them"):
            await agather([FakeFuture().fails(ValueError()), waiting], policy="then=cancel")
        assert waiting.cancels == [True]

    asyncio.run(main())
