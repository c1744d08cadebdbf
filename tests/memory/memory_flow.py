"""A flow whose task takes memory until the engine's monitor ends its worker. It prints the ends of its runs as JSON.

python memory_flow.py dask|ray FOLDER
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from prefect import flow, task

from prefect_anyrunner import settle

STEP = 20 * 2**20
MOST = 6 * 2**30
"""Bytes after which the task gives up, because the monitor has not ended its worker."""


@task
def hog(folder: str) -> int:
    with (Path(folder) / "ran").open("a") as file:
        file.write("x\n")
    taken: list[bytes] = []
    while len(taken) * STEP < MOST:
        taken.append(b"x" * STEP)
        time.sleep(0.05)  # the monitors measure a few times in a second
    return len(taken)


@task
def peer(folder: str) -> str:
    """Start before the hog and end after it."""
    (Path(folder) / "started").touch()
    while not (Path(folder) / "over").exists():
        time.sleep(0.05)
    return "lives"


@task
def after(number: int) -> int:
    return number


def runner(name: str) -> Any:
    if name == "dask":
        from prefect_anyrunner.backends.dask import DaskTaskRunner

        cluster = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "500MB", "dashboard_address": "127.0.0.1:0"}
        return DaskTaskRunner(cluster_kwargs=cluster)
    from prefect_anyrunner.backends.ray import RayTaskRunner

    # Ray measures the memory of the whole machine, so the threshold is a little above the memory that is taken now.
    memory = psutil.virtual_memory()
    config = {
        "memory_usage_threshold": (memory.total - memory.available + 2.5 * 2**30) / memory.total,
        "memory_monitor_refresh_ms": 100,
    }
    return RayTaskRunner(
        init_kwargs={"num_cpus": 2, "include_dashboard": False, "log_to_driver": False, "_system_config": config}
    )


@flow
def exhausting(folder: str) -> list[dict[str, str]]:
    lives = peer.submit(folder)
    while not (Path(folder) / "started").exists():
        time.sleep(0.05)
    first = settle(hog.submit(folder))
    (Path(folder) / "over").touch()
    report = [*first, *settle([lives, *after.map(range(4))])]
    return [{"id": str(each.task_run_id), "status": each.status.value, "error": str(each.error)} for each in report]


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    print(json.dumps(exhausting.with_options(task_runner=runner(name))(folder)))
