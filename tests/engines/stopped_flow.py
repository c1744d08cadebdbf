"""Run a flow on a Ray of its own, and say in a folder how far it is: for tests that stop it, or Ray."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from prefect import flow, runtime, task

from prefect_anyrunner import RunnerSpec, settle


@task
def long(folder: str, number: int) -> int:
    (Path(folder) / f"runs-{number}").touch()
    time.sleep(4)
    return number


@task
def endless(folder: str) -> int:
    (Path(folder) / "runs").touch()
    time.sleep(600)
    return 0


@flow
def many(folder: str) -> list[int]:
    (Path(folder) / "flow-run").write_text(str(runtime.flow_run.id))
    futures = [long.submit(folder, number) for number in range(50)]
    (Path(folder) / "submitted").touch()
    return settle(futures).results()


@flow
def while_ray_is_shut_down(folder: str, wait_by: str) -> tuple[str, list[str]]:
    """Wait for runs while another thread of the user's shuts Ray down."""

    def shut_down() -> None:
        while not (Path(folder) / "runs").exists():
            time.sleep(0.05)
        ray.shutdown()

    running: Any = endless.submit(folder)
    behind_it = endless.submit(folder=folder, wait_for=[running], return_state=False)
    other = threading.Thread(target=shut_down)
    other.start()
    if wait_by == "wait":
        running.wait()
        behind_it.wait()
    outcomes = [*settle([running, behind_it])]
    other.join()
    outcomes += settle([endless.submit(folder)])
    return str(runtime.flow_run.id), [outcome.status.value for outcome in outcomes]


def main(what: str, folder: str) -> None:
    runner = RunnerSpec.load("ray://?num_cpus=2").runner()
    if what == "many":
        many.with_options(task_runner=runner)(folder)
        return
    seen = while_ray_is_shut_down.with_options(task_runner=runner)(folder, what)
    print("\n" + json.dumps([*seen, ray.is_initialized()]))


if __name__ == "__main__":
    importlib.import_module("tests.engines.stopped_flow").main(*sys.argv[1:])  # by name, as workers know it
