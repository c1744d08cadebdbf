"""The runner of a task, on its worker, offers the task everything that the runner of a flow offers the flow."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner

from prefect_anyrunner import Outcome, TaskRunsFailed, gather, map_settled, settle
from tests.engines.four_runners import OURS


@task
def double(number: int) -> int:
    return 2 * number


@task
def stay() -> None:
    while True:
        time.sleep(0.01)


def runner_here() -> Any:
    context = FlowRunContext.get()
    assert context is not None
    return context.task_runner


def indices(futures: Any) -> list[tuple[int | None, Any]]:
    return [(outcome.map_index, outcome.value) for outcome in settle(list(futures))]


@task
def submit_in_every_way() -> dict[str, Any]:
    here = runner_here()
    return {
        "submit": indices([double.submit(4)]),
        "map": indices(double.map([1, 2, 3])),
        "map of the runner": indices(here.map(double, {"number": [5, 6]})),
        "submit of the runner": indices([here.submit(double, {"number": 7})]),
        "map_settled": map_settled(double, [8, 9], keep_values=True).results(),
        "twin": type(here.duplicate()) is type(here),
    }


@task
def cancel_all() -> list[str]:
    futures = [stay.submit(), stay.submit()]
    here = runner_here()
    here.cancel_all()
    return [outcome.status.value for outcome in settle(futures)]


@task
def refuse(number: int) -> None:
    raise ValueError(number)


@task
def raise_one_of_two() -> None:
    try:
        gather(refuse.map([1, 2]))
    except TaskRunsFailed as failure:
        raise failure.exceptions[0] from failure


@pytest.mark.parametrize("kind", OURS)
def test_a_failure_may_be_raised_from_the_group_that_holds_it(runner: TaskRunner[Any]) -> None:
    @flow(task_runner=runner)
    def nested() -> Outcome:
        return settle([raise_one_of_two.submit()])[0]

    error = nested().error
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, TaskRunsFailed)
    assert [each.args for each in error.__cause__.exceptions] == [(1,), (2,)]
    assert error.__cause__.exceptions[0] is error


@pytest.mark.parametrize("kind", OURS)
def test_every_way_in_counts_and_runs(runner: TaskRunner[Any]) -> None:
    @flow(task_runner=runner)
    def nested() -> Any:
        return gather(submit_in_every_way.submit())

    assert nested() == {
        "submit": [(None, 8)],
        "map": [(0, 2), (1, 4), (2, 6)],
        "map of the runner": [(0, 10), (1, 12)],
        "submit of the runner": [(None, 14)],
        "map_settled": [16, 18],
        "twin": True,
    }


@pytest.mark.parametrize("kind", OURS)
def test_a_task_can_cancel_all_that_it_has_submitted(runner: TaskRunner[Any]) -> None:
    """On threads the task itself is among what its runner runs, and is let return."""

    @flow(task_runner=runner)
    def nested() -> Any:
        future: Any = cancel_all.submit()
        return settle(future)[0]

    outcome: Any = nested()
    assert outcome.value == ["cancelled", "cancelled"] or outcome.status.value == "cancelled"
