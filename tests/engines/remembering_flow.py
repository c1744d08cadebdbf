"""A flow whose tasks count their runs in every place where a task could remember them; prints as JSON what they found.

python remembering_flow.py SPEC
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from prefect import flow, task

COUNT = {"runs": 0}
TOTAL = 0
RUNS = 8


class Counter:
    runs = 0


class Marked:
    pass


def count() -> int:
    COUNT["runs"] += 1
    return COUNT["runs"]


@task
def in_global(number: int) -> int:
    COUNT["runs"] += 1
    return COUNT["runs"]


@task
def in_helper(number: int) -> int:
    return count()


@task
def in_rebound(number: int) -> int:
    global TOTAL
    TOTAL += 1
    return TOTAL


@task
def in_default(number: int, seen: list[int] = []) -> int:  # noqa: B006  # the point of it
    seen.append(number)
    return len(seen)


def made() -> Any:
    runs = 0

    @task
    def in_variable(number: int) -> int:
        nonlocal runs
        runs += 1
        return runs

    return in_variable


@task
def in_attribute(number: int) -> int:
    Counter.runs += 1
    return Counter.runs


@task
def in_new_attribute(number: int) -> int:
    Marked.runs = getattr(Marked, "runs", 0) + 1  # type: ignore[attr-defined]
    return int(Marked.runs)  # type: ignore[attr-defined]


@task
def in_hidden(number: int) -> int:
    globals()["hidden"] = globals().get("hidden", 0) + 1
    return int(globals()["hidden"])


WAYS: dict[str, Callable[[], Any]] = {
    "global": lambda: in_global,
    "helper": lambda: in_helper,
    "rebound": lambda: in_rebound,
    "default": lambda: in_default,
    "variable": made,
    "attribute": lambda: in_attribute,
    "new attribute": lambda: in_new_attribute,
    "hidden": lambda: in_hidden,
}


@flow
def remembering() -> dict[str, list[int]]:
    found = {}
    for name, way in WAYS.items():
        counting = way()
        futures = [counting.submit(number) for number in range(RUNS)]
        found[name] = [future.result() for future in futures]
    return found


if __name__ == "__main__":
    from prefect_anyrunner import pick

    runner = pick(sys.argv[1])
    print(json.dumps(remembering.with_options(task_runner=runner)()))
