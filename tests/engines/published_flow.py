"""Flows whose server is slow or goes away; a child process runs them as its parent says."""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task

from prefect_anyrunner import Report, RunnerSpec, settle
from prefect_anyrunner._provisioning.child import Parent


@task
def noop(number: int) -> int:
    return number


@task
def fails(number: int) -> int:
    if number % 10 == 0:
        raise ValueError(number)
    return number


@task
def waits_for(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.05)


@task
def submits(number: int) -> list[Any]:
    return settle(noop.map(range(number))).results()


def counts(report: Report) -> dict[str, int]:
    return {status.value: n for status, n in report.counts.items()}


@flow
def many(parent: Parent, runs: int) -> dict[str, int]:
    parent.send(str(runtime.flow_run.id))
    return counts(settle(noop.map(range(runs))))


@task
def count(numbers: Any) -> int:
    return len(numbers)


@flow
def many_inputs(parent: Parent, runs: int) -> dict[str, int]:
    parent.send(str(runtime.flow_run.id))
    futures = noop.map(range(runs))
    return counts(settle([*futures, count.submit(futures)]))


@flow
def in_two_halves(parent: Parent, runs: int) -> dict[str, int]:
    """Run one half, and the other when the parent says so."""
    parent.send(str(runtime.flow_run.id))
    report = settle(noop.map(range(runs // 2)))
    parent.send("half")
    parent.receive()
    rest = settle(noop.map(range(runs // 2)))
    parent.send("whole")
    parent.receive()
    return {status.value: n for status, n in (report.counts + rest.counts).items()}


@flow
def nested(parent: Parent, runs: int) -> dict[str, int]:
    parent.send(str(runtime.flow_run.id))
    return counts(settle([submits.submit(runs)]))


@flow
def waiting(parent: Parent, path: str) -> dict[str, int]:
    parent.send(str(runtime.flow_run.id))
    return counts(settle([waits_for.submit(path)]))


@task
def endless(path: str) -> None:
    with Path(path).open("a") as started:
        started.write("x")
    while True:
        time.sleep(0.05)


@flow
def for_ever(parent: Parent, path: str) -> dict[str, int]:
    parent.send(str(runtime.flow_run.id))
    return counts(settle([endless.submit(path) for _ in range(6)]))


@flow(timeout_seconds=float(os.environ.get("FLOW_TIMEOUT", "4")))
def too_long(parent: Parent, path: str) -> None:
    parent.send(str(runtime.flow_run.id))
    for _ in range(6):
        endless.submit(path)
    while True:
        time.sleep(0.05)


@task
def until(started: str, path: str) -> None:
    with Path(started).open("a") as file:
        file.write("x")
    waits_for.fn(path)


def _until_two_run(started: str) -> None:
    while not Path(started).exists() or Path(started).read_text() != "xx":
        time.sleep(0.05)


@flow
def raises(parent: Parent, started: str) -> None:
    """Raise while two tasks run, which end once the file beside theirs is there."""
    parent.send(str(runtime.flow_run.id))
    for _ in range(6):
        until.submit(started, f"{started}-go")
    _until_two_run(started)
    parent.send("raises")
    raise ValueError("the flow itself")


@flow
def exits(parent: Parent, started: str) -> None:
    """Call `sys.exit` while two tasks run."""
    parent.send(str(runtime.flow_run.id))
    for _ in range(6):
        endless.submit(started)
    _until_two_run(started)
    sys.exit(3)


@flow
def failing(parent: Parent, runs: int) -> dict[str, int]:
    parent.send(str(runtime.flow_run.id))
    return counts(settle(fails.map(range(runs))))


def main(descriptor: int) -> None:
    parent = Parent(descriptor)
    spec, name, argument = parent.receive()
    chosen: Callable[..., Any] = globals()[name].with_options(
        task_runner=RunnerSpec.parse(spec).runner(), validate_parameters=False
    )
    parent.send(chosen(parent, argument))


if __name__ == "__main__":
    importlib.import_module("tests.engines.published_flow").main(int(sys.argv[1]))  # by name, as workers know it
