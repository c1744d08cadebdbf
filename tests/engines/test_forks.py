"""A process that a body forks ends where the body ends, and never goes on as a second worker or a second flow."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from prefect import flow, task
from prefect.task_runners import TaskRunner

from prefect_anyrunner import gather
from tests.engines.four_runners import OURS
from tests.engines.states_in_api import check_task_runs

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12's, in a process with threads

CODES = {"returns": 0, "raises": 1, "exits": 5}


def fork(how: str) -> int:
    """Return the exit code of a child that leaves the body in one of three ways."""
    child = os.fork()
    if child == 0:
        match how:
            case "raises":
                raise ValueError("in the child")
            case "exits":
                sys.exit(CODES[how])
            case _:
                return -1
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@task
def forks(how: str) -> int:
    return fork(how)


@task
async def forks_in_coroutine(how: str) -> int:
    return fork(how)


@pytest.mark.parametrize("kind", OURS)
def test_a_child_ends_with_the_body(runner: TaskRunner[Any]) -> None:
    @flow(task_runner=runner)
    def forking() -> tuple[Any, list[Any]]:
        from prefect import runtime

        return runtime.flow_run.id, [gather(each.map(list(CODES))) for each in (forks, forks_in_coroutine)]

    flow_run_id, codes = forking()
    assert codes == [list(CODES.values())] * 2
    check_task_runs(flow_run_id, Completed=2 * len(CODES))
