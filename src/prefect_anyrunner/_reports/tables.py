"""A report for other programs: CSV for spreadsheets, JUnit XML for the pages of CI services."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.pages import task_run_pages
from prefect_anyrunner._reports.printed import traceback_text
from prefect_anyrunner._reports.render import (
    address,
    alike,
    described_without_secrets,
    label,
    label_with_inputs,
    text_without_secrets,
)

if TYPE_CHECKING:
    from prefect_anyrunner._reports.report import Report

COLUMNS = (
    *("index", "task", "map_index", "name", "status", "attempts", "started", "ended", "seconds"),
    *("worker", "runner", "inputs", "error", "text", "task_run_id", "url"),
)
"""The columns of the CSV file."""

_ELEMENTS = {Status.FAILED: "failure", Status.BLOCKED: "skipped", Status.CANCELLED: "skipped"}
"""JUnit's elements for runs that did not complete; `error` for all others."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(report: Report) -> str:
    """Return a row for each outcome, below a row with the names of the columns."""
    pages = task_run_pages()
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for outcome in report.outcomes:
        error = outcome.error
        rows.writerow(
            (
                outcome.index,
                _cell(outcome.task_name),
                outcome.map_index if outcome.map_index is not None else "",
                _cell(outcome.task_run_name),
                outcome.status.value,
                outcome.attempts,
                outcome.started.isoformat() if outcome.started else "",
                outcome.ended.isoformat() if outcome.ended else "",
                "" if (seconds := seconds_of(outcome)) is None else f"{seconds:.3f}",
                _cell(outcome.worker),
                _cell(outcome.runner),
                _cell(outcome.inputs),
                _cell(type(error).__name__ if error is not None else ""),
                _cell(text_without_secrets(error)),
                outcome.task_run_id or "",
                address(outcome, pages),
            )
        )
    return text.getvalue()


def seconds_of(outcome: Outcome) -> float | None:
    """Return how many seconds a run took; None if its start or its end is not known."""
    if outcome.started is None or outcome.ended is None:
        return None
    return max(0.0, (outcome.ended - outcome.started).total_seconds())


def _cell(text: str | None) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text and text.startswith(_FORMULA) else text or ""


def junit_text(report: Report) -> str:
    """Return a test case for each outcome. The first run of each group of failures has the traceback."""
    origin = report.origin
    name = origin.flow_name if origin is not None and origin.flow_name else "task runs"
    counts = report.counts
    skipped = counts[Status.BLOCKED] + counts[Status.CANCELLED]
    bad = len(report) - counts[Status.COMPLETED] - counts[Status.FAILED] - skipped
    suite = ElementTree.Element(
        "testsuite",
        name=_xml(name),
        tests=str(len(report)),
        failures=str(counts[Status.FAILED]),
        errors=str(bad),
        skipped=str(skipped),
    )
    first_of = {id(outcome): group[0] for group in alike(report.failures) for outcome in group}
    for outcome in report.outcomes:
        _case(suite, name, outcome, first_of)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ElementTree.tostring(suites, encoding="unicode")}\n'


def _case(suite: ElementTree.Element, name: str, outcome: Outcome, first_of: dict[int, Outcome]) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=_xml(f"{name}.{outcome.task_name}"), name=_xml(label_with_inputs(outcome))
    )
    if (seconds := seconds_of(outcome)) is not None:
        case.set("time", f"{seconds:.3f}")
    if outcome.status is Status.COMPLETED:
        return
    error, first = outcome.error, first_of[id(outcome)]
    why = outcome.status.value if error is None else described_without_secrets(error)
    problem = ElementTree.SubElement(case, _ELEMENTS.get(outcome.status, "error"), message=_xml(why))
    if error is not None:
        problem.set("type", _xml(type(error).__name__))
        problem.text = _xml(traceback_text(error) if first is outcome else f"{why}\n(as {label(first)})")


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
