"""One wait: its runs, its policy, its progress and its report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._reports.artifact import publish_failures
from prefect_anyrunner._reports.origin import origin_here
from prefect_anyrunner._reports.report import Report
from prefect_anyrunner._waiting.flatten import flatten
from prefect_anyrunner._waiting.policy import FailurePolicy, as_policy
from prefect_anyrunner._waiting.poll import await_loop, in_thread_if_blocking, wait_loop
from prefect_anyrunner._waiting.progress import Progress, ProgressArgument, following
from prefect_anyrunner._waiting.runs import Ended, checked_timeout
from prefect_anyrunner._waiting.wait_set import WaitSet, at_positions

_recordings: ContextVar[tuple[tuple[list[Report], Callable[[], bool]], ...]] = ContextVar(
    "prefect_anyrunner_recordings", default=()
)


@contextmanager
def recording(*, only: Callable[[], bool] = lambda: True) -> Iterator[list[Report]]:
    """Collect the report of every wait inside the `with` block, in this context and its asyncio tasks.

    A report is left out if `only()` returns False when the wait ends.
    """
    reports: list[Report] = []
    token = _recordings.set((*_recordings.get(), (reports, only)))
    try:
        yield reports
    finally:
        _recordings.reset(token)


def recorded(report: Report) -> Report:
    """Append `report` to the list of every surrounding `recording`, publish it if that is wanted, and return it."""
    for reports, only in _recordings.get():
        if only():
            reports.append(report)
    if report.publishes:
        publish_failures(report)
    return report


def checked_report(report: object) -> bool | None:
    """Return the argument `report` of a wait; raise `TypeError` if it is something else."""
    if report is None or isinstance(report, bool):
        return report
    raise TypeError(f"report must be True, False or None, not {report!r}")


class SettleSession:
    """The progress of one `settle`: the runs that have ended, and whether too many of them have failed."""

    def __init__(
        self, futures: Any, policy: FailurePolicy | str | None, timeout: float | None, publishes: bool | None
    ) -> None:
        self._publishes = checked_report(publishes)
        self._policy = as_policy(policy)
        seconds = checked_timeout(timeout)
        positions, self._unflatten = flatten(futures)
        self._total = len(positions)
        self._wait_set = WaitSet(positions, seconds)
        self._allowed = self._policy.allowed(len(self._wait_set.runs))
        self._run_ids = {getattr(position.future, "task_run_id", None) for position in positions}
        self._ended: list[Ended] = []
        self._withdrawn: set[int] = set()
        self._done = self._failed = self._roots = 0
        self._tripped = False

    def settle(self, progress: ProgressArgument) -> Report:
        """Wait until all runs have ended or the time is over; return the report."""
        with following(progress, self._total) as follow, self._wait_set.release_worker():
            for batch in wait_loop(self._wait_set):
                if self._record(batch, follow):
                    self._stop()
            raise_if_suspended()
            return self._report()

    async def asettle(self, progress: ProgressArgument) -> Report:
        """Do what `settle` does without blocking the event loop."""
        with following(progress, self._total) as follow, self._wait_set.release_worker():
            async for batch in await_loop(self._wait_set):
                if self._record(batch, follow):
                    await asyncio.to_thread(self._stop)
            raise_if_suspended()
            return await in_thread_if_blocking(self._wait_set, self._report)

    def results(self, report: Report, default: Any) -> Any:
        """Return the results in the shape of the argument; raise `TaskRunsFailed` for the failures."""
        report = report.fetched()
        report.raise_for_failures()
        return self._unflatten(report.results(default=default))

    def _record(self, batch: Sequence[Ended], follow: Progress) -> bool:
        """Count the runs that have ended; return True once, when the policy demands that the others be stopped."""
        for run, outcome in batch:
            self._done += len(run.positions)
            if outcome.status is not Status.COMPLETED:
                self._failed += len(run.positions)
                self._roots += self._is_root(outcome) and id(run.future) not in self._withdrawn
        self._ended += batch
        if batch:
            follow(self._done, self._failed, self._total)
        if self._tripped or self._roots <= self._allowed:
            return False
        self._tripped = True
        return self._policy.then != "finish"

    def _is_root(self, outcome: Outcome) -> bool:
        return outcome.status is not Status.BLOCKED or self._run_ids.isdisjoint(outcome.upstream)

    def _stop(self) -> None:
        """Stop the runs that have not ended, as the policy demands."""
        self._withdrawn |= self._wait_set.cancel(running=self._policy.then == "cancel")

    def _report(self) -> Report:
        """Return the report, once all runs are closed."""
        outcomes: dict[int, Outcome] = {}
        withdrawn: set[int] = set()
        for run, detailed in self._wait_set.with_details(self._ended, [outcome for _, outcome in self._ended]):
            for outcome in at_positions(run, detailed):
                outcomes[outcome.index] = outcome
                if id(run.future) in self._withdrawn and outcome.status is Status.CANCELLED:
                    withdrawn.add(outcome.index)
        in_order = [outcomes[index] for index in range(self._total)]
        return recorded(
            Report(
                in_order,
                tolerated=self._allowed,
                withdrawn=withdrawn,
                origin=origin_here(),
                publishes=self._publishes,
            )
        )
