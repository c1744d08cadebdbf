"""Outcomes of the futures of Prefect's own task runners.

The four stock runners report the end of a run in four ways. An error of the body arrives inside a `State`; an error of
the engine is raised, returned as a crashed state, or swallowed, depending on the runner (PrefectHQ/prefect#17384,
PrefectHQ/prefect#21638). Each of their futures wraps a handle of the engine, and the handles agree: `done()`,
`exception(timeout)`, `result(timeout)`, `add_done_callback`. Asking the handle also distinguishes a `KeyboardInterrupt`
that a body raised from a real Ctrl-C: `exception` returns the former, and only the latter is raised here.

This module imports no engine: it recognises handles and errors by their attributes and class names.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, UpstreamTaskError
from prefect.futures import PrefectFuture, PrefectWrappedFuture

from prefect_anyrunner._base.safe_text import described, error_text
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.private import final_state
from prefect_anyrunner._prefect.states import because, error_of, held_error, result_of, status_of, upstream_in
from prefect_anyrunner._waiting.stock.state_future import UNNAMED, StateFuture

FETCH_SECONDS = 5.0
"""Seconds that one poll may take to fetch the result of a run that has ended; a later poll tries again."""

_CANCELLED = (concurrent.futures.CancelledError, asyncio.CancelledError)


class StockRun:
    """A future of a stock runner: `poll()` returns its outcome, `when_done()` registers a callback."""

    def __init__(self, future: PrefectFuture[Any] | StateFuture) -> None:
        self.future = future
        self.run_id: UUID | None = getattr(future, "task_run_id", None) if not hasattr(future, "flow_run_id") else None
        self._handle: Any = None

    @property
    def key(self) -> str | None:
        """The name that Dask has for the run, which its errors mention; None on other runners."""
        key = getattr(getattr(self.future, "wrapped_future", None), "key", None)
        return key if isinstance(key, str) else None

    def handle(self) -> Any:
        """Return the engine's own future, or None if there is none (for a run of a Prefect task worker)."""
        if self._handle is None and isinstance(self.future, PrefectWrappedFuture):
            wrapped = self.future.wrapped_future
            if not hasattr(wrapped, "exception") and hasattr(wrapped, "future"):
                wrapped = wrapped.future()  # Ray: an object reference, from which it makes a concurrent future
            self._handle = wrapped
        return self._handle

    def when_done(self, notify: Callable[[], None]) -> None:
        """Call `notify()` once, in any thread, when the run has ended."""
        # Prefect's own add_done_callback would unpickle the result of a process again for each callback.
        handle = self.handle()
        target = getattr(handle, "wrapped_future", handle)
        try:
            (target if target is not None else self.future).add_done_callback(lambda _: notify())
        except httpx.HTTPError as problem:  # a future without a handle asks the API first; a poll finds the end, too
            if not _is_passing(problem):
                raise

    def withdraw(self) -> bool:
        """Keep the run from starting; return True if it never will. Only stock pools know which runs have started."""
        wrapped = getattr(self.future, "wrapped_future", None)
        return isinstance(wrapped, concurrent.futures.Future) and not wrapped.done() and wrapped.cancel()

    def poll(self, timeout: float = FETCH_SECONDS) -> Outcome | None:
        """Return the outcome, or None while the run goes on or its result has not been fetched in `timeout` seconds."""
        if (state := final_state(self.future)) is not None:
            return self._from_state(state)
        handle = self.handle()
        if handle is None:
            return self._after_wait()
        if not handle.done():
            return None
        try:
            error = handle.exception(timeout)
        except TimeoutError:
            return None
        except _CANCELLED as cancelled:
            if not handle.cancelled():  # a scope around the caller was cancelled, such as the flow's timeout
                raise
            return self._from_engine_error(cancelled)
        except Exception as problem:
            return self._from_engine_error(problem)
        if error is not None:
            return self._from_engine_error(error)
        try:
            result = handle.result(timeout)
        except TimeoutError:  # Dask may even have to compute it again (PrefectHQ/prefect#15442)
            return None
        except _CANCELLED as cancelled:
            if not handle.cancelled():
                raise
            return self._from_engine_error(cancelled)
        except Exception as problem:  # the result arrived, but cannot be unpickled here
            return self._from_engine_error(problem)
        return self._from_state(result) if isinstance(result, State) else self._outcome(Status.COMPLETED, _value=result)

    def last_poll(self, timeout: float) -> Outcome | None:
        """Poll again before the wait gives up, because Ray reports the end of a run with a delay."""
        outcome = self.poll(timeout)
        if outcome is None and not hasattr(getattr(self.future, "wrapped_future", None), "done"):
            outcome = self._after_wait() or self.poll(timeout)
        return outcome

    def from_api(self, state: State[Any]) -> Outcome:
        """Return the outcome of a run whose future stays silent although the API has its final `state`."""
        if state.is_completed():
            return self._crashed("it completed, but its result never arrived", None, state)
        return self._from_state(state)

    def _after_wait(self) -> Outcome | None:
        try:
            self.future.wait(timeout=0)
        except Exception as problem:
            return None if _is_passing(problem) else self._from_engine_error(problem)
        state = final_state(self.future)
        return self._from_state(state) if state is not None else None

    def _from_state(self, state: State[Any]) -> Outcome:
        status = status_of(state)
        if status is Status.COMPLETED:
            try:
                value = result_of(state)
            except Exception as problem:
                return self._crashed(f"its result cannot be read: {described(problem)}", problem, state)
            return self._outcome(Status.COMPLETED, state=state, _value=value)
        if status is Status.FAILED:
            return self._outcome(status, state=state, error=_failure(state))
        if status is Status.CANCELLED or state.is_cancelling():
            return self._outcome(Status.CANCELLED, state=state, error=CancelledRun(state.message or "Run cancelled."))
        if status is Status.CRASHED:
            cause = held_error(state)
            blocked = self._from_lost_upstream(cause) if cause is not None else None
            return blocked or self._crashed(state.message or "Run crashed.", cause, state)
        if status is Status.BLOCKED:
            return self._blocked(state.message or "", state=state)
        return self._crashed(f"it stopped in state {state.name or state.type.value}", None, state)

    def _from_engine_error(self, error: BaseException) -> Outcome:
        if isinstance(error, UpstreamTaskError):
            return self._blocked(str(error))
        if _is_withdrawal(error):
            return self._outcome(
                Status.CANCELLED, error=because(CancelledRun("It was cancelled before it ended."), error)
            )
        return self._from_lost_upstream(error) or self._crashed("", error)

    def _from_lost_upstream(self, error: BaseException) -> Outcome | None:
        """Return a BLOCKED outcome if the engine did not lose this run but one that it depends on, else None."""
        if type(error).__name__ == "KilledWorker" and self.key is not None and error.args and error.args[0] != self.key:
            return self._blocked(str(error), cause=error)
        if _is_ray_task_error(error) and type(getattr(error, "cause", None)).__name__ in _RAY_LOSSES:
            return self._blocked("", cause=error.cause)  # type: ignore[attr-defined]
        return None

    def _blocked(self, text: str, *, state: State[Any] | None = None, cause: BaseException | None = None) -> Outcome:
        error = because(UpstreamTaskError(text or "An upstream task run did not complete."), cause)
        return self._outcome(Status.BLOCKED, state=state, error=error, upstream=upstream_in(text))

    def _crashed(self, text: str, cause: BaseException | None, state: State[Any] | None = None) -> Outcome:
        if _is_ray_task_error(cause) and isinstance(getattr(cause, "cause", None), BaseException):
            inner: BaseException = cause.cause  # type: ignore[union-attr]
            # Ray's own text is a whole traceback with terminal colours; the cause is the error itself.
            cause, text = inner, ""
        if isinstance(cause, CrashedRun):
            return self._outcome(Status.CRASHED, state=state, error=cause)
        if cause is not None and (not text or not error_text(cause) or error_text(cause) not in text):
            text = f"{text} ({described(cause)})" if text else described(cause)
        return self._outcome(Status.CRASHED, state=state, error=because(CrashedRun(text), cause))

    def _outcome(self, status: Status, **facts: Any) -> Outcome:
        state = facts.get("state")
        return Outcome(
            task_name=getattr(self.future, "task_name", UNNAMED),
            task_run_id=self.run_id,
            status=status,
            ended=state.timestamp if state is not None else None,
            runner=runner_of(self.future),
            **facts,
        )


