"""Turns a result, a state or a loss into the one `End` of a run. Nothing here changes a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun, CrashedRun, MissingResult, UpstreamTaskError
from prefect.states import Cancelled, Crashed, Failed

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._driver.modules import note_missing_module
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._driver.upstreams import blockers, root_causes
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._prefect.private import ResultRecordMetadata
from prefect_anyrunner._prefect.states import (
    because,
    error_of,
    failed_by,
    lost_state,
    result_of,
    status_of,
    unusable_state,
)
from prefect_anyrunner._publishing.change import change_to
from prefect_anyrunner._publishing.runner_events import RunnerEvents
from prefect_anyrunner._serialization.unpack import unpack_error
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._worker.engine import WHILE_RUNNING as WHILE_RUNNING
from prefect_anyrunner._worker.messages import RunResult
from prefect_anyrunner._worker.results import masked_failure

NOT_STARTED = "It was cancelled before it started."
NOT_STOPPED = "It was cancelled while it ran, and had not stopped when the flow run ended."
FLOW_ENDED = "The flow run ended before it started."


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended.

    `report_to_api`: whether the flow's process still has to report `state` to the Prefect API, because Prefect's
    task engine has not done so.
    """

    state: State[Any]
    status: Status
    value: Any = None
    error: BaseException | None = None
    upstream: tuple[UUID, ...] = ()
    worker: str | None = None
    metadata: ResultRecordMetadata | None = None
    report_to_api: bool = True


def cancelled(message: str, *, worker: str | None = None) -> End:
    """Return the end of a run that was cancelled."""
    return End(Cancelled(message=message), Status.CANCELLED, error=CancelledRun(message), worker=worker)


def crashed(run: Run, why: str, cause: BaseException | None = None) -> End:
    """Return the end of a run that crashed; `why` continues the sentence "Task run 'x' crashed: ..."."""
    message = f"Task run {run.task_run.name!r} crashed: {why}"
    return End(Crashed(message=message), Status.CRASHED, error=because(CrashedRun(message), cause))


def failed(error: Exception) -> End:
    """Return the end of a run that never reached a worker because of `error` (rule V1)."""
    return End(Failed(message=str(error)), Status.FAILED, error=error)


def from_result(run: Run, result: RunResult, fetch: Callable[[], bytes] | None, events: RunnerEvents) -> End:
    """Return the end that a worker reported; `fetch` fetches a value that the worker kept.

    If that value is lost or cannot be rebuilt, `events` publishes another end for the run.
    """
    state = result.state
    assert state is not None
    if run.cancel_requested and not state.is_completed():
        return cancelled(WHILE_RUNNING, worker=result.worker)
    value: Any = None
    error: BaseException | None = None
    what = f"the result of task {run.task.name!r}"
    if state.is_completed():
        if result.value is not None:
            try:
                value = loads(result.value, what=what)
            except CannotTravel as exc:
                error, state = exc, unusable_state(exc)
        else:
            assert fetch is not None
            value = LazyValue(_load_kept_value(run, fetch, what, events))
    elif result.error is not None:
        error = unpack_error(result.error)
        if isinstance(error, ModuleNotFoundError):
            note_missing_module(error)
    return _consistent(
        run,
        state,
        value=value,
        error=error,
        worker=result.worker,
        metadata=result.metadata,
        report_to_api=True,
    )


def from_state(run: Run, raised: BaseException | None, *, worker: str | None = None) -> End:
    """Return the end of a run that Prefect's task engine ran in this process, from the state that it left.

    `raised` is the exception that the engine let through.
    """
    state = run.task_run.state
    assert state is not None
    if raised is not None and run.cancel_requested:
        if state.is_cancelled():  # the engine has published that
            return _consistent(run, state, error=None, worker=worker, report_to_api=False)
        if not state.is_completed():
            return cancelled(WHILE_RUNNING, worker=worker)
        raised = None  # the cancellation came too late
    if raised is not None and not state.is_crashed():
        if (masked := masked_failure(run.claim, raised)) is not None:
            return End(failed_by(masked), Status.FAILED, error=masked, worker=worker)
        return crashed(run, f"The task run ended by {described(raised)}", raised)
    if run.cancel_requested and (state.is_failed() or state.is_crashed()):
        return cancelled(WHILE_RUNNING, worker=worker)
    value: Any = None
    error: BaseException | None = None
    if state.is_completed():
        value = result_of(state)
    elif raised is not None:
        error = raised
    else:
        error = error_of(state)
    return _consistent(run, state, value=value, error=error, worker=worker, report_to_api=False)


def _consistent(run: Run, state: State[Any], *, error: BaseException | None, report_to_api: bool, **more: Any) -> End:
    """Return an `End` whose status, state and error agree."""
    status = status_of(state)
    if status is Status.UNFINISHED:  # nothing else would end this run in the API
        state = Crashed(message=f"The task returned the state {state.name}, which is not a final state.")
        status, report_to_api = Status.CRASHED, True
    upstream: tuple[UUID, ...] = ()
    if status is Status.CRASHED and not isinstance(error, CrashedRun):
        error = because(CrashedRun(state.message or "The task run crashed."), error)
    elif status is Status.CANCELLED and not isinstance(error, CancelledRun):
        error = CancelledRun(state.message or "The task run was cancelled.")
    elif status is Status.BLOCKED:
        try:
            upstream, error = root_causes(blockers(run.parameters, run.wait_for))
        except Exception as problem:  # a state that was made elsewhere may be unreadable
            text = f"An upstream task run did not complete, and its state cannot be read: {problem}"
            error = because(UpstreamTaskError(text), problem)
    return End(state, status, error=error, upstream=upstream, report_to_api=report_to_api, **more)


def _load_kept_value(run: Run, fetch: Callable[[], bytes], what: str, events: RunnerEvents) -> Callable[[], Any]:
    """Return a function that fetches and loads a value that its worker kept.

    If that fails for good, the function ends the run again in the Prefect API: as crashed if the value was lost (rule
    S1), as failed if it cannot be rebuilt (rule V1).
    """
    task_run = run.task_run  # not the run, because its future will hold this function

    def load() -> Any:
        try:
            return loads(fetch(), what=what)
        except MissingResult as exc:
            events.changed(change_to(task_run, lost_state(task_run.name, exc)))
            raise
        except CannotTravel as exc:
            events.changed(change_to(task_run, unusable_state(exc)))
            raise

    return load
