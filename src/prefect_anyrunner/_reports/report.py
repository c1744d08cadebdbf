"""`Report`: the outcomes of all runs of one wait."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, overload

from prefect_anyrunner._base.public import public
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.pages import task_run_pages
from prefect_anyrunner._reports.artifact import publish_failures
from prefect_anyrunner._reports.data import json_text
from prefect_anyrunner._reports.digest import digest_of
from prefect_anyrunner._reports.failure import TaskRunsFailed
from prefect_anyrunner._reports.html import html_text
from prefect_anyrunner._reports.notebook import MAX_IN_NOTEBOOK, fragment
from prefect_anyrunner._reports.origin import Origin
from prefect_anyrunner._reports.render import (
    address,
    alike,
    counted,
    distinct,
    group_lines,
    headline,
    label_with_inputs,
)
from prefect_anyrunner._reports.rows import Rows

_RAISE: Any = object()


@public
class Report(Sequence[Outcome]):
    """The outcomes of one wait, in the order of the futures that were passed (rule O1).

    `tolerated` is the number of root failures that the policy tolerates. `withdrawn` holds the indexes of the runs that
    the policy cancelled because others had failed. `origin` is the flow run that waited, None outside of one.
    `publishes` is the argument `report` of the wait. `notes` are sentences for its readers. Two reports are equal
    if their outcomes are. A report can be pickled if its values can.
    """

    def __init__(
        self,
        outcomes: Iterable[Outcome],
        *,
        tolerated: int = 0,
        withdrawn: Iterable[int] = (),
        origin: Origin | None = None,
        publishes: bool | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        self.outcomes: Sequence[Outcome] = outcomes if isinstance(outcomes, Rows) else tuple(outcomes)
        self.tolerated = tolerated
        self.withdrawn = frozenset(withdrawn)
        self.origin = origin
        self.publishes = publishes
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, place: int) -> Outcome: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Outcome, ...]: ...
    def __getitem__(self, place: int | slice) -> Outcome | tuple[Outcome, ...]:
        return self.outcomes[place] if isinstance(place, int) else tuple(self.outcomes[place])

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __eq__(self, other: object) -> bool:
        return self.outcomes == other.outcomes if isinstance(other, Report) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.outcomes)

    def __repr__(self) -> str:
        return f"<Report: {counted(self.counts)}>"

    @property
    def counts(self) -> Counter[Status]:
        """The number of outcomes with each status; a run that was passed twice counts twice."""
        counts = Counter(outcome.status for outcome in self.failures)
        if completed := len(self.outcomes) - counts.total():
            counts[Status.COMPLETED] = completed
        return counts

    @property
    def ok(self) -> bool:
        """Whether no more runs failed than the policy tolerates, so that `raise_for_failures` would not raise."""
        return len(self.members()) <= self.tolerated

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Every outcome that is not COMPLETED, including blocked and cancelled ones."""
        if isinstance(self.outcomes, Rows):
            return self.outcomes.not_completed
        return tuple(outcome for outcome in self.outcomes if outcome.status is not Status.COMPLETED)

    def groups(self) -> list[tuple[Outcome, ...]]:
        """Return the failures in groups of alike ones, the largest group first.

        Two failures are alike if they have the same status and type and were raised at the same line. Those that no
        line raised, such as crashes, are alike if their texts differ only in numbers, quoted words, paths and ids.
        """
        return alike(self.failures)

    def results(self, *, default: Any = _RAISE) -> list[Any]:
        """Return the values in order, with `default` for the runs that did not complete.

        Without `default`, failures raise `TaskRunsFailed`, and failures that the policy tolerates have None.
        A run whose result was lost with the worker that kept it is a failure (CRASHED).
        """
        fetched = self.fetched()
        if default is _RAISE:
            fetched.raise_for_failures()
            default = None
        return [outcome.value if outcome.status is Status.COMPLETED else default for outcome in fetched.outcomes]

    def fetched(self) -> Report:
        """Return this report with all values fetched from the workers that still keep them.

        A run whose value was lost with its worker is CRASHED in the returned report.
        """
        if isinstance(self.outcomes, Rows):  # rows hold the values that they keep
            return self
        outcomes = [outcome.fetched() for outcome in self.outcomes]
        if all(map(operator.is_, outcomes, self.outcomes)):
            return self
        return Report(
            outcomes,
            tolerated=self.tolerated,
            withdrawn=self.withdrawn,
            origin=self.origin,
            publishes=self.publishes,
            notes=self.notes,
        )

    def raise_for_failures(self) -> None:
        """Raise `TaskRunsFailed` if more runs did not complete than the policy tolerates.

        In a flow run, the failures also become an artifact of it, unless the wait was called with `report=False`.
        """
        members = self.members()
        if len(members) <= self.tolerated:
            return
        if self.publishes is not False:
            publish_failures(self)
        pages = task_run_pages()
        for member in members:
            _note(member, pages)
        failures = distinct(self.failures)
        completed = {outcome.task_run_id for outcome in self.outcomes if outcome.status is Status.COMPLETED}
        statuses = Counter(outcome.status for outcome in failures)
        message = headline(
            members,
            total=len(failures) + len(completed),
            blocked=statuses[Status.BLOCKED] - sum(member.status is Status.BLOCKED for member in members),
            withdrawn=sum(outcome.index in self.withdrawn for outcome in failures),
            tolerated=self.tolerated,
        )
        raise TaskRunsFailed(message, [_error_of(member) for member in members], members)

    def members(self) -> list[Outcome]:
        """Return the outcomes whose errors are members of `TaskRunsFailed`.

        Each run is there once, and a blocked one only if its root is not in this report.
        """
        runs = distinct(self.failures)
        here = {outcome.task_run_id for outcome in runs}
        return [
            outcome
            for outcome in runs
            if outcome.index not in self.withdrawn
            and not (outcome.status is Status.BLOCKED and not here.isdisjoint(outcome.upstream))
        ]

    def summary(self) -> str:
        """Return the report as text: a line with the counts, then a line for each group of alike failures."""
        lines = [f"{len(self)} task run{'' if len(self) == 1 else 's'}: {counted(self.counts)}"]
        return "\n".join(lines + [f"  {line}" for line in (*group_lines(self.failures), *self.notes)])

    def to_json(self) -> str:
        """Return the report as JSON, without values: its flow run, counts, groups, and a record for each outcome."""
        return json_text(self)

    def to_html(self) -> str:
        """Return the report as one HTML page that needs no other file and no network.

        It has a summary, the failures, a timeline of the runs of each worker, and a table of all runs with filters.
        """
        return html_text(self)

    def _repr_html_(self) -> str:
        return fragment(digest_of(self, most=MAX_IN_NOTEBOOK))


def _error_of(member: Outcome) -> Exception:
    # Only a future of a third party could break this, and an ExceptionGroup takes no other members.
    assert isinstance(member.error, Exception), f"{member.status} outcome without an Exception: {member!r}"
    return member.error


def _note(outcome: Outcome, pages: str | None) -> None:
    """Add a note that names the run to its error, once for each run. `pages`: what `task_run_pages` returns."""
    error = outcome.error
    if error is None:
        return
    start = f"Task run {outcome.task_run_id}:"
    facts = [label_with_inputs(outcome)]
    if outcome.task_run_name:
        facts.append(f"named {outcome.task_run_name!r}")
    if outcome.runner:
        facts.append(f"on {outcome.runner}")
    if outcome.worker:
        facts.append(f"worker {outcome.worker}")
    if page := address(outcome, pages):
        facts.append(page)
    with suppress(Exception):  # a class may refuse notes, and the failure itself matters more
        if not any(str(note).startswith(start) for note in getattr(error, "__notes__", ())):
            error.add_note(f"{start} {', '.join(facts)}")
