"""Conformance reports side by side: rules down, runners across, as text for a terminal or as markdown."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_anyrunner.conformance.report import CaseResult, ConformanceReport
from prefect_anyrunner.conformance.table import RULES

BEGIN = "<!-- matrix: begin -->"
END = "<!-- matrix: end -->"


def cell(results: Sequence[CaseResult]) -> str:
    """Return what one runner made of one rule: `yes`, `no (2 of 3)`, `-` where it declares that it cannot."""
    failed = sum(result.verdict == "fail" for result in results)
    counted = [result for result in results if result.verdict != "skip"]
    if failed:
        return f"no ({failed} of {len(counted)})" if len(counted) > 1 else "no"
    return "yes" if counted else "-"


def rows(reports: Sequence[ConformanceReport]) -> list[list[str]]:
    """Return one row per rule: its id, what it says, and a cell for each report."""
    by_rule = [report.rules() for report in reports]
    found = dict.fromkeys([*RULES, *(rule for rules in by_rule for rule in rules)])
    return [
        [rule, RULES.get(rule, ""), *(cell(rules.get(rule, ())) for rules in by_rule)]
        for rule in found
        if any(rule in rules for rules in by_rule)
    ]


def markdown(reports: Sequence[ConformanceReport]) -> str:
    """Return the matrix as a markdown table, with a legend and the reasons for what is not tried."""
    names = [report.spec.removesuffix("://") for report in reports]
    lines = ["| rule | | " + " | ".join(f"`{name}`" for name in names) + " |", ""]
    lines[1] = "|" + " --- |" * (len(names) + 2)
    lines += ["| " + " | ".join(row) + " |" for row in rows(reports)]
    versions = {name: version for report in reports for name, version in report.versions.items()}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines += [
        "",
        "`no (2 of 3)`: two of the rule's three cases failed. `-`: what the runner declares that it cannot do, for a "
        f"reason below. Run on {told}.",
    ]
    reasons: dict[str, dict[str, list[str]]] = {}  # reason -> runner -> cases
    for name, report in zip(names, reports, strict=True):
        for result in report.results:
            if result.verdict == "skip":
                reasons.setdefault(result.detail, {}).setdefault(f"`{name}`", []).append(result.case)
    lines += [""] if reasons else []
    for reason, runners in reasons.items():
        cases = dict.fromkeys(case for some in runners.values() for case in some)
        lines.append(f"- {', '.join(runners)}: {reason} ({', '.join(cases)})")
    return "\n".join(lines)


def placed(text: str, table: str) -> str:
    """Return `text` with `table` between its two markers. Raises ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"it has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
