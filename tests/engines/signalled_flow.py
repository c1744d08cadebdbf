"""A flow of fifty tasks that says in a folder how far it is: for tests that send it signals."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path

from prefect import flow, task

from prefect_anyrunner import RunnerSpec, settle


@task
def long(folder: str, number: int, seconds: float, times: int) -> int:
    (Path(folder) / f"runs-{number}").touch()
    try:
        for _ in range(times):
            time.sleep(seconds)
    except BaseException:
        (Path(folder) / f"stopped-{number}").touch()
        raise
    return number


@flow
def many(folder: str, seconds: float, times: int, *, waits: bool) -> None:
    """Submit fifty tasks, and wait for them or leave that to the end of the flow run."""
    futures = []
    for number in range(50):
        futures.append(long.submit(folder, number, seconds, times))
        (Path(folder) / f"submitted-{number}").touch()
    if waits:
        settle(futures)
    while not [*Path(folder).glob("runs-*")]:
        time.sleep(0.05)


def main(spec: str, moment: str, folder: str, seconds: str, times: str) -> None:
    flow_run = many.with_options(task_runner=RunnerSpec.load(spec).runner(), flow_run_name=Path(folder).name)
    flow_run(folder, float(seconds), int(times), waits=moment != "end")


if __name__ == "__main__":
    importlib.import_module("tests.engines.signalled_flow").main(*sys.argv[1:])  # by name, as workers know it
