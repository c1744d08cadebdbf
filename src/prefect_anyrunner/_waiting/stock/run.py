"""What the futures of Prefect's own task runners say, made into outcomes.

The four stock runners tell the end of a run in four ways: an error of the body comes inside a `State`, one of the
engine is raised, returned as a crashed state, or swallowed, depending on the runner (issues 17384, 21638). Beneath each
of their futures lies one of the engine, and those agree: `done()`, `exception(timeout)`, `result(timeout)`,
`add_done_callback`. Asking that one also keeps a `KeyboardInterrupt` that a body raised apart from a real Ctrl-C:
`exception` returns the former, only the latter is raised here.

No engine is imported: their classes are told by what they offer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.exceptions import CancelledRun, CrashedRun, FailedRun, UpstreamTaskError
from prefect.futures import PrefectFuture, PrefectWrappedFuture

from prefect_anyrunner._base.safe_text import described, error_text
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.private import final_state
from prefect_anyrunner._prefect.states import because, error_of, held_error, result_of, status_of, upstream_in
from prefect_anyrunner._waiting.stock.state_future import UNNAMED, StateFuture

FETCH = 5.0
"""How many seconds one look may take to fetch the result of a run that has ended; then it looks again later."""


_CANCELLED = (concurrent.futures.CancelledError, asyncio.CancelledError)


class StockRun:
    """A future of a stock runner: `look()` for its outcome, `when_done()` to be called."""

    def __init__(self, future: PrefectFuture[Any] | StateFuture) -> None:
        self.future = future
        self.run_id: UUID | None = getattr(future, "task_run_id", None) if not hasattr(future, "flow_run_id") else None
        self._engine: Any = None

    @property
    def key(self) -> str | None:
        """Dask's own name for the run, which its errors speak of."""
        key = getattr(getattr(self.future, "wrapped_future", None), "key", None)
        return key if isinstance(key, str) else None

    def engine(self) -> Any:
        """Return the future of the engine beneath, or None where there is none to ask (a Prefect task worker's)."""
        if self._engine is None and isinstance(self.future, PrefectWrappedFuture):
            wrapped = self.future.wrapped_future
            if not hasattr(wrapped, "exception") and hasattr(wrapped, "future"):
                wrapped = wrapped.future()  # Ray: an object reference, which makes a concurrent future of itself
            self._engine = wrapped
        return self._engine

    def when_done(self, tell: Callable[[], None]) -> None:
        """Call `tell()` once, in whatever thread, when the run has ended."""
        # Prefect's own add_done_callback would unpickle the result of a process once more for each callback.
        engine = self.engine()
        target = getattr(engine, "wrapped_future", engine)
        (target if target is not None else self.future).add_done_callback(lambda _: tell())

    def withdraw(self) -> bool:
        """Keep the run from starting; True when it never will. Only the stock pools can tell what has not started."""
        wrapped = getattr(self.future, "wrapped_future", None)
        return isinstance(wrapped, concurrent.futures.Future) and not wrapped.done() and wrapped.cancel()

    def look(self, timeout: float = FETCH) -> Outcome | None:
        """Return the outcome, or None while the run goes on.

        The result of a run that has ended may still have to be fetched: for at most `timeout` seconds.
        """
        if (state := final_state(self.future)) is not None:
            return self._of_state(state)
        engine = self.engine()
        if engine is None:
            return self._of_other()
        if not engine.done():
            return None
        try:
            error = engine.exception(timeout)
        except TimeoutError:
            return None
        except _CANCELLED as cancelled:
            if not engine.cancelled():  # not the run: a scope around the caller was cancelled, e.g. the flow's timeout
                raise
            return self._of_engine_error(cancelled)
        except Exception as problem:
            return self._of_engine_error(problem)
        if error is not None:
            return self._of_engine_error(error)
        try:
            result = engine.result(timeout)
        except TimeoutError:  # still on its way: Dask may even have to compute it once more (issue 15442)
            return None
        except _CANCELLED as cancelled:
            if not engine.cancelled():
                raise
            return self._of_engine_error(cancelled)
        except Exception as problem:  # it arrived, but cannot be rebuilt here
            return self._of_engine_error(problem)
        return self._of_state(result) if isinstance(result, State) else self._made(Status.COMPLETED, _value=result)

    def last_look(self, timeout: float) -> Outcome | None:
        """Look once more before giving up: Ray reports the end of a run some time after it came."""
        outcome = self.look(timeout)
        if outcome is None and not hasattr(getattr(self.future, "wrapped_future", None), "done"):
            self.future.wait(timeout=0)
            outcome = self.look(timeout)
        return outcome

    def of_api(self, state: State[Any]) -> Outcome:
        """Return the outcome of a run of which the API knows that it is dead while its future never says so."""
        if state.is_completed():
            return self._crashed("it completed, but its result never arrived", None, state)
        return self._of_state(state)

    def _of_other(self) -> Outcome | None:
        try:
            self.future.wait(timeout=0)
        except Exception as problem:
            return self._of_engine_error(problem)
        state = final_state(self.future)
        return self._of_state(state) if state is not None else None

    def _of_state(self, state: State[Any]) -> Outcome:
        status = status_of(state)
        if status is Status.COMPLETED:
            try:
                value = result_of(state)
            except Exception as problem:
                return self._crashed(f"its result cannot be read: {described(problem)}", problem, state)
            return self._made(Status.COMPLETED, state=state, _value=value)
        if status is Status.FAILED:
            return self._made(status, state=state, error=_failure(state))
        if status is Status.CANCELLED or state.is_cancelling():
            return self._made(Status.CANCELLED, state=state, error=CancelledRun(state.message or "Run cancelled."))
        if status is Status.CRASHED:
            cause = held_error(state)
            blocked = self._of_lost_upstream(cause) if cause is not None else None
            return blocked or self._crashed(state.message or "Run crashed.", cause, state)
        if status is Status.BLOCKED:
            return self._blocked(state.message or "", state=state)
        return self._crashed(f"it stopped in state {state.name or state.type.value}", None, state)

    def _of_engine_error(self, error: BaseException) -> Outcome:
        if isinstance(error, UpstreamTaskError):
            return self._blocked(str(error))
        if _is_withdrawal(error):
            return self._made(Status.CANCELLED, error=because(CancelledRun("It was cancelled before it ended."), error))
        return self._of_lost_upstream(error) or self._crashed("", error)

    def _of_lost_upstream(self, error: BaseException) -> Outcome | None:
        """Return BLOCKED where the engine lost not this run but one that it depends on."""
        if type(error).__name__ == "KilledWorker" and self.key is not None and error.args and error.args[0] != self.key:
            return self._blocked(str(error), cause=error)
        if _is_ray_task_error(error) and type(getattr(error, "cause", None)).__name__ in _RAY_LOSSES:
            return self._blocked("", cause=error.cause)  # type: ignore[attr-defined]
        return None

    def _blocked(self, text: str, *, state: State[Any] | None = None, cause: BaseException | None = None) -> Outcome:
        error = because(UpstreamTaskError(text or "An upstream task run did not complete."), cause)
        return self._made(Status.BLOCKED, state=state, error=error, upstream=upstream_in(text))

    def _crashed(self, text: str, cause: BaseException | None, state: State[Any] | None = None) -> Outcome:
        if _is_ray_task_error(cause) and isinstance(getattr(cause, "cause", None), BaseException):
            inner: BaseException = cause.cause  # type: ignore[union-attr]
            # Ray's own text holds a whole traceback with terminal colours; the error itself lies beneath.
            cause, text = inner, ""
        if isinstance(cause, CrashedRun):
            return self._made(Status.CRASHED, state=state, error=cause)
        if cause is not None and (not text or not error_text(cause) or error_text(cause) not in text):
            text = f"{text} ({described(cause)})" if text else described(cause)
        return self._made(Status.CRASHED, state=state, error=because(CrashedRun(text), cause))

    def _made(self, status: Status, **facts: Any) -> Outcome:
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
    """Return the kind of runner a stock future came from, as specs name it; None when it is another's."""
    wrapped = getattr(future, "wrapped_future", None)
    if isinstance(wrapped, concurrent.futures.Future):
        return "thread" if type(wrapped) is concurrent.futures.Future else "process"
    return {"prefect_dask": "dask", "prefect_ray": "ray"}.get(type(future).__module__.partition(".")[0])


def _is_ray_task_error(error: BaseException | None) -> bool:
    return any(kind.__name__ == "RayTaskError" for kind in type(error).__mro__)


def _is_withdrawal(error: BaseException) -> bool:
    """Tell whether the engine never ran it because somebody asked so; a lost connection is no such thing."""
    if type(error).__name__ == "TaskCancelledError":  # Ray's, bare: one out of a body comes inside a RayTaskError
        return not _is_ray_task_error(error)
    return isinstance(error, concurrent.futures.CancelledError) and "lost" not in str(getattr(error, "reason", ""))


def _failure(state: State[Any]) -> Exception:
    error = error_of(state)
    return error if isinstance(error, Exception) else because(FailedRun(state.message or "Run failed."), error)
