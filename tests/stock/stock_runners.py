"""The four stock runners on their real engines, and short ways to use them."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner

from prefect_anyrunner import Outcome, settle

Runner = TaskRunner[Any]


def made(kind: str, request: pytest.FixtureRequest) -> Runner:
    if kind == "thread":
        return thread_runner(4)
    if kind == "process":
        return process_runner(2)
    if kind == "dask":
        address = request.getfixturevalue("dask_cluster")
        return dask_runner(address)
    request.getfixturevalue("ray_head")
    return ray_runner()


def thread_runner(workers: int = 1) -> Runner:
    return ThreadPoolTaskRunner(max_workers=workers)


def process_runner(workers: int = 1) -> Runner:
    return ProcessPoolTaskRunner(max_workers=workers)


def dask_runner(address: str) -> Runner:
    from prefect_dask.task_runners import DaskTaskRunner

    runner: Runner = DaskTaskRunner(address=address)
    return runner


def ray_runner() -> Runner:
    from prefect_ray.task_runners import RayTaskRunner

    runner: Runner = RayTaskRunner()
    return runner


def submitted(runner: Runner, task: Any, **options: Any) -> Any:
    parameters = {name: value for name, value in options.items() if name != "wait_for"}
    return runner.submit(task, parameters, wait_for=options.get("wait_for"))


def mapped(runner: Runner, task: Any, parameters: dict[str, Any]) -> Any:
    return runner.map(task, parameters)


def only(future: Any, timeout: float | None = 100) -> Outcome:
    report = settle(future, timeout=timeout)
    assert len(report) == 1
    return report[0]
