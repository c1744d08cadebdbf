"""Conformance reports side by side: a row for each rule, a column for each runner."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_anyrunner.conformance.report import CaseResult, ConformanceReport
from prefect_anyrunner.conformance.table import RULES


def cell(results: Sequence[CaseResult]) -> str:
    """Return the result of one runner for one rule: `yes`, `no (2 of 3)`, or `-` if all cases were skipped."""
    failed = sum(result.verdict == "fail" for result in results)
    counted = [result for result in results if result.verdict != "skip"]
    if failed:
        return f"no ({failed} of {len(counted)})" if len(counted) > 1 else "no"
    return "yes" if counted else "-"


def rows(reports: Sequence[ConformanceReport]) -> list[list[str]]:
    """Return one row for each rule: its id, its text, and a cell for each report."""
    by_rule = [report.rules() for report in reports]
    found = dict.fromkeys([*RULES, *(rule for rules in by_rule for rule in rules)])
    return [
        [rule, RULES.get(rule, ""), *(cell(rules.get(rule, ())) for rules in by_rule)]
        for rule in found
        if any(rule in rules for rules in by_rule)
    ]
