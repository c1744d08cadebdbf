"""A run that waits for its next attempt is cancelled at once (rule K1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, runtime, task
from prefect.task_runners import TaskRunner

from prefect_anyrunner import Status, settle
from tests.engines.files import until_there
from tests.engines.four_runners import OURS
from tests.engines.states_in_api import check_task_runs


def note_attempt(task: Any, task_run: Any, state: Any) -> bool:
    """Say that an attempt has failed, as Prefect asks whether another one follows."""
    (Path(task_run.name) / "failed").touch()
    return True


def fails() -> None:
    raise ValueError("this time")


async def fails_in_coroutine() -> None:
    raise ValueError("this time")


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("body", [fails, fails_in_coroutine])
def test_a_run_that_waits_for_its_next_attempt_is_cancelled(runner: TaskRunner[Any], body: Any, tmp_path: Path) -> None:
    again: Any = task(
        body, retries=1, retry_delay_seconds=3600, retry_condition_fn=note_attempt, task_run_name=str(tmp_path)
    )

    @flow(task_runner=runner)
    def cancelling() -> tuple[Any, Status]:
        future: Any = again.submit()
        until_there(tmp_path / "failed")
        future.cancel()
        return runtime.flow_run.id, settle(future)[0].status

    flow_run_id, status = cancelling()
    assert status is Status.CANCELLED
    check_task_runs(flow_run_id, Cancelled=1)  # also if a worker that is being stopped publishes another state
