"""Flows with different settings that share workers: each run has the settings of its own flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.context import TaskRunContext
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect.task_runners import TaskRunner

from prefect_anyrunner import gather
from tests.engines.four_runners import OURS


@task(persist_result=True)
def homes(number: int) -> tuple[str, str]:
    """Return Prefect's home folder as a body sees it, and where its result is kept."""
    context = TaskRunContext.get()
    assert context is not None
    storage: Any = context.result_store.result_storage
    return str(PREFECT_HOME.value()), str(storage.basepath)


@pytest.mark.parametrize("kind", OURS[1:])  # threads have no workers
def test_two_homes_on_the_same_workers(runner: TaskRunner[Any], tmp_path: Path) -> None:
    @flow
    def reads_homes() -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = gather(homes.map(range(3)))
        return found

    for name in ("one", "other", "one"):
        home = tmp_path / name
        with temporary_settings({PREFECT_HOME: home}):
            found = reads_homes.with_options(task_runner=runner.duplicate())()
        assert found == [(str(home), str(home / "storage"))] * 3
        assert len(list((home / "storage").iterdir())) >= 3
