"""The rows of a page: all runs of a report in few bytes each, as columns of JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.pages import task_run_pages
from prefect_anyrunner._reports.render import kind_of, label, own_name, text_without_secrets

if TYPE_CHECKING:
    from prefect_anyrunner._reports.report import Report

MAX_ROWS = 200_000
"""Number of task runs that a page holds. Beyond it, completed ones are left out first."""
_NO_ID = bytes(16)


def rows_text(report: Report) -> str:
    """Return the rows as JSON that is safe inside a `script` element.

    Columns: `label`, `name`, `task`, `worker` and `status` (numbers of words), `start` and `took` (milliseconds, -1 if
    not known; the first start is 0), and the ids, 16 bytes each. `why` maps the row of a run that did not complete
    to its inputs, kind and text. `began` is the first start, in milliseconds since 1970.
    """
    outcomes = _chosen(report)
    starts = [moment.started for moment in outcomes if moment.started is not None]
    began = min(starts, default=None)
    tasks, workers, names = _Words(), _Words(), _Words()
    statuses = [status.value for status in Status]
    data: dict[str, Any] = {
        "began": int(began.timestamp() * 1000) if began is not None else 0,
        "pages": task_run_pages(),
        "statuses": statuses,
        "task": [tasks.number(outcome.task_name) for outcome in outcomes],
        "worker": [workers.number(outcome.worker or "") for outcome in outcomes],
        "status": [statuses.index(outcome.status.value) for outcome in outcomes],
        "label": [_place(outcome) for outcome in outcomes],
        "name": [names.number(own_name(outcome)) for outcome in outcomes],
        "start": [_milliseconds(began, outcome.started) for outcome in outcomes],
        "took": [_milliseconds(outcome.started, outcome.ended) for outcome in outcomes],
        "ids": base64.b64encode(
            b"".join(outcome.task_run_id.bytes if outcome.task_run_id else _NO_ID for outcome in outcomes)
        ).decode(),
        "why": {
            number: _why(outcome) for number, outcome in enumerate(outcomes) if outcome.status is not Status.COMPLETED
        },
    }
    data |= {"tasks": tasks.words, "workers": workers.words, "names": names.words}
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _chosen(report: Report) -> Sequence[Outcome]:
    if len(report) <= MAX_ROWS:
        return report.outcomes
    failures = report.failures[:MAX_ROWS]
    room = MAX_ROWS - len(failures)
    completed = (outcome for outcome in report.outcomes if outcome.status is Status.COMPLETED)
    return sorted([*failures, *(next(completed) for _ in range(room))], key=lambda outcome: outcome.index)


def _place(outcome: Outcome) -> str:
    """Return the part of a run's label after the name of its task: `[3]`."""
    return label(outcome).removeprefix(outcome.task_name)


def _milliseconds(since: datetime | None, until: datetime | None) -> int:
    if since is None or until is None:
        return -1
    return max(0, round((until - since).total_seconds() * 1000))


def _why(outcome: Outcome) -> list[str]:
    kind = kind_of(outcome) if outcome.error is not None else ""
    return [outcome.inputs, kind, text_without_secrets(outcome.error)]


class _Words:
    """Texts by number, because most of them occur many times."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, word: str) -> int:
        found = self._numbers.get(word)
        if found is None:
            found = self._numbers[word] = len(self.words)
            self.words.append(word)
        return found
