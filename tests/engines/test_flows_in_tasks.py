"""A flow that a task calls gets the runner that it asks for, or an error, also where the task's own runner is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.context import FlowRunContext

from prefect_anyrunner import AnyTaskRunner, EngineUnreachable, Outcome, gather, settle


@task
def where() -> int:
    return os.getpid()


@task
def call_flow(runner: Any) -> tuple[int, int]:
    """Return where the task of a flow runs that this task calls, and where this task runs."""

    @flow(task_runner=runner)
    def called() -> int:
        found: int = gather(where.submit())
        return found

    return called(), os.getpid()


def outcome_of_call(own: Any, runner: Any) -> Outcome:
    @flow(task_runner=own)
    def calling() -> Outcome:
        return settle(call_flow.submit(runner))[0]

    return calling()


def dask_runner(**settings: Any) -> Any:
    from prefect_anyrunner.backends.dask import DaskTaskRunner

    return DaskTaskRunner(**settings)


@pytest.fixture
def another(prefect_server: str, tmp_path: Path) -> Iterator[str]:
    """Give the address of a Dask cluster in this process."""
    from tests.engines.dask_here import dask_here

    with dask_here(tmp_path / "workers") as here:
        here.worker(threads=1)
        yield here.address


@pytest.mark.dask
def test_another_dask_cluster_is_used(dask_cluster: str, another: str) -> None:
    there, here = outcome_of_call(dask_runner(address=dask_cluster), dask_runner(address=another)).value
    assert there == os.getpid() != here


@task
def call_flow_on_cluster(runner: Any) -> bool:
    """Return whether the runner of a flow that this task calls uses the client of this task's worker."""
    from distributed import get_client

    @flow(task_runner=runner)
    def called() -> bool:
        assert gather(where.submit())
        context = FlowRunContext.get()
        started: Any = context and context.task_runner
        return started.client is get_client()

    return called()


@pytest.mark.dask
@pytest.mark.parametrize("asked", ["the same address", pytest.param("nothing", marks=pytest.mark.slow)])
def test_the_dask_cluster_of_the_task_needs_no_client_of_its_own(dask_cluster: str, asked: str) -> None:
    inner = dask_runner(address=dask_cluster) if asked == "the same address" else dask_runner()

    @flow(task_runner=dask_runner(address=dask_cluster))
    def calling() -> Any:
        return gather(call_flow_on_cluster.submit(inner))

    assert calling()


@pytest.mark.slow  # it starts a cluster of its own
@pytest.mark.dask
def test_the_same_choice_is_the_same_temporary_dask(prefect_server: str) -> None:
    @flow(task_runner=AnyTaskRunner("dask://?n_workers=1"))
    def calling() -> Any:
        return gather(call_flow_on_cluster.submit(AnyTaskRunner("dask://?n_workers=1")))

    assert calling()


@pytest.mark.ray
def test_another_ray_is_refused(ray_head: str) -> None:
    from prefect_anyrunner.backends.ray import RayTaskRunner

    outcome = outcome_of_call(RayTaskRunner(address=ray_head), RayTaskRunner(address="127.0.0.1:9"))
    assert isinstance(outcome.error, EngineUnreachable)
    assert "127.0.0.1:9" in str(outcome.error)


@pytest.mark.slow
@pytest.mark.ray
def test_the_ray_of_the_task_is_used(ray_head: str) -> None:
    from prefect_anyrunner.backends.ray import RayTaskRunner

    for asked in (None, ray_head):
        assert outcome_of_call(RayTaskRunner(address=ray_head), RayTaskRunner(address=asked)).value
