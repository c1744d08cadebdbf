"""A flow that holds what cannot travel, while its tasks do not; prints as JSON what each of them made of it.

python bound_flow.py SPEC
"""

from __future__ import annotations

import contextvars
import json
import sqlite3
import sys
import threading
from typing import Any

from prefect import flow, task
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

LOCK = threading.Lock()
CONNECTION = sqlite3.connect(":memory:", check_same_thread=False)
FILE = open(__file__)  # noqa: SIM115  # open while the flow runs
CURRENT: contextvars.ContextVar[int] = contextvars.ContextVar("current", default=3)


@task
def double(number: int) -> int:
    return 2 * number


@flow
def below(number: int) -> int:
    return int(double.submit(number).result())


@task
def through_subflow(number: int) -> int:
    return below(number)


@task
def about_flow() -> list[Any]:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow is not None
    return [flow_run.flow_name, context.flow.name, context.flow.version, context.flow.retries, context.flow.marked]  # type: ignore[attr-defined]


@task
def parent(number: int) -> int:
    global LATER
    LATER = threading.Lock()  # what the parent holds now could not travel with what it submits
    with LATER:
        return int(double.submit(number).result())


LATER: Any = None


@task
def holds_the_lock(number: int) -> int:
    with LOCK:
        return number


def noted(flow: Any, flow_run: Any, state: Any) -> None:
    with LOCK:
        CONNECTION.execute("select 1")


@flow(name="bound", version="7", retries=2, on_completion=[noted], flow_run_name=lambda: f"bound-{LOCK.locked()}")
def bound() -> dict[str, Any]:
    with LOCK:
        (one,) = CONNECTION.execute("select 1").fetchone()
    FILE.read(1)
    numbers = double.map([one, CURRENT.get()]).result()
    refused: Any = holds_the_lock.submit(1)
    refused.wait()
    return {
        "numbers": numbers,
        "subflow": through_subflow.submit(5).result(),
        "about": about_flow.submit().result(),
        "parent": parent.submit(7).result(),
        "refused": type(refused.result(raise_on_failure=False)).__name__,
    }


if __name__ == "__main__":
    from prefect_anyrunner import pick

    here: Any = bound.with_options(task_runner=pick(sys.argv[1]))
    here.lock, here.marked = LOCK, "yes"
    print(json.dumps(here()))
