"""What a Prefect state means: this is the only place that knows."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, UpstreamTaskError
from prefect.states import Crashed, Failed
from prefect.utilities.engine import link_state_to_task_run_result

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._base.safe_text import _text
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._prefect.models import copy_with
from prefect_anyrunner._prefect.private import (
    ResultRecord,
    ResultRecordMetadata,
    error_in,
    result_in,
)


def _judged(state: State[Any] | None) -> tuple[Status, Exception | None]:
    text = (state.message if state is not None else None) or ""
    if state is None or not (state.is_final() or state.name == "NotReady"):
        return Status.UNFINISHED, None
    if state.is_completed():
        return Status.COMPLETED, None
    if state.name == "NotReady":
        return Status.BLOCKED, UpstreamTaskError(text)
    if state.is_cancelled():
        return Status.CANCELLED, CancelledRun(text)
    if state.is_crashed():
        return Status.CRASHED, CrashedRun(text)
    return Status.FAILED, FailedRun(text.removeprefix("Task run encountered an exception ").strip())


def lost_state(name: str | None, why: Exception) -> State[Any]:
    """Return the Crashed state of a run that completed, but whose result nobody can have because of `why`."""
    return Crashed(message=f"Task run {name!r} crashed: {why}")


_UPSTREAM = re.compile(r"Upstream task run '([0-9a-f-]{36})'")


def upstream_in(text: str) -> tuple[UUID, ...]:
    """Return the run that Prefect's sentence about an upstream run names, if it names one."""
    return tuple(UUID(found) for found in _UPSTREAM.findall(text))


def _data_error(state: State[Any]) -> BaseException | None:
    data = state.data.result if isinstance(state.data, ResultRecord) else state.data
    return data if isinstance(data, BaseException) else None


def failed_by(error: Exception) -> State[Any]:
    """Return the Failed state of a run that `error` ended without the engine's doing."""
    text = _text(error)
    return Failed(message=text if isinstance(error, CannotTravel) else f"{type(error).__name__}: {text}")


def result_of(state: State[Any]) -> Any:
    """Return what a completed state holds; `State.result` would go through an event loop for it, for 0.3 ms."""
    data: Any = state.data
    if isinstance(data, ResultRecord):
        return data.result
    if data is None or isinstance(data, ResultRecordMetadata):
        return result_in(state)
    return data


def error_of(state: State[Any]) -> BaseException:
    """Return the exception that a failed, crashed or cancelled state stands for, also one that a body made itself."""
    held = state.data.result if isinstance(state.data, ResultRecord) else state.data
    try:
        return error_in(without_data(state, held))
    except Exception as problem:  # a body may put anything into the state that it returns
        kind = CrashedRun if state.is_crashed() else CancelledRun if state.is_cancelled() else FailedRun
        error = kind(state.message or f"The task returned the state {state.name}.")
        error.__cause__ = problem
        return error


def without_data(state: State[Any], data: Any = None) -> State[Any]:
    """Return a copy of `state` with other data."""
    return copy_with(state, {"data": data})


def crashed_error(text: str, cause: BaseException | None = None) -> CrashedRun:
    """Return the `CrashedRun` that stands in a group for a crashed run, with what caused it."""
    error = CrashedRun(text)
    error.__cause__ = cause
    return error


def end(task_run: TaskRun, state: State[Any]) -> None:
    """Put a final state on `task_run` as Prefect's engine does before it emits the event."""
    before = task_run.state
    place(task_run, state)
    if before is not None and before.is_running():
        task_run.total_run_time += state.timestamp - before.timestamp
    link_state_to_task_run_result(state, state.data.result if isinstance(state.data, ResultRecord) else state.data)


def place(task_run: TaskRun, state: State[Any]) -> None:
    """Put `state` on `task_run`: a later one than the one before, with the ids of its run."""
    before = task_run.state
    if before is not None and before.timestamp >= state.timestamp:
        state.timestamp = before.timestamp + timedelta(microseconds=1)
    state.state_details.task_run_id = task_run.id
    state.state_details.flow_run_id = task_run.flow_run_id
    task_run.state = state
    task_run.state_id, task_run.state_type, task_run.state_name = state.id, state.type, state.name
    if state.is_final() and task_run.end_time is None and task_run.start_time is not None:
        task_run.end_time = state.timestamp  # type: ignore[assignment]  # Prefect's DateTime is one


# --- pure functions ----------------------------------------------------------------------------------------------


def status_of(state: State[Any]) -> Status:
    """Return the status that a state means; a state that is not final and not NotReady counts as crashed."""
    if state.is_completed():
        return Status.COMPLETED
    if state.is_failed():
        return Status.FAILED
    if state.is_cancelled():
        return Status.CANCELLED
    if state.is_pending() and state.name == "NotReady":
        return Status.BLOCKED
    return Status.CRASHED


def _moment(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None
