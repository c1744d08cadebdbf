"""Task runs that a cancelled task run has submitted do not outlive it on a worker (rules K1 and N1)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, runtime, task
from prefect.task_runners import TaskRunner

from prefect_anyrunner import Status, settle
from tests.engines.files import until_there
from tests.engines.four_runners import OURS
from tests.engines.states_in_api import WITHIN, check_task_runs, task_run_states


@task
def endless(folder: Path) -> None:
    (folder / "child runs").touch()
    while True:
        time.sleep(0.01)


@task
def waits(folder: Path) -> None:
    endless.submit(folder).wait()


@task
async def waits_in_coroutine(folder: Path) -> None:
    endless.submit(folder)
    await asyncio.Event().wait()


@task
def returns(folder: Path) -> None:
    endless.submit(folder)


@pytest.mark.parametrize("parent", [waits, waits_in_coroutine], ids=lambda each: each.name)
@pytest.mark.parametrize("kind", OURS[1:])  # on threads all runs are runs of the flow
def test_children_are_cancelled_with_their_parent(runner: TaskRunner[Any], parent: Any, tmp_path: Path) -> None:
    @flow(task_runner=runner)
    def cancelling() -> tuple[Any, Status]:
        future = parent.submit(tmp_path)
        until_there(tmp_path / "child runs")
        # A process that is killed cannot report a child that the API does not know yet.
        while task_run_states(runtime.flow_run.id).total() < 2:
            time.sleep(0.2)
        future.cancel()
        return runtime.flow_run.id, settle(future)[0].status

    flow_run_id, status = cancelling()
    assert status is Status.CANCELLED
    check_task_runs(flow_run_id, Cancelled=2)


@pytest.mark.parametrize("kind", OURS[:3])
def test_children_of_a_task_that_has_returned_are_cancelled_with_the_flow(
    runner: TaskRunner[Any], tmp_path: Path
) -> None:
    @flow(task_runner=runner)
    def interrupted() -> None:
        (tmp_path / "flow run").write_text(str(runtime.flow_run.id))
        returns.submit(tmp_path)
        until_there(tmp_path / "child runs")
        while task_run_states(runtime.flow_run.id).total() < 2:
            time.sleep(0.2)
        raise KeyboardInterrupt  # as Ctrl-C does

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    flow_run_id = UUID((tmp_path / "flow run").read_text())
    # A process is killed before it can report that its task has returned.
    ends = [Counter(Completed=1, Cancelled=1), Counter(Cancelled=2)]
    until = time.monotonic() + WITHIN
    while (found := task_run_states(flow_run_id)) not in ends and time.monotonic() < until:
        time.sleep(0.2)
    assert found in ends, found
    check_next_run(runner)


def check_next_run(runner: TaskRunner[Any]) -> None:
    """Check that a worker that has ended children is free for the next run."""

    @task
    def next_one(number: int) -> int:
        return number

    @flow(task_runner=runner)
    def later() -> Any:
        return settle(next_one.map(range(4))).results()

    assert later() == [0, 1, 2, 3]
