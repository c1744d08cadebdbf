"""Runners that break rules W and K: the methods of futures."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Pending

from prefect_anyrunner._driver.run import Phase, Run
from tests.conformance.broken_runners.base import ChangedFuture, Threads, breaks


class _RaisesItsOwn(ChangedFuture):
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        answer = super().result(timeout, raise_on_failure=False)
        if isinstance(answer, BaseException) and raise_on_failure:
            raise RuntimeError(f"the task run failed: {answer!r}")
        return answer


@breaks("W1-agree")
class RaisesSomethingElse(Threads):
    """Raises another exception in `result()`, which wraps the one of the body."""

    future = _RaisesItsOwn


class _CallsTooEarly(ChangedFuture):
    def add_done_callback(self, fn: Any) -> None:
        if self.run.task.name == "hold" and self.outcome() is None:
            fn(self)
        super().add_done_callback(fn)


@breaks("W1-agree")
class CallsBackTooEarly(Threads):
    future = _CallsTooEarly


class _CompletedTooEarly(ChangedFuture):
    @property
    def state(self) -> State[Any]:
        return Completed() if self.outcome() is None else super().state


@breaks("W1-timeout")
class ShowsCompletedTooEarly(Threads):
    future = _CompletedTooEarly


class _UpdatedByResult(ChangedFuture):
    asked = False

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        self.asked = True
        return super().result(timeout, raise_on_failure)

    @property
    def state(self) -> State[Any]:
        return Pending() if self.run.task.name == "raise_base" and not self.asked else super().state


@breaks("W1-prefect-waits")
class UpdatesStateInResult(Threads):
    """Leaves futures without their final state until `result()` is called."""

    future = _UpdatedByResult


class _StopsAtExit(ChangedFuture):
    exited = False

    def callback(self, fn: Any) -> Any:
        def call(future: Any) -> None:
            if self.exited:
                return
            try:
                fn(future)
            except SystemExit:
                self.exited = True

        return call


@breaks("W1-callback-exits", within=3)
class StopsCallbacksAtExit(Threads):
    """Calls no more callbacks after one that exited."""

    future = _StopsAtExit


@breaks("K1-before-start")
class StartsCancelledRuns(Threads):
    """Reports a run as cancelled and still executes its body."""

    def cancel(self, runs: list[Run | None], running: bool) -> list[bool]:
        sent = [run for run in runs if run is not None and run.phase in (Phase.READY, Phase.SENT)]
        again = [(run.task, dict(run.parameters)) for run in sent if run.task.name == "note"]
        cancelled = super().cancel(runs, running)
        if all(cancelled):
            for each in again:
                self.submit(*each)
        return cancelled


@breaks("K1-before-start", "K1-waiting")
class NeverCancels(Threads):
    def cancel(self, runs: list[Run | None], running: bool) -> list[bool]:
        if all(run is not None and run.task.name == "spin" for run in runs):  # an endless loop must be stopped
            return super().cancel(runs, running)
        return [False] * len(runs)
