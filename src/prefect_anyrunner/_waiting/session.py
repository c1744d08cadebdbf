"""One wait: the runs, the policy, the progress and the report."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._outcomes.report import Report
from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._waiting.flatten import laid_out
from prefect_anyrunner._waiting.policy import FailurePolicy, as_policy
from prefect_anyrunner._waiting.poll import _arounds, _aside, _rounds
from prefect_anyrunner._waiting.progress import Progress, ProgressArgument, following
from prefect_anyrunner._waiting.runs import Ended, checked_timeout
from prefect_anyrunner._waiting.wait_set import Waiting


@contextmanager
def recording(into: list[Report] | None = None) -> Iterator[list[Report]]:
    """Collect the report of every `settle` and `gather` inside the `with` block, in this context and its tasks.

    They are appended to `into`, or to a new list.
    """
    reports: list[Report] = [] if into is None else into
    token = _recording.set((*_recording.get(), reports))
    try:
        yield reports
    finally:
        _recording.reset(token)


_recording: ContextVar[tuple[list[Report], ...]] = ContextVar("prefect_anyrunner_recording", default=())


class _Settling:
    """What one `settle` knows while it waits: what has ended, and whether failures are too many."""

    def __init__(self, futures: Any, policy: FailurePolicy | str | None, timeout: float | None) -> None:
        self.policy = as_policy(policy)
        seconds = checked_timeout(timeout)
        places, self._rebuild = laid_out(futures)
        self.waiting = Waiting(places, seconds)
        self.allowed = self.policy.allowed(len(self.waiting.runs))
        self._at_hand = {getattr(place.future, "task_run_id", None) for place in places}
        self._ended: list[Ended] = []
        self._withdrawn: set[int] = set()
        self._done = self._failed = self._roots = 0
        self._tripped = False

    def note(self, batch: Sequence[Ended], follow: Progress) -> bool:
        """Take in what has ended; True once, when the policy says that something must be stopped now."""
        for run, outcome in batch:
            self._done += len(run.places)
            if outcome.status is not Status.COMPLETED:
                self._failed += len(run.places)
                self._roots += self._is_root(outcome) and id(run.future) not in self._withdrawn
        self._ended += batch
        if batch:
            follow(self._done, self._failed, len(self.waiting.places))
        if self._tripped or self._roots <= self.allowed:
            return False
        self._tripped = True
        return self.policy.then != "finish"

    def _is_root(self, outcome: Outcome) -> bool:
        if outcome.status is Status.BLOCKED:
            return self._at_hand.isdisjoint(outcome.upstream)
        return True

    def stop(self) -> None:
        """Do what the policy says to the runs that have not ended."""
        self._withdrawn |= self.waiting.cancel(running=self.policy.then == "cancel")

    def report(self) -> Report:
        """Return the report, once nothing is open any more."""
        outcomes: list[Outcome | None] = [None] * len(self.waiting.places)
        cancelled: set[int] = set()
        for run, told in self.waiting.told(self._ended, [outcome for _, outcome in self._ended]):
            for outcome in self.waiting.placed(run, told):
                outcomes[outcome.index] = outcome
                if id(run.future) in self._withdrawn and outcome.status is Status.CANCELLED:
                    cancelled.add(outcome.index)
        report = Report(
            [outcome for outcome in outcomes if outcome is not None], tolerated=self.allowed, withdrawn=cancelled
        )
        for reports in _recording.get():
            reports.append(report)
        return report

    def results(self, report: Report, default: Any) -> Any:
        """Return the results in the shape of the argument, or raise for the failures."""
        report = report.brought()
        report.raise_for_failures()
        return self._rebuild(report.results(default=default))


def _settled(settling: _Settling, progress: ProgressArgument) -> Report:
    with following(progress, len(settling.waiting.places)) as follow, settling.waiting.blocking():
        for batch in _rounds(settling.waiting):
            if settling.note(batch, follow):
                settling.stop()
        raise_if_suspended()
        return settling.report()


async def _asettled(settling: _Settling, progress: ProgressArgument) -> Report:
    with following(progress, len(settling.waiting.places)) as follow, settling.waiting.blocking():
        async for batch in _arounds(settling.waiting):
            if settling.note(batch, follow):
                await asyncio.to_thread(settling.stop)
        raise_if_suspended()
        return await _aside(settling.waiting, settling.report)
