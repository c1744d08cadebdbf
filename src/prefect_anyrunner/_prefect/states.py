"""The meaning of a Prefect state: its status, its value, its error, and how a task run takes on a state."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, UpstreamTaskError
from prefect.states import Crashed, Failed
from prefect.utilities.engine import link_state_to_task_run_result

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._base.safe_text import full_text
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._prefect.models import copy_with
from prefect_anyrunner._prefect.private import (
    ResultRecord,
    ResultRecordMetadata,
    error_in,
    result_in,
)

E = TypeVar("E", bound=BaseException)

_STANDS_FOR: dict[Status, type[Exception]] = {
    Status.FAILED: FailedRun,
    Status.CRASHED: CrashedRun,
    Status.CANCELLED: CancelledRun,
    Status.BLOCKED: UpstreamTaskError,
}
"""Prefect's exception for a run that did not complete, by status."""


def status_of(state: State[Any] | None) -> Status:
    """Return the status that a state means: UNFINISHED if it is neither final nor NotReady."""
    if state is None:
        return Status.UNFINISHED
    if state.is_completed():
        return Status.COMPLETED
    if state.is_failed():
        return Status.FAILED
    if state.is_crashed():
        return Status.CRASHED
    if state.is_cancelled():
        return Status.CANCELLED
    if state.is_pending() and state.name == "NotReady":
        return Status.BLOCKED
    return Status.UNFINISHED


# --- its data ----------------------------------------------------------------------------------------------------


def data_of(state: State[Any]) -> Any:
    """Return the data of a state, taken out of the record in which Prefect stores a result."""
    data: Any = state.data
    return data.result if isinstance(data, ResultRecord) else data


def with_data(state: State[Any], data: Any) -> State[Any]:
    """Return a copy of `state` with other data."""
    return copy_with(state, {"data": data})


def result_of(state: State[Any]) -> Any:
    """Return the value of a completed state. `State.result` would run an event loop, which takes 0.3 ms."""
    if state.data is None or isinstance(state.data, ResultRecordMetadata):
        return result_in(state)
    return data_of(state)


def held_error(state: State[Any]) -> BaseException | None:
    """Return the exception that a state holds as its data, if it holds one."""
    data = data_of(state)
    return data if isinstance(data, BaseException) else None


def error_of(state: State[Any]) -> BaseException | None:
    """Return the exception that a failed, crashed or cancelled state stands for; None for any other state.

    A body may return a state with any data. If no exception can be read from it, the error is Prefect's for this
    status, with the cause.
    """
    status = status_of(state)
    if status not in (Status.FAILED, Status.CRASHED, Status.CANCELLED):
        return None
    try:
        return error_in(with_data(state, data_of(state)))
    except Exception as problem:
        return because(_STANDS_FOR[status](state.message or f"The task returned the state {state.name}."), problem)


# --- its message -------------------------------------------------------------------------------------------------


def error_of_message(state: State[Any] | None) -> Exception | None:
    """Return an exception with the message of a state that came from the API without data; None if it completed."""
    kind = _STANDS_FOR.get(status_of(state))
    if state is None or kind is None:
        return None
    text = state.message or ""
    return kind(text.removeprefix("Task run encountered an exception ").strip() if kind is FailedRun else text)


_UPSTREAM = re.compile(r"Upstream task run '([0-9a-f-]{36})'")


def upstream_in(text: str) -> tuple[UUID, ...]:
    """Return the run that Prefect's sentence about an upstream run names, if it names one."""
    return tuple(UUID(found) for found in _UPSTREAM.findall(text))


# --- states and errors of our own --------------------------------------------------------------------------------


def because(error: E, cause: BaseException | None) -> E:
    """Return `error` with `cause` as its `__cause__`, as `raise error from cause` would set it."""
    error.__cause__ = cause
    return error


def lost_state(name: str | None, why: Exception) -> State[Any]:
    """Return the Crashed state of run `name`, which completed, but whose result is lost because of `why`."""
    return Crashed(message=f"Task run {name!r} crashed: {why}")


def unusable_state(why: CannotTravel) -> State[Any]:
    """Return the Failed state of a run whose result arrived but cannot be rebuilt (rule V1)."""
    return Failed(message=str(why))


def failed_by(error: Exception) -> State[Any]:
    """Return the Failed state of a run that `error` ended outside Prefect's task engine."""
    text = full_text(error)
    return Failed(message=text if isinstance(error, CannotTravel) else f"{type(error).__name__}: {text}")


# --- a task run and its state ------------------------------------------------------------------------------------


def put_engine_state(task_run: TaskRun, state: State[Any]) -> None:
    """Put a state on `task_run` as Prefect's task engine does before it emits the event."""
    before = task_run.state
    put_state(task_run, state)
    if before is not None and before.is_running():
        task_run.total_run_time += state.timestamp - before.timestamp
    if state.is_running():
        task_run.run_count += 1
    if state.is_final():
        link_state_to_task_run_result(state, data_of(state))


def put_state(task_run: TaskRun, state: State[Any]) -> None:
    """Put `state` on `task_run`, with the ids of the run, and with a time after that of the state before it."""
    before = task_run.state
    if before is not None and before.timestamp >= state.timestamp:
        state.timestamp = before.timestamp + timedelta(microseconds=1)
    state.state_details.task_run_id = task_run.id
    state.state_details.flow_run_id = task_run.flow_run_id
    task_run.state = state
    task_run.state_id, task_run.state_type, task_run.state_name = state.id, state.type, state.name
    if state.is_final() and task_run.end_time is None and task_run.start_time is not None:
        task_run.end_time = state.timestamp  # type: ignore[assignment]  # Prefect's DateTime is one


def moment(value: Any) -> datetime | None:
    """Return the time in a task run's field, or None; Prefect declares such fields with a wider type."""
    return value if isinstance(value, datetime) else None
