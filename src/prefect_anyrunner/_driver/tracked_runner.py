"""The flow's side of every backend: each submitted run is followed until it has ended, here and in the Prefect API.

    submit -> wait for upstream runs (no worker is held) -> dispatch -> on_result | on_worker_lost | cancel -> outcome

`TrackedRunner` is mixed into the stock task runners. A backend provides the hooks of `hooks.py`: how a run is started
and how it is stopped. The driver decides what the end of a run means, and that each run has exactly one end.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from prefect.client.schemas.objects import RunInput
from prefect.futures import PrefectFuture, PrefectFutureList
from prefect.tasks import Task

from prefect_anyrunner._base.claims import REVOKED
from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.flow_watch import FlowWatch
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.hooks import RunnerHooks
from prefect_anyrunner._driver.ledger import RunLedger
from prefect_anyrunner._driver.map_scope import MapScope, current_map, enter_map, hide_map, leave_map
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.settings import Settings
from prefect_anyrunner._driver.shared_settings import SharedSettings
from prefect_anyrunner._driver.stop_limit import StopLimit, finish_until_stopped, is_signal, signals_held_back
from prefect_anyrunner._driver.stopping import Stopping
from prefect_anyrunner._driver.upstreams import UpstreamWaiter, blockers
from prefect_anyrunner._prefect.flow_start import end_flow_run_instead
from prefect_anyrunner._prefect.private import create_task_run
from prefect_anyrunner._publishing.publisher import Taken
from prefect_anyrunner._publishing.runner_events import RunnerEvents
from prefect_anyrunner._serialization.unpack import unpack_error
from prefect_anyrunner._worker.contexts import current_worker
from prefect_anyrunner._worker.engine import run_engine
from prefect_anyrunner._worker.messages import RunResult

_NOT_STARTED = "Task runner is not started: use it in a `with` block, or as the task runner of a flow."
_RESENDS = 20
"""Number of times that a run that never started is sent again after its worker died, before it counts as crashed."""


@dataclass(frozen=True)
class Parts:
    """The parts of a started runner, made anew each time it starts."""

    ledger: RunLedger
    upstreams: UpstreamWaiter
    stopping: Stopping
    events: RunnerEvents
    watch: FlowWatch


class TrackedRunner(SharedSettings, Settings, RunnerHooks):
    """Mixin for a stock task runner: `submit`, `map`, and a truthful end for every run."""

    # The stock class that this is mixed into has these.
    logger: logging.Logger
    _started: bool

    rerun_lost: int = 0
    _parts: Parts | None = None

    # --- what a backend may override, beside its hooks -----------------------------------------------------------

    def start_engine(self) -> None:
        """Start the engine, or connect to it."""
        super().__enter__()  # type: ignore[misc]

    def stop_engine(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """Stop the engine if it was started here; every run has ended."""
        super().__exit__(exc_type, exc_value, traceback)  # type: ignore[misc]

    def before_submit(self) -> None:
        """Start what the first run needs. It is called for each run, in the context of the caller of `submit`."""

    def prepare(self, run: Run, scope: MapScope | None) -> bool:
        """Make `run` ready to be sent, as part of a `map` if there is a scope; return False if that ended the run."""
        return True

    def release(self, run: Run) -> None:
        """Release the data stored for `run`, which has ended."""

    def end_map(self, scope: MapScope) -> None:
        """Release the data that the runs of a `map` share, now that all of them have been submitted."""

    # --- start and stop ------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._parts = self._make_parts()
        started = False
        try:
            with signals_held_back():
                self.start_engine()
                started = True
        except BaseException as exc:
            if started:  # a signal
                with signals_held_back():
                    self.stop_engine(type(exc), exc, None)
            self._parts = None
            if not isinstance(exc, Exception) or not end_flow_run_instead(exc):
                raise
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        if self._parts is None:  # it did not start
            return
        stopping, watch = self._parts.stopping, self._parts.watch
        try:
            finish_until_stopped(self.finish, exc_type, stopping.limit, stop=watch.is_over())
        finally:
            with signals_held_back():
                self.stop_engine(exc_type, exc_value, traceback)

    def _make_parts(self) -> Parts:
        events = RunnerEvents(self.event_options, self.logger)
        ledger = RunLedger(self.name, self.logger, events, self.release)
        upstreams = UpstreamWaiter(
            self.name,
            self._on_ready,
            lambda run, exc: self.end(run, ends.crashed(run, f"it could not be prepared: {exc!r}", exc)),
        )
        stopping = Stopping(ledger, self, events, StopLimit(self.stop_timeout), self.logger)
        return Parts(ledger, upstreams, stopping, events, FlowWatch(stopping.cancel_flow, self.logger))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._parts = None

    @property
    def ledger(self) -> RunLedger:
        """The open runs of this runner. Raises RuntimeError if it was never started."""
        return self._started_parts().ledger

    @property
    def run_events(self) -> RunnerEvents:
        """The events that this runner publishes in the API. Raises RuntimeError if it was never started."""
        return self._started_parts().events

    def _started_parts(self) -> Parts:
        if self._parts is None:
            raise RuntimeError(_NOT_STARTED)
        return self._parts

    # --- submit --------------------------------------------------------------------------------------------------

    def submit(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[RunInput]] | None = None,
    ) -> AnyFuture[Any]:
        """Submit one task run and return its future at once.

        The arguments are Prefect's. Nothing that they hold makes this raise (rule V1). Raises `RuntimeError` if the
        runner is not started.
        """
        if not self._started:
            raise RuntimeError(_NOT_STARTED)
        self.before_submit()
        wait_for = list(wait_for) if wait_for is not None else None
        if current_worker() is None:  # the runner in the flow's process cancels what a worker runs
            self._started_parts().watch.begin()
        run = self._track(task, parameters, wait_for, dependencies)
        self._started_parts().upstreams.watch(run)
        return run.future

    def map(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
    ) -> PrefectFutureList[AnyFuture[Any]]:
        """Submit one run for each element; those that can start at once go to the engine in ever larger batches."""
        # Iterators are exhausted first: the runs that an iterator submits, or waits for, are not part of the map.
        parameters = {name: list(value) if isinstance(value, Iterator) else value for name, value in parameters.items()}
        wait_for = list(wait_for) if wait_for is not None else None
        scope, token = enter_map(self)
        try:
            return super().map(task, parameters, wait_for)  # type: ignore[misc,no-any-return]
        finally:
            leave_map(token)
            if runs := scope.take():
                self.dispatch(runs)
            self.end_map(scope)

    def _track(
        self,
        task: Task[Any, Any],
        parameters: dict[str, Any],
        wait_for: list[Any] | None,
        dependencies: dict[str, set[RunInput]] | None,
    ) -> Run:
        task_run = create_task_run(task=task, parameters=parameters, wait_for=wait_for, extra_task_inputs=dependencies)
        scope = current_map(self)
        future: AnyFuture[Any] = AnyFuture(
            task_run.id,
            task_name=task.name,
            runner_name=self.name,
            map_index=scope.next_index() if scope is not None else None,
            runner=self,
        )
        context = contextvars.copy_context()
        if scope is not None:
            context.run(hide_map)
        run = Run(task, task_run, future, parameters, wait_for, context)
        self.ledger.add(run)
        self.run_events.submitted(task_run)
        return run

    def _on_ready(self, run: Run) -> None:
        """Send a run whose upstream runs have ended, or end it if they block it or its flow has ended."""
        ledger = self.ledger
        if run.phase is Phase.ENDED or (ledger.closing and not ledger.is_open(run.parent)):
            self.end(run, ends.cancelled(ends.FLOW_ENDED))
            return
        if run.upstreams and blockers(run.parameters, run.wait_for):
            self._end_blocked(run)
            return
        scope = current_map(self)
        if not self.prepare(run, scope) or not ledger.ready(run):
            return
        if runs := [run] if scope is None else scope.add(run):
            self.dispatch(runs)

    def _end_blocked(self, run: Run) -> None:
        # Prefect's task engine itself makes the state NotReady, so that message, name and hooks are as on threads.
        if run.task.isasync and _runs_event_loop():  # the engine needs an event loop of its own
            self._started_parts().upstreams.hand_over(run)
            return
        try:
            run.context.copy().run(
                run_engine,
                run.task,
                run.task_run,
                run.parameters,
                self.run_events,
                claim=run.claim,
                wait_for=run.wait_for,
            )
        except BaseException as exc:
            self.end(run, ends.crashed(run, f"its upstream runs could not be resolved: {exc!r}", exc))
            return
        self.end(run, ends.from_state(run, None))

    # --- how a run ends ------------------------------------------------------------------------------------------

    def end(self, run: Run, end: ends.End) -> None:
        """End `run`, unless it has already ended."""
        self.ledger.end(run, end)

    def end_failed(self, run: Run, error: Exception) -> None:
        """End a run that never reached a worker because of `error` (rule V1)."""
        self.logger.error("Task run %r failed before it started: %s", run.task_run.name, error)
        self.end(run, ends.failed(error))

    def on_result(self, run: Run, result: RunResult, fetch: Callable[[], bytes] | None = None) -> None:
        """End `run` as its worker reports; `fetch` fetches a value that the worker kept. Never raises."""
        try:
            if result.unrecorded:
                self.run_events.take_over(result.unrecorded)
            if result.refused is not None:
                self._on_refused(run, result, result.refused)
                return
            if run.phase is Phase.ENDED:
                return
            run.record(result)
            self.end(run, ends.from_result(run, result, fetch, self.run_events))
        except BaseException as exc:  # the calling thread is the engine's, and an error would end it
            self.end(run, ends.crashed(run, f"its result could not be read: {exc!r}", exc))

    def _on_refused(self, run: Run, result: RunResult, why: str) -> None:
        if run.cancel_requested or why == REVOKED:
            self.end(run, ends.cancelled(ends.NOT_STARTED))
        elif result.error is not None:
            self.end(run, ends.crashed(run, why, unpack_error(result.error)))
        else:
            self.on_worker_lost(run, f"its worker was lost while it ran ({why})", started=True)

    def on_worker_lost(self, run: Run, why: str, *, started: bool, cause: BaseException | None = None) -> None:
        """Handle the loss of the worker of `run`: a started run crashes, unless reruns are allowed (C2-C4)."""
        ledger = self.ledger
        allowed = run.reruns < self.rerun_lost if started else run.sends < _RESENDS
        if allowed and not ledger.closing and not run.cancel_requested:
            if not ledger.send_again(run, counts_as_rerun=started):
                return
            if started:
                self.logger.warning(
                    "Task run %r was lost (%s) and is executed again, as rerun_lost=%s allows.",
                    run.task_run.name,
                    why,
                    self.rerun_lost,
                )
            self.dispatch([run])
            return
        if started and run.phase is not Phase.ENDED:
            ledger.lost_parents.append(run.task_run)
        self._end_lost(run, why, cause, ends.WHILE_RUNNING if started else ends.NOT_STARTED)

    def on_unsent(self, run: Run, why: str, cause: BaseException) -> None:
        """End a run that the engine did not take: it has not started, and would not be taken a second time either."""
        self._end_lost(run, why, cause, ends.NOT_STARTED)

    def _end_lost(self, run: Run, why: str, cause: BaseException | None, if_cancelled: str) -> None:
        self.end(run, ends.cancelled(if_cancelled) if run.cancel_requested else ends.crashed(run, why, cause))

    def on_engine_lost(self, why: str, cause: BaseException | None = None) -> None:
        """End every run that was sent, because the engine itself is gone and nothing will report them."""
        for run in self.ledger.open_runs():
            if run.phase is Phase.SENT:
                self.end(run, ends.crashed(run, why, cause))

    # --- stopping ------------------------------------------------------------------------------------------------

    def cancel_runs(self, task_run_ids: Sequence[UUID], *, running: bool) -> list[bool]:
        """Cancel runs with one message to the engine for all; return for each what `AnyFuture.cancel` returns."""
        return self._started_parts().stopping.cancel(task_run_ids, running=running)

    def cancel_all(self) -> None:
        """Cancel every run that has not ended; running bodies are asked to stop (rule K1)."""
        if self._parts is not None:
            self.cancel_runs([run.id for run in self.ledger.open_runs()], running=True)
        stock = getattr(super(), "cancel_all", None)
        if stock is not None:
            stock()

    def finish_children(self, *, stop: Callable[[], bool]) -> list[Taken]:
        """Wait until every run that was submitted here has ended; see `Stopping.finish_children`.

        Returns the ends that the API has not been seen to record. The flow's process takes care of them, because this
        process may end before they are recorded.
        """
        self._started_parts().stopping.finish_children(stop=stop)
        return self.run_events.take()

    def finish(self, exc_type: type[BaseException] | None) -> None:
        """Bring every run to its end when the flow run ends, by an exception of this type or without one (rule E1)."""
        parts = self._started_parts()
        by_signal = is_signal(exc_type)
        parts.stopping.finish(stop=by_signal or parts.watch.is_over(), by_signal=by_signal)
        parts.upstreams.stop()
        parts.watch.end()


def _runs_event_loop() -> bool:
    """Return whether an event loop runs in the calling thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
