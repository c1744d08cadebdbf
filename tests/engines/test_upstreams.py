"""What a run waits for, however it is given, and in which thread it turns out to block the run (rules U1, U3)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from prefect_anyrunner import asettle, gather, settle
from tests.engines.files import until_there
from tests.engines.four_runners import OURS


@task
def fails() -> None:
    raise ValueError("upstream")


@task
async def after(before: Any) -> Any:
    return before


@pytest.mark.parametrize("kind", OURS)
def test_a_coroutine_is_blocked_where_an_event_loop_runs(runner: TaskRunner[Any]) -> None:
    @flow(task_runner=runner)
    async def blocked() -> list[str]:
        bad: Any = fails.submit()
        await asettle([bad])
        return [outcome.status.value for outcome in await asettle([after.submit(bad), *after.map([bad, 1])])]

    assert asyncio.run(blocked()) == ["blocked", "blocked", "completed"]


@task
def waits_for(path: Path) -> str:
    until_there(path)
    return "upstream"


@task
def exists(path: Path, number: int) -> bool:
    return path.exists()


@pytest.mark.parametrize("kind", OURS)
def test_all_runs_of_a_map_wait_for_what_an_iterator_gives(runner: TaskRunner[Any], tmp_path: Path) -> None:
    go = tmp_path / "go"

    def upstream(first: Any) -> Iterator[PrefectFuture[Any]]:
        yield first

    @flow(task_runner=runner)
    def waiting() -> Any:
        first: Any = waits_for.submit(go)
        found: Any = exists.map([go] * 3, [1, 2, 3], wait_for=upstream(first))
        go.touch()
        return gather(found)

    assert waiting() == [True] * 3


@task
def process_of(before: str) -> int:
    return os.getpid()


@pytest.mark.parametrize("kind", ["process"])
def test_a_run_behind_a_future_of_prefects_own_runner_runs_on_a_worker(runner: TaskRunner[Any], tmp_path: Path) -> None:
    go = tmp_path / "go"

    @flow(task_runner=runner)
    def mixed() -> Any:
        prefects_own: Any = ThreadPoolTaskRunner()
        with prefects_own as stock:
            upstream: Any = stock.submit(waits_for, {"path": go})
            later = process_of.submit(upstream)
            go.touch()
            return settle([later]).results()

    processes: Any = mixed()
    assert os.getpid() not in processes
