"""`anyrunner conform`: runners against the table of rules."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prefect_anyrunner._base.secrets import hide_in_text
from prefect_anyrunner.cli.usage_error import UsageError
from prefect_anyrunner.conformance import CaseResult, ConformanceReport, changes, conform
from prefect_anyrunner.conformance.matrix import rows

_MARKS = {"pass": "[green]pass[/]", "fail": "[red]FAIL[/]", "skip": "skip"}
_SENTENCE_WIDTH = 30
"""Minimum number of columns for the sentences of the rules; with less room they are left out."""


def run(
    specs: Sequence[str], *, rules: Sequence[str], seconds: float, json_file: str | None, compare_file: str | None
) -> int:
    """Check each runner, print the results, and return 0 only if none breaks a rule that it does not declare.

    `json_file`: the file that the reports are written to, after each runner. `compare_file`: reports of an earlier run.
    Raises UsageError, SpecError, BackendUnavailable and AnyRunnerError.
    """
    before = read_reports(compare_file) if compare_file else {}
    console = Console(highlight=False, soft_wrap=True)
    reports: dict[str, ConformanceReport] = {}
    for spec in specs:
        name = hide_in_text(spec)
        console.print(name, style="bold", markup=False)
        report = conform(spec, rules=rules, seconds=seconds, follow=lambda result: _print_result(console, result))
        counts = report.counts
        console.print(
            f"{name}: {counts['pass']} passed, {counts['fail']} failed, {counts['skip']} skipped\n", markup=False
        )
        reports[report.spec] = report
        if json_file:
            write_reports(json_file, list(reports.values()))
    if len(reports) > 1:
        _print_matrix(console, list(reports.values()))
    for spec, report in reports.items():
        if spec in before:
            for line in changes(before[spec], report):
                console.print(f"{spec}: {line}", markup=False)
    return 0 if all(report.ok for report in reports.values()) else 1


def read_reports(file: str) -> dict[str, ConformanceReport]:
    """Return the reports in a file by their specs. Raises UsageError if it holds none."""
    try:
        plain = json.loads(Path(file).read_text())
        reports = [ConformanceReport.from_dict(each) for each in plain["reports"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} holds no conformance reports: {error}") from error
    return {report.spec: report for report in reports}


def write_reports(file: str, reports: Sequence[ConformanceReport]) -> None:
    """Write reports to a file."""
    text = json.dumps({"reports": [report.as_dict() for report in reports]}, indent=1)
    Path(file).write_text(text + "\n")


def _print_result(console: Console, result: CaseResult) -> None:
    detail = f"  {result.detail}" if result.detail else ""
    console.print(f"  {_MARKS[result.verdict]}  {result.case:24} {result.seconds:6.1f} s", end="")
    console.print(detail, markup=False)


def _print_matrix(console: Console, reports: Sequence[ConformanceReport]) -> None:
    lines = [["rule", "", *(report.spec.removesuffix("://") for report in reports)], *rows(reports)]
    widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
    without_sentences = sum(widths) - widths[1] + _SENTENCE_WIDTH > console.width
    if without_sentences:
        lines = [[row[0], *row[2:]] for row in lines]
    table = Table(show_edge=False, box=None, padding=(0, 2, 0, 0))
    for heading in lines[0]:
        table.add_column(Text(heading), no_wrap=without_sentences)
    for row in lines[1:]:
        table.add_row(*row)
    console.print(table)
