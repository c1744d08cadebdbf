"""Runners that break rules C and S: crashed runs, and the states in the Prefect API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from prefect.states import Completed, Running

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Run
from tests.conformance.broken_runners.base import ChangedFuture, Processes, Threads, breaks, show


@breaks("C1-base-exceptions")
class TakesInterruptsForFailures(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.error is not None and isinstance(outcome.error.__cause__, KeyboardInterrupt):
            return replace(outcome, status=Status.FAILED, error=RuntimeError("interrupted"))
        return outcome


@breaks("C1-base-exceptions")
class TriesAgainAfterInterrupts(Threads):
    """Runs a body again that ended by a `KeyboardInterrupt`, as if the worker had been interrupted."""

    def change(self, run: Run, outcome: Outcome) -> Outcome:
        first = outcome.task_run_name not in self.tried
        if first and outcome.error is not None and isinstance(outcome.error.__cause__, KeyboardInterrupt):
            again = run.context.copy().run(self.submit, run.task, dict(run.parameters))
            self.tried.append(again.run.task_run.name)  # type: ignore[attr-defined]
        return outcome

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tried: list[str] = []


@breaks("C2-dies-in-a-map", "C2-all-die")
class RerunsLostRuns(Processes):
    """Executes a lost run once more, although `rerun_lost` is 0."""

    def __init__(self, *args: Any, rerun_lost: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, rerun_lost=rerun_lost or 1, **kwargs)


@breaks("C2-dies-in-a-map", "C2-all-die")
class LosesPeers(Processes):
    """Loses the runs of all its workers when one dies, as a broken pool does."""

    @contextmanager
    def losing(self, run: Run) -> Iterator[None]:
        yield
        for each in self.sent_runs():
            self.crash(each, "its pool was broken")


@breaks("C3-completed")
class ComputesResultsAgain(Processes):
    """Keeps results on workers, and after a death computes the needed results again."""

    died = False

    @contextmanager
    def losing(self, run: Run) -> Iterator[None]:
        self.died = True
        yield

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        for value in parameters.values():
            if self.died and isinstance(value, ChangedFuture):
                super().send(value.run.task, value.arguments, None, None).wait()
        return super().send(task, parameters, *rest)


@breaks("C4-rerun-lost")
class IgnoresRerunLost(Processes):
    """Accepts `rerun_lost` and does not use it."""

    @contextmanager
    def losing(self, run: Run) -> Iterator[None]:
        given, self.rerun_lost = self.rerun_lost, 0
        yield
        self.rerun_lost = given


@breaks("C4-rerun-lost", "C4-no-more-than-that")
class CountsNoLostAttempts(Processes):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        return replace(outcome, attempts=outcome.attempts - run.reruns)


@breaks("S1-reported", within=15)
class ShowsFailedAsCompleted(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        if type(outcome.error).__name__ == "HoldsLock":
            run.context.copy().run(show, run, Completed())
        return outcome


@breaks("S1-reported", within=15)
class ShowsCrashedAsRunning(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.error is not None and isinstance(outcome.error.__cause__, SystemExit):
            run.context.copy().run(show, run, Running())
        return outcome
