"""The facts on a page about failures: bounded, and the same in the artifact, in the file and in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from prefect_anyrunner._base.safe_text import MAX_LINE, clipped
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.pages import task_run_pages
from prefect_anyrunner._reports.printed import traceback_text
from prefect_anyrunner._reports.render import (
    MAX_GROUPS,
    address,
    alike,
    differing_first,
    distinct,
    kind_of,
    label,
    labels,
    own_name,
    text_without_secrets,
    where_raised,
)

if TYPE_CHECKING:
    from prefect_anyrunner._reports.report import Report

MAX_RUNS = 5
"""Number of runs of each group that a page shows."""
MAX_TASK_NAME = 80
"""Characters of a run's label."""


@dataclass(frozen=True)
class RunFacts:
    """One run as a page shows it. `text`: the text of its error, if it differs from the group's sample."""

    label: str
    inputs: str
    name: str
    url: str | None
    text: str


@dataclass(frozen=True)
class GroupFacts:
    """One group of alike failures. `labels` names its runs, and `blocked` those that never ran because of them."""

    count: int
    status: Status
    kind: str
    text: str
    where: str
    labels: str
    runs: tuple[RunFacts, ...]
    blocked: int
    blocked_labels: str
    traceback: str


@dataclass(frozen=True)
class Digest:
    """The failures of a report. `more_groups` and `more_runs` count the groups that `groups` leaves out.

    `withdrawn`: the number of runs that a policy cancelled because others had failed.
    """

    total: int
    counts: Counter[Status]
    failed: int
    groups: tuple[GroupFacts, ...]
    more_groups: int
    more_runs: int
    withdrawn: int

    @property
    def headline(self) -> str:
        """One line with how many of the task runs failed."""
        runs = f"{self.total:,} task run{'' if self.total == 1 else 's'}"
        return f"{self.failed:,} of {runs} failed" if self.failed else f"{runs}, and none failed"


def digest_of(report: Report, *, most: int = MAX_GROUPS) -> Digest:
    """Return the facts of a report, with at most `most` groups of failures."""
    failures = distinct(report.failures)
    withdrawn = sum(outcome.index in report.withdrawn for outcome in failures)
    return digest_of_failures(report.members(), failures, report.counts, withdrawn=withdrawn, most=most)


def digest_of_failures(
    members: Sequence[Outcome], failures: Sequence[Outcome], counts: Counter[Status], *, withdrawn: int = 0, most: int
) -> Digest:
    """Return the facts of failures.

    Args:
        members: the outcomes that did not complete for a reason of their own, each run once.
        failures: every outcome that did not complete, each run once.
        counts: the number of outcomes with each status.
        withdrawn: as in `Digest`.
        most: number of groups that are described.
    """
    groups = alike(members)
    pages = task_run_pages() if groups else None
    group_of = {run.task_run_id: number for number, group in enumerate(groups[:most]) for run in group}
    blocked: dict[int, list[Outcome]] = {}
    for outcome in failures:
        if outcome.status is Status.BLOCKED and (number := _root_group(outcome.upstream, group_of)) is not None:
            blocked.setdefault(number, []).append(outcome)
    return Digest(
        total=counts.total(),
        counts=counts,
        failed=len(members),
        groups=tuple(_facts(group, blocked.get(number, []), pages) for number, group in enumerate(groups[:most])),
        more_groups=len(groups[most:]),
        more_runs=sum(map(len, groups[most:])),
        withdrawn=withdrawn,
    )


def _root_group(upstream: Sequence[UUID], group_of: dict[UUID | None, int]) -> int | None:
    return next((group_of[run_id] for run_id in upstream if run_id in group_of), None)


def _facts(group: Sequence[Outcome], blocked: Sequence[Outcome], pages: str | None) -> GroupFacts:
    first = group[0]
    sample = text_without_secrets(first.error)
    traceback = traceback_text(first.error) if first.error is not None else ""
    return GroupFacts(
        count=len(group),
        status=first.status,
        kind=clipped(kind_of(first), MAX_TASK_NAME),
        text=sample,
        where=where_raised(first),
        labels=clipped(labels(group, together=True), 200),
        runs=tuple(_run(run, sample, pages) for run in differing_first(group, MAX_RUNS)),
        blocked=len(blocked),
        blocked_labels=clipped(labels(blocked, together=True), 200),
        traceback=traceback if "\n" in traceback or len(traceback) > MAX_LINE else "",  # else it repeats `text`
    )


def _run(outcome: Outcome, sample: str, pages: str | None) -> RunFacts:
    text = text_without_secrets(outcome.error)
    return RunFacts(
        label=clipped(label(outcome), MAX_TASK_NAME),
        inputs=outcome.inputs,
        name=own_name(outcome),
        url=address(outcome, pages) or None,
        text="" if text == sample else text,
    )
