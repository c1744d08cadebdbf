"""A flow that prints where its tasks ran. `prefect.yaml` beside it deploys it."""

from __future__ import annotations

import os

from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, gather


@task
def where(day: str) -> int:
    """Return the process that this runs in."""
    return os.getpid()


@flow(task_runner=AnyTaskRunner(), log_prints=True)
def nightly(days: list[str]) -> str:
    """Return the runner that the tasks of this run ran on: the job variable `env.ANYRUNNER` decides."""
    elsewhere = os.getpid() not in gather(where.map(days))
    print(f"tasks ran {'in other processes' if elsewhere else 'in the process of the flow'}")
    return os.environ.get("ANYRUNNER", "thread")


if __name__ == "__main__":
    nightly(["mon", "tue"])
