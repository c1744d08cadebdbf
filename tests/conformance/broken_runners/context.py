"""Runners that break rules N and X: nested runs, and the context of a task run."""

from __future__ import annotations

import contextvars
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar

from prefect.cache_policies import NO_CACHE
from prefect.context import TagsContext

from prefect_anyrunner import Outcome
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Run
from tests.conformance.broken_runners.base import OtherTask, Threads, breaks


@breaks("N1-nested", within=6)
class KeepsWaitingWorkers(Threads):
    """Deadlocks when all its workers wait for runs that they have submitted."""

    def release_worker(self) -> Any:
        return nullcontext()

    def end_deadlock(self) -> None:
        """Let the runs of the case end after all."""
        self.cancel_runs([run.id for run in self.ledger.open_runs()], running=False)


@breaks("X1-tags", "X1-parent")
class FreezesTheContext(Threads):
    """Submits every run in the context of the first submit."""

    first: contextvars.Context | None = None

    def send(self, *rest: Any) -> AnyFuture[Any]:
        if self.first is None:
            self.first = contextvars.copy_context()
        return self.first.copy().run(super().send, *rest)


@breaks("X1-name-and-logger")
class NamesRunsItself(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        return replace(outcome, task_run_name=f"{run.task.name}-{str(run.id)[:3]}")


@breaks("X1-cache")
class CachesNothing(OtherTask):
    options: ClassVar[dict[str, Any]] = {"cache_policy": NO_CACHE}


@breaks("X1-stored")
class StoresNothing(OtherTask):
    options: ClassVar[dict[str, Any]] = {"persist_result": False}


@breaks("X1-assets", within=8)
class LosesLineage(Threads):
    """Passes the results of upstream runs as plain values, whose origin is unknown."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        if task.name == "clean":
            parameters = {  # new objects, because Prefect would recognize the results
                name: "".join(value.result()) if isinstance(value, AnyFuture) else value
                for name, value in parameters.items()
            }
            return super().send(task, parameters, None, None)
        return super().send(task, parameters, *rest)


@breaks("X1-inputs")
class LosesInputs(Threads):
    def track(self, task: Any, parameters: Any, wait_for: Any, dependencies: Any) -> Run:
        if task.name == "add" and wait_for:
            run = super().track(task, {}, None, dependencies)
            run.parameters, run.wait_for = parameters, wait_for
            return run
        return super().track(task, parameters, wait_for, dependencies)


@breaks("X1-limit")
class IgnoresLimits(Threads):
    """Loses the tags that have a limit."""

    def send(self, task: Any, *rest: Any) -> AnyFuture[Any]:
        if task.name == "slots_in_use":
            return contextvars.Context().run(_without_tags, super().send, contextvars.copy_context(), task, rest)
        return super().send(task, *rest)


def _without_tags(submit: Any, context: contextvars.Context, task: Any, args: Any) -> AnyFuture[Any]:
    def bare() -> Any:
        with TagsContext(current_tags=set()):
            return submit(task, *args)

    future: AnyFuture[Any] = context.run(bare)
    return future
