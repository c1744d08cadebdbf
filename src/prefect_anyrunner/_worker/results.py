"""The result of a finished run, as the flow's process gets it."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.results import should_persist_result
from prefect.settings import get_current_settings
from prefect.states import Crashed
from prefect.tasks import Task

from prefect_anyrunner._base.errors import AnyRunnerError, CannotTravel
from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._prefect.private import ResultRecord
from prefect_anyrunner._prefect.states import error_of, failed_by, result_of, with_data
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.values import dumps
from prefect_anyrunner._worker.interrupt import came_from_body
from prefect_anyrunner._worker.messages import RunResult, WorkerHost


def pack(
    host: WorkerHost, task: Task[Any, Any], task_run: TaskRun, raised: BaseException | None, *, claim: str
) -> RunResult:
    """Return the result of a run; a value that cannot travel makes it a failed run (rule V1)."""
    state = task_run.state
    assert state is not None
    if raised is not None and not (state.is_crashed() or state.is_cancelled()):
        if (masked := masked_failure(claim, raised)) is not None:
            return pack_failure(host, task_run, masked)
        return pack_crash(host, task_run, raised)
    metadata = state.data.metadata if isinstance(state.data, ResultRecord) and _is_stored(task) else None
    if state.is_completed():
        try:
            value = dumps(result_of(state), what=f"the result of task {task.name!r}")
        except CannotTravel as exc:
            return pack_failure(host, task_run, exc)
        return _packed(host, task_run, state, metadata=metadata, value=value, value_size=len(value))
    error = raised if raised is not None else error_of(state)
    return _packed(host, task_run, state, metadata=metadata, error=None if error is None else pack_error(error))


def _is_stored(task: Task[Any, Any]) -> bool:
    """Return whether Prefect's task engine stores the result of `task`; it makes a record and a key either way."""
    persists = task.persist_result
    if persists is None:
        persists = get_current_settings().tasks.default_persist_result
    return should_persist_result() if persists is None else persists


def not_started(host: WorkerHost, error: BaseException) -> RunResult:
    """Return the result of a run whose body was not started here, because of `error`."""
    if isinstance(error, AnyRunnerError):
        why = str(error)
    else:
        why = f"{host.backend} worker {host.name()} could not begin it: {described(error)}"
    return RunResult(worker=host.name(), refused=why, error=pack_error(error))


def pack_failure(host: WorkerHost, task_run: TaskRun, error: Exception) -> RunResult:
    """Return the result of a run that `error` failed outside Prefect's task engine."""
    return _packed(host, task_run, failed_by(error), error=pack_error(error))


def pack_crash(host: WorkerHost, task_run: TaskRun, error: BaseException) -> RunResult:
    """Return the result of a run that `error` ended."""
    state: State[Any] = Crashed(message=f"The task run ended by {described(error)}")
    return _packed(host, task_run, state, error=pack_error(error))


def masked_failure(claim: str, raised: BaseException) -> Exception | None:
    """Return the exception of a body if `raised` hides it, because Prefect could not print that exception."""
    error = raised.__context__
    for _ in range(10):
        if not isinstance(raised, Exception) or not isinstance(error, Exception):
            return None
        if came_from_body(claim, error):
            return error
        error = error.__context__
    return None


def _packed(host: WorkerHost, task_run: TaskRun, state: State[Any], **more: Any) -> RunResult:
    return RunResult(
        worker=host.name(),
        state=with_data(state, None),
        name=task_run.name,
        attempts=max(task_run.run_count, 1),
        started=task_run.start_time,
        ended=task_run.end_time,
        total_run_time=task_run.total_run_time,
        **more,
    )
