"""Runners that break rules E, L and A: the end of a flow run, settings of runners, async flows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, Self

from prefect.context import FlowRunContext, TaskRunContext

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._publishing.options import EventOptions
from tests.conformance.broken_runners.base import ChangedFuture, Threads, breaks


@breaks("E1-unawaited")
class StopsRunningRuns(Threads):
    """Stops running runs at the end of a flow."""

    def finish(self, exc_type: type[BaseException] | None) -> None:
        super().finish(KeyboardInterrupt)


@breaks("E1-counted")
class LogsNothing(Threads):
    def start_engine(self) -> None:
        super().start_engine()
        self.ledger.log_unawaited = lambda: None  # type: ignore[method-assign]


class _DropsUnseen(ChangedFuture):
    seen = False

    def outcome(self) -> Outcome | None:
        outcome = super().outcome()
        if outcome is not None and not self.seen and self.source.over and outcome.status is Status.COMPLETED:
            return replace(outcome, _value=None)
        self.seen = self.seen or outcome is not None
        return outcome


@breaks("E2-kept")
class DropsUnseenResults(Threads):
    """Drops the results that were not read before it stops."""

    future = _DropsUnseen


@breaks("E2-returned")
class LosesReturnedErrors(Threads):
    """Loses the errors of runs whose futures a flow returns."""

    def change(self, run: Run, outcome: Outcome) -> Outcome:
        flow_run = run.context.run(FlowRunContext.get)
        returns = flow_run is not None and flow_run.flow is not None and flow_run.flow.name == "returns-futures"
        if returns and outcome.state is not None and outcome.status is Status.FAILED:
            outcome.state.data = None
        return outcome


@breaks("L1-duplicate", setting={"max_workers": 3})
class LosesSettings(Threads):
    def duplicate(self) -> Self:
        return type(self)()


@breaks("L1-duplicate", setting={"max_workers": 3})
class EqualsAllOthers(Threads):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self))

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


@breaks("A1-async")
class NeverAwaits(Threads):
    """Takes the coroutine of an async task for its result."""

    def change(self, run: Run, outcome: Outcome) -> Outcome:
        if run.task.isasync and outcome.status is Status.COMPLETED:
            return replace(outcome, _value="<coroutine>")
        return outcome


@breaks("A1-loop", within=8)
class BlocksTheLoop(Threads):
    """Waits in `submit` when it is called from an event loop."""

    def send(self, *rest: Any) -> AnyFuture[Any]:
        future = super().send(*rest)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return future
        if TaskRunContext.get() is None:
            future.wait()
        return future


@breaks("S2-recorded")
class LeavesTheApiBehind(Threads):
    """Ends a flow run without asking what the API has recorded."""

    def start_engine(self) -> None:
        super().start_engine()
        self.run_events.source.options = EventOptions(events_confirm=False)
