"""What a body has done to its worker process does not change what becomes of the next one."""

from __future__ import annotations

import asyncio
import json
import locale
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, runtime, task
from prefect.task_runners import TaskRunner

from prefect_anyrunner import gather, settle
from tests.engines.states_in_api import check_task_runs


@task
def ignore_signals(number: int) -> int:
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    return number


@task
def stay(folder: Path, number: int) -> None:
    (folder / f"stays {number}").touch()
    while True:
        time.sleep(0.01)


@pytest.mark.parametrize("kind", [pytest.param("ray", marks=pytest.mark.ray)])
def test_a_run_is_cancelled_though_the_one_before_it_ignores_signals(runner: TaskRunner[Any], tmp_path: Path) -> None:
    """Ray cancels by SIGINT; the other runners by nothing that a body can switch off."""

    @flow(task_runner=runner)
    def cancelling() -> Any:
        gather(ignore_signals.map(list(range(16))))  # on all workers, as good as always
        futures: list[Any] = [stay.submit(tmp_path, number) for number in range(2)]
        while len(list(tmp_path.iterdir())) < len(futures):
            time.sleep(0.01)
        for future in futures:
            future.cancel()
        return [outcome.status.value for outcome in settle(futures)]

    assert cancelling() == ["cancelled"] * 2


def refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("json is spoiled")


@task
def spoil() -> None:
    """Change everything about this process that a body can change without ending it."""
    for number in range(3):
        os.close(number)
    sys.stdout.close()
    sys.stderr = None
    locale.setlocale(locale.LC_ALL, "C")
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    os.rmdir(folder)
    os.umask(0o777)
    os.environ.clear()
    json.dumps = json.loads = refuse
    warnings.simplefilter("error")
    threading.stack_size(2**45)  # no thread can start any more
    asyncio.set_event_loop(asyncio.new_event_loop())


@task
def innocent(number: int) -> int:
    return number


@task
async def innocent_coroutine(number: int) -> int:
    return number


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    [
        "process://?max_workers=1",
        pytest.param("dask://?n_workers=1&threads_per_worker=1", marks=pytest.mark.dask),
        pytest.param("ray://?num_cpus=1", marks=pytest.mark.ray),
    ],
)
def test_innocent_runs_complete(spec: str, prefect_server: str) -> None:
    from prefect_anyrunner import pick

    @flow(task_runner=pick(spec))
    def spoiling() -> tuple[Any, list[Any]]:
        gather(spoil.submit())
        futures = [*innocent.map([1, 2, 3]), innocent_coroutine.submit(4)]
        return runtime.flow_run.id, gather(futures)

    flow_run_id, results = spoiling()
    assert results == [1, 2, 3, 4]
    check_task_runs(flow_run_id, Completed=5)
