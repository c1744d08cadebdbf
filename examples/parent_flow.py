"""A parent flow settles what its subflows returned, also where one of them failed.

A flow that returns futures hands states to its caller; `settle` and `gather` take them as they are.

    python examples/parent_flow.py
    ANYRUNNER=ray python examples/parent_flow.py
"""

from __future__ import annotations

import math
from typing import Any

from prefect import flow, task

from prefect_anyrunner import AnyTaskRunner, settle


@task
def square_root(number: float) -> float:
    """Return the square root. Raises ValueError for a negative number."""
    return math.sqrt(number)


@flow(task_runner=AnyTaskRunner())
def roots(numbers: list[float]) -> Any:
    """Return the futures of all roots, without waiting for them."""
    return square_root.map(numbers)


@flow
def several(batches: dict[str, list[float]]) -> dict[str, list[float | None]]:
    """Return the roots of each batch, None where there is none."""
    answers = {name: roots(numbers, return_state=True) for name, numbers in batches.items()}
    found: dict[str, list[float | None]] = {name: [] for name in batches}
    for outcome in settle(answers):
        found[str(outcome.path[0])].append(outcome.value)
    return found


if __name__ == "__main__":
    print(several({"good": [1.0, 4.0, 9.0], "mixed": [16.0, -1.0]}))
