"""The runs of one started runner: the ledger knows those that are open and ends each exactly once."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple
from uuid import UUID

from prefect.client.schemas.objects import TaskRun

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._driver.ends import End
from prefect_anyrunner._driver.future import AwaitedFlag
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner._outcomes.inputs import inputs_text
from prefect_anyrunner._outcomes.lazy_value import LazyValue
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.private import ResultRecord
from prefect_anyrunner._prefect.states import moment
from prefect_anyrunner._publishing.change import change_to
from prefect_anyrunner._publishing.runner_events import RunnerEvents
from prefect_anyrunner._worker.messages import RunRequest

_LOOK_SECONDS = 0.2
"""Seconds between two checks of the remaining time, because a signal may shorten it."""


class Sending(NamedTuple):
    """One run on its way to the engine. Its `request` is None on threads, where nothing travels."""

    run: Run
    claim: str
    request: RunRequest | None


class RunLedger:
    """The open runs of one started runner. All methods may be called from any thread.

    `release` is called once for each run that has ended, with the run.
    """

    def __init__(
        self, runner_name: str, logger: logging.Logger, events: RunnerEvents, release: Callable[[Run], None]
    ) -> None:
        self.closing = False
        self.left_running = False  # whether bodies go on in threads of this process although their runs have ended
        self.lost_parents: list[TaskRun] = []  # runs whose worker died, so that nothing reports their children
        self._runner_name = runner_name
        self._logger = logger
        self._events = events
        self._release = release
        self._runs: dict[UUID, Run] = {}
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._ended: Counter[Status] = Counter()
        self._lazy: weakref.WeakSet[LazyValue] = weakref.WeakSet()
        self._unawaited: list[tuple[AwaitedFlag, Status]] = []
        self._unawaited_limit = 1000

    # --- open runs -----------------------------------------------------------------------------------------------

    def add(self, run: Run) -> None:
        """Record a run that was submitted."""
        with self._lock:
            self._runs[run.id] = run

    def get(self, task_run_id: UUID | None) -> Run | None:
        """Return the open run with this id, or None."""
        with self._lock:
            return self._runs.get(task_run_id)  # type: ignore[arg-type]  # no run has the id None

    def open_runs(self, ids: Iterable[UUID] | None = None) -> list[Run]:
        """Return the runs that have not ended: all in the order of submission, or those of `ids` in that order."""
        with self._lock:
            if ids is None:
                return list(self._runs.values())
            return [run for run_id in ids if (run := self._runs.get(run_id)) is not None]

    def claimed_by(self, claims: Collection[str]) -> list[Run]:
        """Return the open runs that were last sent under one of these claims."""
        with self._lock:
            return [run for run in self._runs.values() if run.claim in claims]

    def is_open(self, task_run_id: UUID | None) -> bool:
        """Return whether the run with this id was submitted here and has not ended."""
        return task_run_id in self._runs

    # --- moves ---------------------------------------------------------------------------------------------------

    def ready(self, run: Run) -> bool:
        """Move a run that waited for upstream runs to READY; return False if it has ended meanwhile."""
        with self._lock:
            if run.phase is not Phase.WAITING:
                return False
            run.move(Phase.READY)
            return True

    def send(self, runs: Iterable[Run], claim_prefix: str = "") -> list[Sending]:
        """Move runs to SENT and give each sending a claim; leave out those that have ended or were revoked."""
        sendings = []
        with self._lock:
            for run in runs:
                if run.phase is Phase.READY and not run.revoked:
                    run.move(Phase.SENT)
                    run.claim = f"{claim_prefix}{run.id.hex}.{run.sends}"
                    sendings.append(_sending(run))
        return sendings

    def send_again(self, run: Run, *, counts_as_rerun: bool) -> bool:
        """Move a run that the engine lost back to READY; return False if it has ended or was revoked."""
        with self._lock:
            if run.phase is not Phase.SENT or run.revoked:
                return False
            run.move(Phase.READY)
            run.sends += 1
            run.reruns += counts_as_rerun
            run.handle = None
            return True

    def end(self, run: Run, end: End, *, unless_sent: bool = False) -> bool:
        """End `run`, once; return False if it has already ended, or with `unless_sent` if the engine has it.

        Its end is published before the future resolves, because the end of the flow run waits until the API has
        recorded everything that was published (rules S1, S2, W1).
        """
        with self._lock:
            if run.phase is Phase.ENDED or (unless_sent and run.phase is Phase.SENT):
                return False
            run.move(Phase.ENDED)
        if end.report_to_api:
            try:
                self._events.changed(change_to(run.task_run, end.state, end.metadata))
            except Exception:  # callers that wait for the run must get its outcome anyway
                self._logger.exception("Could not report the end of task run %r to the API.", run.task_run.name)
        try:
            run.future.resolve(self._outcome(run, end))
            run.drop_inputs()
            self._release(run)
        finally:  # a signal may interrupt this, and the end of the flow run must not wait for a run that has ended
            with self._idle:
                del self._runs[run.id]
                self._ended[end.status] += 1
                self._note_unless_awaited(run.future.awaited, end.status)
                if not self._runs:
                    self._idle.notify_all()
        return True

    def _outcome(self, run: Run, end: End) -> Outcome:
        task_run, state = run.task_run, end.state
        if isinstance(end.value, LazyValue):
            self._lazy.add(end.value)
        elif end.status is not Status.COMPLETED:
            state.data = end.error
        elif state.data is None:
            state.data = end.value
            if end.metadata is not None:
                state.data = ResultRecord(metadata=end.metadata, result=end.value)
        return Outcome(
            task_name=run.task.name,
            task_run_id=task_run.id,
            task_run_name=task_run.name,
            status=end.status,
            state=state,
            error=end.error,
            upstream=end.upstream,
            attempts=max(task_run.run_count, 1) + run.reruns,
            started=moment(task_run.start_time),
            ended=moment(task_run.end_time),
            worker=end.worker,
            runner=self._runner_name,
            map_index=run.future.map_index,
            inputs="" if end.status in (Status.COMPLETED, Status.BLOCKED) else inputs_text(run.parameters),
            _value=end.value,
        )

    # --- the end of the flow run ---------------------------------------------------------------------------------

    def wait_idle(self, left: Callable[[], float] | None = None) -> bool:
        """Wait until no run is open, while `left()` returns more than 0 seconds; return whether no run is open."""
        with self._idle:
            while self._runs:
                if left is None:
                    self._idle.wait()
                elif (seconds := left()) > 0:
                    self._idle.wait(min(seconds, _LOOK_SECONDS))
                else:
                    return False
            return True

    def fetch_lazy_values(self) -> None:
        """Fetch the results that workers kept, while there is an engine to fetch them from (rule E2)."""
        for value in list(self._lazy):
            if value.error is None:
                try:
                    value.get()
                except TimeoutError as exc:  # the others would take as long, one after the other
                    self._logger.error("Could not fetch the results that workers kept: %s", exc)
                    break
                except Exception:
                    self._logger.exception("Could not fetch a result that a worker kept.")
        self._lazy.clear()

    def log_stopped(self) -> None:
        """Log in one line how the runs of a stopped flow run have ended."""
        self._unawaited.clear()
        if total := self._ended.total():
            self._logger.warning(
                "The flow run was stopped, with %d task run%s: %s.",
                total,
                "" if total == 1 else "s",
                _listed(self._ended),
            )

    def log_unawaited(self) -> None:
        """Log in one line how many runs were never awaited (rule E1)."""
        counts = Counter(status for awaited, status in self._unawaited if not awaited.is_set)
        self._unawaited.clear()
        if total := counts.total():
            runs = "run was" if total == 1 else "runs were"
            self._logger.warning("%d submitted task %s never awaited: %s.", total, runs, _listed(counts))

    def _note_unless_awaited(self, awaited: AwaitedFlag, status: Status) -> None:
        if awaited.is_set:
            return
        self._unawaited.append((awaited, status))  # the end of the flow knows whether it was ever awaited
        if len(self._unawaited) >= self._unawaited_limit:
            self._unawaited = [each for each in self._unawaited if not each[0].is_set]
            self._unawaited_limit = 2 * len(self._unawaited) + 1000


def _sending(run: Run) -> Sending:
    request = run.request._replace(claim=run.claim) if run.request is not None else None
    return Sending(run, run.claim, request)


def _listed(counts: Counter[Status]) -> str:
    return ", ".join(f"{n} {status.value}" for status, n in sorted(counts.items()))
