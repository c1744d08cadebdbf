"""The one future of all backends: its state and result always agree with the outcome of its run (rule W1)."""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeVar
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture, PrefectTaskRunFuture
from prefect.logging import get_logger

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._worker.contexts import current_worker

R = TypeVar("R")
_logger = get_logger("anyrunner")


class FutureRunner(Protocol):
    """The members of its task runner that a future uses."""

    def cancel_runs(self, task_run_ids: Sequence[UUID], *, running: bool) -> list[bool]:
        """Stop runs; see `AnyFuture.cancel`."""
        ...

    def release_worker(self) -> AbstractContextManager[None]:
        """Free the worker that the calling thread holds while it waits (rule N1)."""
        ...

    @property
    def waits_in_engine(self) -> bool:
        """Whether the engine frees a worker only during waits of its own, such as those of `wait_in_engine`."""
        ...

    def wait_in_engine(self, futures: Sequence[AnyFuture[Any]], timeout: float | None) -> None:
        """Free the worker of the calling thread until one of `futures` has ended, for `timeout` seconds at most."""
        ...


_AT_ONCE = 0.2
"""Longest single wait of a task, in seconds: the task's own timeout takes effect only between two of them."""


class AwaitedFlag:
    """Whether anybody has asked about a run (rule E1). It outlives the future, because the end of the flow reads it."""

    __slots__ = ("is_set",)

    def __init__(self) -> None:
        self.is_set = False

    def set(self) -> None:
        """Note that somebody has asked."""
        self.is_set = True


class AnyFuture(PrefectTaskRunFuture[R]):
    """A submitted task run: wait for it, ask for its result, cancel it.

    The interface is Prefect's; `outcome()` returns everything at once and never raises. A future resolves exactly once.
    """

    def __init__(
        self,
        task_run_id: UUID,
        *,
        task_name: str,
        runner_name: str,
        map_index: int | None = None,
        runner: FutureRunner | None = None,
    ) -> None:
        super().__init__(task_run_id)
        self.task_name = task_name
        self.runner_name = runner_name
        self.map_index = map_index
        self.awaited = AwaitedFlag()
        self.runner = runner
        self._done: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
        self._done.set_running_or_notify_cancel()  # asyncio cancels what it wraps, and only a runner may end this
        self._fill = threading.Lock()

    def outcome(self) -> Outcome | None:
        """Return the outcome, or None while the run has not ended. Never blocks, never raises.

        A run that completed counts as crashed once it is known that its result was lost with the worker that kept it,
        and as failed once it is known that its result cannot be rebuilt here.
        """
        if not self._done.done():
            return None
        outcome = self._done.result()
        return outcome.fetched() if outcome.is_without_value else outcome

    @property
    def wrapped_future(self) -> concurrent.futures.Future[Outcome]:
        """A future of the standard library that gets the outcome when the run ends; Prefect's futures have one too."""
        return self._done

    def mark_awaited(self) -> None:
        """Note that somebody asked about this run, so that the end of the flow does not count it as unawaited (E1)."""
        self.awaited.set()

    def resolve(self, outcome: Outcome) -> bool:
        """End this future with `outcome`; return False if it has already ended. For task runners."""
        with self._fill:
            if self._done.done():
                return False
            self._final_state = outcome.state  # set first, because Prefect's `wait` reads it without asking
            self.runner = None
            self._done.set_result(outcome)
            return True

    @property
    def state(self) -> State[R]:
        """The final state with its data once the run has ended, else the state that the API knows."""
        outcome = self.outcome()
        if outcome is None:
            return super().state
        outcome = outcome.fetched()
        state = outcome.state
        assert state is not None
        if isinstance(outcome._value, LazyValue) and state.data is None:
            state.data = outcome.value
        return state

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the run has ended, at most `timeout` seconds (None: no limit). Never raises the run's error."""
        self.awaited.set()
        if not self._done.done():
            end = math.inf if timeout is None else time.monotonic() + timeout
            runner = self.runner
            with runner.release_worker() if runner is not None else nullcontext():
                if runner is not None and runner.waits_in_engine:
                    runner.wait_in_engine((self,), timeout)
                self._wait_until(end)
        raise_if_suspended()

    def _wait_until(self, end: float) -> None:
        at_once = _AT_ONCE if TaskRunContext.get() is not None else threading.TIMEOUT_MAX
        while not concurrent.futures.wait([self._done], max(0.0, min(end - time.monotonic(), at_once))).done:
            if time.monotonic() >= end:
                return

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Return the value that the task returned.

        Raises `TimeoutError` when `timeout` seconds were not enough, and the error of the outcome when the run did not
        complete: the exception of the body itself, `CrashedRun`, `CancelledRun` or `UpstreamTaskError`. With
        `raise_on_failure=False` that exception is returned instead.
        """
        self.wait(timeout)
        outcome = self.outcome()
        if outcome is None:
            raise TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")
        outcome = outcome.fetched()
        if outcome.status is Status.COMPLETED:
            value: R = outcome.value
            return value
        assert outcome.error is not None
        if raise_on_failure:
            raise outcome.error
        return outcome.error  # type: ignore[return-value]  # Prefect's own signature has the same flaw

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        """Call `fn(self)` once the run has ended; at once if it has. An exception of `fn` is logged."""
        self.awaited.set()
        self.when_done(fn)

    def when_done(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        """Call `fn(self)` once the run has ended, without marking it as awaited: for runs that depend on it (E1)."""

        def call(_: object) -> None:
            try:
                fn(self)
            except BaseException:  # also SystemExit, which would keep later callbacks from being called
                _logger.exception("A done callback of task run %s raised.", self.task_run_id)

        self._done.add_done_callback(call)

    def cancel(self, *, running: bool = True) -> bool:
        """Cancel the run (rule K1).

        A run that has not started never starts and shows Cancelled. One that runs is asked to stop, unless `running` is
        False. Returns False when it has already ended, or runs and is left alone.
        """
        runner = self.runner
        if runner is None or self._done.done():
            return False
        return runner.cancel_runs([self.task_run_id], running=running)[0]

    def __reduce__(self) -> tuple[Any, ...]:
        if self.outcome() is None and current_worker() is not None:
            self.wait()  # a task returns the future of a run that it submitted: only its outcome can leave the worker
        outcome = self.outcome()
        if outcome is None:
            raise TypeError(
                f"The future of task run {self.task_run_id} cannot be pickled before the run has ended: pass it to "
                "`.submit()` as an argument of its own, or wait for it first."
            )
        return _rebuild, (outcome, self.task_name, self.runner_name, self.map_index)


def _rebuild(outcome: Outcome, task_name: str, runner_name: str, map_index: int | None) -> AnyFuture[Any]:
    assert outcome.task_run_id is not None
    future: AnyFuture[Any] = AnyFuture(
        outcome.task_run_id, task_name=task_name, runner_name=runner_name, map_index=map_index
    )
    future.resolve(outcome)
    return future
