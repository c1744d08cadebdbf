"""Waiting inside a Ray task: Ray frees the CPU of a task only while that task itself waits for Ray (rule N1)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any

import ray

from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.ledger import RunLedger

_WAIT_SECONDS = 0.5
"""Seconds that one wait for Ray may take, because other runs may be sent meanwhile."""
_UNSENT_SECONDS = 0.02
"""Poll interval, in seconds, while none of the awaited runs has reached Ray."""


def wait_in_ray(ledger: RunLedger, futures: Sequence[AnyFuture[Any]], timeout: float | None) -> None:
    """Free the CPU of the calling task until one of `futures` has ended, for `timeout` seconds at most."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    done: set[Any] = set()  # Ray is done with these, and their results are on the way here
    while (left := end - time.monotonic()) > 0 and all(each.outcome() is None for each in futures):
        if awaited := _references_of(ledger, futures) - done:
            ready, _ = ray.wait(list(awaited), num_returns=1, timeout=min(left, _WAIT_SECONDS))
            done.update(ready)
        else:
            wait([each.wrapped_future for each in futures], min(left, _UNSENT_SECONDS), FIRST_COMPLETED)


def _references_of(ledger: RunLedger, futures: Iterable[Any]) -> set[Any]:
    """Return the Ray tasks behind `futures`: those of the runs themselves, or of runs that they wait for in turn."""
    found: set[Any] = set()
    todo = list(futures)
    seen: set[Any] = set()
    while todo:
        run = ledger.get(getattr(todo.pop(), "task_run_id", None))  # a state has no id
        if run is None or run.id in seen:
            continue
        seen.add(run.id)
        if (batch := run.handle) is not None:
            found.add(batch.reference)
        else:
            todo += run.upstreams
    return found
