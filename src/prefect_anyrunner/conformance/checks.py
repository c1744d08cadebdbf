"""Helpers for cases, to look at outcomes, at files and at the Prefect API."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import ObjectNotFound

from prefect_anyrunner import Outcome, Status, settle
from prefect_anyrunner.conformance.open_flow import api_limit, limit

_STATE_NAMES = {
    Status.COMPLETED: "COMPLETED",
    Status.FAILED: "FAILED",
    Status.CRASHED: "CRASHED",
    Status.CANCELLED: "CANCELLED",
    Status.BLOCKED: "PENDING",  # Prefect shows a Pending state whose name is NotReady
}


def ended(future: Any) -> Outcome:
    """Wait for a future of any runner and return its outcome."""
    outcome = settle(future, timeout=limit())[0]
    assert outcome.status is not Status.UNFINISHED, (
        f"task run {future.task_run_id} of {outcome.task_name!r} has not ended after {limit():g} s"
    )
    return outcome


def now(future: Any) -> Outcome | None:
    """Return the outcome of a future of any runner if the run has ended."""
    outcome = settle(future, timeout=0)[0]
    return None if outcome.status is Status.UNFINISHED else outcome


def statuses(futures: Any) -> list[str]:
    """Wait for futures and return their statuses as text."""
    return [ended(future).status.value for future in futures]


def lines(path: str) -> int:
    """Return the number of lines that tasks have appended to a file; 0 if it does not exist."""
    file = Path(path)
    return len(file.read_text().splitlines()) if file.exists() else 0


def until(condition: Callable[[], Any], within: float | None = None) -> None:
    """Wait until `condition()` is true."""
    seconds = within or limit()
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not happen within {seconds:g} seconds"
        time.sleep(0.02)


def read_task_run(task_run_id: UUID, end: float | None = None) -> TaskRun:
    """Return a task run from the Prefect API, and wait until the API has it."""
    end = time.monotonic() + api_limit() if end is None else end
    with get_client(sync_client=True) as client:
        while True:
            try:
                return client.read_task_run(task_run_id)
            except ObjectNotFound:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)


def shown(outcome: Outcome, end: float | None = None) -> State[Any] | None:
    """Return the state that the Prefect API shows for a run, once it agrees with the outcome or the time is up."""
    assert outcome.task_run_id is not None
    end = time.monotonic() + api_limit() if end is None else end
    while True:
        state = read_task_run(outcome.task_run_id, end).state
        if agree(outcome, state) or time.monotonic() > end:
            return state
        time.sleep(0.1)


def states_now(task_run_ids: Iterable[UUID | None]) -> dict[UUID | None, State[Any] | None]:
    """Return the states that the Prefect API has now, without waiting, of at most 200 runs."""
    asked = TaskRunFilter(id=TaskRunFilterId(any_=[each for each in task_run_ids if each is not None]))
    with get_client(sync_client=True) as client:
        return {run.id: run.state for run in client.read_task_runs(task_run_filter=asked)}


def contradictions(outcomes: Iterable[Outcome]) -> list[str]:
    """Return a sentence for each outcome that disagrees with the Prefect API when the time is up."""
    end = time.monotonic() + api_limit()
    wrong = []
    for outcome in outcomes:
        try:
            state = repr(found) if not agree(outcome, found := shown(outcome, end)) else None
        except ObjectNotFound:
            state = "no task run"
        if state is not None:
            wrong.append(f"{outcome.task_name} is {outcome.status.value}, but the API shows {state}")
    return wrong


def agree(outcome: Outcome, state: State[Any] | None) -> bool:
    """Return whether a state of the API agrees with the outcome."""
    if state is None or state.type.value != _STATE_NAMES[outcome.status]:
        return False
    return outcome.status is not Status.BLOCKED or state.name == "NotReady"
