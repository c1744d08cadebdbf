"""A report as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.pages import task_run_pages
from prefect_anyrunner._reports.origin import Origin
from prefect_anyrunner._reports.printed import traceback_text
from prefect_anyrunner._reports.render import address, kind_of, label, text_without_secrets, where_raised

if TYPE_CHECKING:
    from prefect_anyrunner._reports.report import Report


def json_text(report: Report) -> str:
    """Return a report as JSON, without values: its flow run, its counts, its groups, and a record of each outcome."""
    pages = task_run_pages()
    data = {
        "ok": report.ok,
        "total": len(report),
        "counts": {status.value: report.counts[status] for status in Status if report.counts[status]},
        "flow_run": _flow_run(report.origin) if report.origin is not None else None,
        "notes": list(report.notes),
        "groups": [_group(group) for group in report.groups()],
        "outcomes": [_record(outcome, pages) for outcome in report.outcomes],
    }
    return json.dumps(data, indent=2)


def _flow_run(origin: Origin) -> dict[str, Any]:
    return {
        "id": str(origin.flow_run_id),
        "name": origin.flow_run_name,
        "flow": origin.flow_name,
        "attempt": origin.attempt,
        "url": origin.url,
        "runner": origin.runner,
        "chosen_by": origin.chosen_by,
    }


def _group(group: tuple[Outcome, ...]) -> dict[str, Any]:
    error = group[0].error
    return {
        "count": len(group),
        "kind": kind_of(group[0]),
        "text": None if error is None else text_without_secrets(error),
        "where": where_raised(group[0]),
        "traceback": None if error is None else traceback_text(error),
        "runs": list(map(label, group)),
        "indexes": [outcome.index for outcome in group],
    }


def _record(outcome: Outcome, pages: str | None) -> dict[str, Any]:
    error = outcome.error
    return {
        "index": outcome.index,
        "path": list(outcome.path),
        "task": outcome.task_name,
        "task_run_id": str(outcome.task_run_id) if outcome.task_run_id else None,
        "task_run_name": outcome.task_run_name,
        "url": address(outcome, pages) or None,
        "inputs": outcome.inputs,
        "status": outcome.status.value,
        "error": None if error is None else {"type": type(error).__name__, "text": text_without_secrets(error)},
        "upstream": [str(run_id) for run_id in outcome.upstream],
        "attempts": outcome.attempts,
        "started": outcome.started.isoformat() if outcome.started else None,
        "ended": outcome.ended.isoformat() if outcome.ended else None,
        "worker": outcome.worker,
        "runner": outcome.runner,
    }
