"""Stopping runs: cancelling them, the end of the task that submitted them, the end of the flow run."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from prefect.context import TaskRunContext

from prefect_anyrunner._driver.ends import FLOW_ENDED, NOT_STARTED, NOT_STOPPED, cancelled
from prefect_anyrunner._driver.hooks import RunnerHooks
from prefect_anyrunner._driver.ledger import RunLedger
from prefect_anyrunner._driver.orphans import end_orphans
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._driver.stop_limit import StopLimit
from prefect_anyrunner._publishing.runner_events import RunnerEvents
from prefect_anyrunner._worker.interrupt import LOOK_SECONDS


class Stopping:
    """Stops the runs of one started runner."""

    def __init__(
        self, ledger: RunLedger, hooks: RunnerHooks, events: RunnerEvents, limit: StopLimit, logger: logging.Logger
    ) -> None:
        self.limit = limit
        self._ledger = ledger
        self._events = events
        self._hooks = hooks
        self._logger = logger

    def cancel(self, task_run_ids: Sequence[UUID], *, running: bool) -> list[bool]:
        """Cancel runs, with one message to the engine for all; return for each whether this had an effect (rule K1).

        A run that has not started never starts. A run that has started is asked to stop if `running`.
        """
        runs = self._ledger.open_runs(task_run_ids)
        # Runs that wait come first: otherwise the cancelled runs that they wait for would block them.
        done = {run.id for run in runs if self._ledger.end(run, cancelled(NOT_STARTED), unless_sent=True)}
        sent = [run for run in runs if run.phase is Phase.SENT]
        done |= self._end_revoked(sent, NOT_STARTED)
        if running:
            # The run that calls this comes last, because on threads it is interrupted at once.
            caller = TaskRunContext.get()
            for run in sorted(sent, key=lambda run: caller is not None and run.id == caller.task_run.id):
                if run.id not in done and run.phase is not Phase.ENDED:
                    self.request_stop(run)
                    done.add(run.id)
        return [run_id in done for run_id in task_run_ids]

    def cancel_flow(self) -> None:
        """Start nothing more and stop running bodies, because the flow run was cancelled in the API (rule Q1)."""
        self._ledger.closing = True
        self.limit.begin()
        self.cancel([run.id for run in self._ledger.open_runs()], running=True)
        self._wait_for_bodies()

    def request_stop(self, run: Run) -> None:
        """Ask the body of a run that was sent to stop. Never raises."""
        run.cancel_requested = True
        try:
            self._hooks.interrupt(run)
        except Exception:
            self._logger.exception("Could not ask the engine to stop task run %r.", run.task_run.name)

    def _end_revoked(self, sent: list[Run], message: str) -> set[UUID]:
        """Revoke runs that were sent and end those that will never start; return the ids of these."""
        if not sent:
            return set()
        try:
            in_time = self._hooks.revoke(sent)
        except Exception:  # an engine's error must neither reach a `cancel()` nor keep a flow from ending
            self._logger.exception("Could not revoke task runs that have not started.")
            return set()
        revoked = [run for run, yes in zip(sent, in_time, strict=True) if yes]
        for run in revoked:
            self._ledger.end(run, cancelled(message))
        return {run.id for run in revoked}

    def finish_children(self, *, stop: Callable[[], bool]) -> None:
        """Wait until every run has ended, because the runs of a task do not outlive it on a worker (rules S1, N1).

        They are cancelled once `stop()` is true. The runner of a task calls this; its worker serves other runs
        meanwhile.
        """
        stopped: set[UUID] = set()
        while runs := self._ledger.open_runs():
            if stop() and (more := [run.id for run in runs if run.id not in stopped]):
                self.cancel(more, running=True)
                stopped.update(more)
            with self._hooks.release_worker():
                if self._hooks.waits_in_engine:
                    self._hooks.wait_in_engine([run.future for run in runs], LOOK_SECONDS)
                else:
                    self._ledger.wait_idle(_seconds_left(LOOK_SECONDS))

    def finish(self, *, stop: bool, by_signal: bool) -> None:
        """Bring every run to its end when the flow run ends (rule E1).

        A run that has started may finish; one that has not is cancelled. `stop`: running bodies are asked to stop as
        well, because a signal ends the flow run, it has timed out or it was cancelled (rule Q1).
        """
        self._ledger.closing = True
        open_runs = self._ledger.open_runs()
        if stop and open_runs:
            self._logger.info(
                "Stopping %d task runs, for at most %g seconds (stop_timeout).", len(open_runs), self.limit.seconds
            )
        ids = {run.id for run in open_runs}
        # A run that another open run has submitted goes on with that one, unless all are stopped.
        own = [run for run in open_runs if stop or run.parent not in ids]
        for run in own:
            self._ledger.end(run, cancelled(FLOW_ENDED), unless_sent=True)
        sent = [run for run in own if run.phase is Phase.SENT]
        self._end_revoked(sent, FLOW_ENDED)
        if stop:
            self.limit.begin()
            for run in sent:
                if run.phase is not Phase.ENDED:
                    self.request_stop(run)
            self._wait_for_bodies()
        self._ledger.wait_idle(self.limit.left if stop else None)
        if by_signal:
            self._end_orphans_in_time()
        else:
            self._ledger.fetch_lazy_values()
            self._end_orphans()
        if stop:
            self._ledger.log_stopped()
        else:
            self._ledger.log_unawaited()
        self._events.finish(left=self.limit.left if by_signal else None)

    def _wait_for_bodies(self) -> None:
        """Wait for as long as bodies may take to stop, then end the runs of those that have not stopped."""
        if self._ledger.wait_idle(self.limit.left_for_bodies):
            return
        runs = self._ledger.open_runs()
        self._ledger.left_running = True
        for run in runs:
            self._ledger.end(run, cancelled(NOT_STOPPED))
            self._events.leave_out(run.id)  # its body may still end
        if runs:
            self._logger.warning(
                "%d task %s not stopped, now shown as Cancelled, and perhaps still running (stop_timeout=%g).",
                len(runs),
                "run has" if len(runs) == 1 else "runs have",
                self.limit.seconds,
            )

    def _end_orphans_in_time(self) -> None:
        if not self._ledger.lost_parents:
            return
        run = contextvars.copy_context().run
        thread = threading.Thread(target=run, args=(self._end_orphans,), name="anyrunner-orphans", daemon=True)
        thread.start()
        thread.join(self.limit.left())

    def _end_orphans(self) -> None:
        if not self._ledger.lost_parents:
            return
        try:
            end_orphans(self._ledger.lost_parents, self._events)
        except Exception:  # the runs of this flow itself have been reported
            self._logger.exception("Could not query the Prefect API for child task runs of crashed task runs.")


def _seconds_left(seconds: float) -> Callable[[], float]:
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()
