"""The stock runners, unwrapped, to compare with ours: those of `stock+thread://` and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import prefect.task_runners
from prefect.task_runners import TaskRunner


def build_thread(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `stock+thread://` spec."""
    return prefect.task_runners.ThreadPoolTaskRunner(**options)


def build_process(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `stock+process://` spec."""
    return prefect.task_runners.ProcessPoolTaskRunner(**options)


def build_dask(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `stock+dask://` spec."""
    from prefect_dask.task_runners import DaskTaskRunner

    from prefect_anyrunner.backends import dask

    ours: Any = dask.build(address, options)
    runner: TaskRunner[Any] = DaskTaskRunner(
        address=ours.address,
        cluster_class=ours.cluster_class,
        cluster_kwargs=ours.cluster_kwargs,
        adapt_kwargs=ours.adapt_kwargs,
        client_kwargs=ours.client_kwargs,
    )
    return runner


def build_ray(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `stock+ray://` spec."""
    from prefect_ray.task_runners import RayTaskRunner

    from prefect_anyrunner.backends import ray

    ours: Any = ray.build(address, options)
    runner: TaskRunner[Any] = RayTaskRunner(address=ours.address, init_kwargs=ours.init_kwargs)
    return runner
