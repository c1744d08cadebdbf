"""Print which engine a flow ran on, where this process or its environment knows another one.

Arguments: what the process has before ("nothing", "client" or "ray"), and the runner to ask for.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from typing import Any

from prefect import flow, task

from prefect_anyrunner import RunnerSpec, gather


def runner_of(asked: str) -> Any:
    if asked == "RayTaskRunner()":
        from prefect_anyrunner.backends.ray import RayTaskRunner

        return RayTaskRunner()
    if asked == "DaskTaskRunner()":
        from prefect_anyrunner.backends.dask import DaskTaskRunner

        return DaskTaskRunner()
    return RunnerSpec.load(asked).runner()


@task
def where() -> str:
    with contextlib.suppress(ImportError, ValueError):
        import distributed

        return str(distributed.get_worker().scheduler.address)
    import ray

    return str(ray.get_runtime_context().gcs_address)


@flow
def asking() -> str:
    [address] = gather([where.submit()])
    return str(address)


def main(before: str, asked: str) -> None:
    there, still = "", True
    with contextlib.ExitStack() as stack:
        if before == "client":
            distributed: Any = importlib.import_module("distributed")
            cluster = stack.enter_context(distributed.LocalCluster(n_workers=1, dashboard_address="127.0.0.1:0"))
            client = stack.enter_context(distributed.Client(cluster))
            there = cluster.scheduler_address
        elif before == "ray":
            import ray

            ray.init("local", num_cpus=2, include_dashboard=False)
            there = ray.get_runtime_context().gcs_address
        found = asking.with_options(task_runner=runner_of(asked))()
        if before == "client":
            still = client.status == "running" and distributed.get_client() is client
        elif before == "ray":
            still = ray.is_initialized() and ray.get_runtime_context().gcs_address == there
    print("\n" + json.dumps([there, found, still]), flush=True)


if __name__ == "__main__":
    importlib.import_module("tests.engines.asked_for").main(*sys.argv[1:])  # by name, as workers know it