_RAY_LOSSES = frozenset(
    {"WorkerCrashedError", "NodeDiedError", "ObjectLostError", "OutOfMemoryError", "OwnerDiedError"}
)


def runner_of(future: PrefectFuture[Any] | StateFuture) -> str | None:
    """Return the name that a spec uses for the runner of a stock future; None for any other future."""
    wrapped = getattr(future, "wrapped_future", None)
    if isinstance(wrapped, concurrent.futures.Future):
        return "thread" if type(wrapped) is concurrent.futures.Future else "process"
    return {"prefect_dask": "dask", "prefect_ray": "ray"}.get(type(future).__module__.partition(".")[0])


def _is_passing(problem: Exception) -> bool:
    """Return whether the API only could not answer: that says nothing about the run, and the next poll asks again."""
    if isinstance(problem, httpx.HTTPStatusError):
        return problem.response.is_server_error or problem.response.status_code == httpx.codes.TOO_MANY_REQUESTS
    return isinstance(problem, httpx.TransportError)


def _is_ray_task_error(error: BaseException | None) -> bool:
    return any(kind.__name__ == "RayTaskError" for kind in type(error).__mro__)


def _is_withdrawal(error: BaseException) -> bool:
    """Return whether the engine did not run the task because it was asked not to; a lost connection does not count."""
    if type(error).__name__ == "TaskCancelledError":  # Ray's own; one that a body raised is inside a RayTaskError
        return not _is_ray_task_error(error)
    return isinstance(error, concurrent.futures.CancelledError) and "lost" not in str(getattr(error, "reason", ""))


def _failure(state: State[Any]) -> Exception:
    error = error_of(state)
    return error if isinstance(error, Exception) else because(FailedRun(state.message or "Run failed."), error)
