"""The files that `anyrunner run --report` and `anyrunner report -o` write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._reports.failure import TaskRunsFailed
from prefect_anyrunner._reports.files import SUFFIXES, write_report
from prefect_anyrunner._reports.render import described_without_secrets
from prefect_anyrunner._reports.report import Report
from prefect_anyrunner.cli.usage_error import UsageError


def report_path(file: str, option: str) -> Path:
    """Return the path of a file that a report can be written to. Raises UsageError if it cannot."""
    path = Path(file)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{option} {file!r}: the name must end in one of {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {file!r}: the folder {str(path.parent)!r} does not exist")
    return path


def save(report: Report, path: Path) -> None:
    """Write a report to a file. Raises UsageError if the file cannot be written."""
    try:
        write_report(report, path)
    except OSError as problem:
        raise UsageError(f"the report cannot be written to {path}: {problem}") from problem


def combined(reports: Sequence[Report], error: BaseException | None) -> Report:
    """Return one report of all waits of a flow run, each task run once. `error`: why the flow run failed."""
    notes = [note for report in reports for note in report.notes]
    if error is not None and not isinstance(error, TaskRunsFailed):
        notes.append(f"The flow failed by an error of its own: {described_without_secrets(error)}")
    if not reports:
        notes.append(
            "The flow waited for no task run with settle, gather or another function of this package. "
            "`anyrunner report` with the id of the flow run asks the API what became of them."
        )
    outcomes: list[Outcome] = []
    withdrawn: list[int] = []
    seen: set[object] = set()
    for report in reports:
        for outcome in report.outcomes:
            if outcome.task_run_id is not None and outcome.task_run_id in seen:
                continue
            seen.add(outcome.task_run_id)
            if outcome.index in report.withdrawn:
                withdrawn.append(len(outcomes))
            outcomes.append(outcome.placed(len(outcomes), outcome.path))
    return Report(
        outcomes,
        tolerated=sum(report.tolerated for report in reports),
        withdrawn=withdrawn,
        origin=reports[0].origin if reports else None,
        publishes=False,
        notes=notes,
    )
