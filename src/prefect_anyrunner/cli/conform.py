"""`anyrunner conform`: the table of rules on any runner, and what it keeps and breaks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from prefect_anyrunner.cli.load import BadInput
from prefect_anyrunner.conformance import CaseResult, ConformanceReport, changes, conform, merged
from prefect_anyrunner.conformance.matrix import BEGIN, END, markdown, placed, rows

_SIGNS = {"pass": "[green]pass[/]", "fail": "[red]FAIL[/]", "skip": "skip"}


def run(
    specs: Sequence[str],
    *,
    rules: Sequence[str],
    seconds: float,
    json_file: str | None,
    markdown_file: str | None,
    compare_file: str | None,
) -> int:
    """Run the table on each runner and print what came out; return 0 only if none breaks what it does not declare.

    `json_file`: where the reports go; what it holds already of other runners stays, and of other cases of the same
    runner on the same versions. `markdown_file`: a file with the two markers of the matrix, or one to write.
    `compare_file`: reports to compare with. Raises BadInput, SpecError, BackendUnavailable and AnyRunnerError.
    """
    before = _read(compare_file) if compare_file else {}
    kept = _read(json_file) if json_file and Path(json_file).exists() else {}
    console = Console(highlight=False, soft_wrap=True)
    reports: dict[str, ConformanceReport] = {}
    failed = False
    for spec in specs:
        console.print(f"[bold]{spec}[/]")
        report = conform(spec, rules=rules, seconds=seconds, follow=lambda result: _tell(console, result))
        counts = report.counts
        console.print(f"{spec}: {counts['pass']} kept, {counts['fail']} broken, {counts['skip']} not tried\n")
        reports[report.spec] = merged(kept[report.spec], report) if report.spec in kept else report
        failed |= not report.ok
        if json_file:
            known = [each.as_dict() for each in {**kept, **reports}.values()]
            text = json.dumps({"reports": known}, indent=1)
            Path(json_file).write_text(text + "\n")
    everything = list({**kept, **reports}.values())
    if markdown_file:
        _write_markdown(Path(markdown_file), markdown(everything))
    if len(everything) > 1:
        table = Table(show_edge=False, box=None, padding=(0, 2, 0, 0))
        lines = [["rule", "", *(each.spec.removesuffix("://") for each in everything)], *rows(everything)]
        widths = [max(map(len, column)) + 2 for column in zip(*lines, strict=True)]
        if sum(widths) - widths[1] + 30 > console.width:  # no place for what the rules say
            lines = [[row[0], *row[2:]] for row in lines]
        for heading in lines[0]:
            table.add_column(heading, no_wrap=len(lines[0]) == len(everything) + 1)
        for row in lines[1:]:
            table.add_row(*row)
        console.print(table)
    for spec, report in reports.items():
        if spec in before:
            for line in changes(before[spec], report):
                console.print(f"{spec}: {line}", markup=False)
    return 1 if failed else 0


def _tell(console: Console, result: CaseResult) -> None:
    detail = f"  {result.detail}" if result.detail else ""
    console.print(f"  {_SIGNS[result.verdict]}  {result.case:24} {result.seconds:6.1f} s", end="")
    console.print(detail, markup=False)


def _read(name: str) -> dict[str, ConformanceReport]:
    try:
        plain = json.loads(Path(name).read_text())
        reports = [ConformanceReport.from_dict(each) for each in plain["reports"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{name} holds no conformance reports: {error}") from error
    return {report.spec: report for report in reports}


def _write_markdown(file: Path, table: str) -> None:
    text = file.read_text() if file.exists() else f"{BEGIN}\n{END}\n"
    try:
        file.write_text(placed(text, table))
    except ValueError as error:
        raise BadInput(f"{file} is not written: {error}") from error
