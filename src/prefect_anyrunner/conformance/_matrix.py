"""Conformance reports side by side: rules down, runners across, as text for a terminal or as markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ._report import CaseResult, ConformanceReport

BEGIN = "<!-- matrix: begin -->"
END = "<!-- matrix: end -->"

RULES = {
    "O1": "outcomes in submission order, shape kept",
    "O2": "settling again gives the same, later too",
    "F1": "an exception arrives as itself",
    "F2": "... whatever its `__init__` takes",
    "F3": "... a group with all its members",
    "F4": "one that cannot travel arrives as a stand-in",
    "F5": "a task's own TimeoutError and the like are its own",
    "F6": "retries, timeouts, returned states, hooks",
    "C1": "SystemExit and own BaseExceptions crash one run",
    "C2": "a dead worker takes one run",
    "C3": "what completed never runs again",
    "C4": "`rerun_lost` alone runs a lost run again",
    "S1": "the API shows what happened",
    "V1": "what cannot travel fails its run, by name",
    "V2": "tasks have no memory of the flow's process",
    "U1": "upstream failures block, root named",
    "U2": "`allow_failure`, `unmapped`, `quote`, `opaque`",
    "U3": "futures of other runners as arguments",
    "N1": "tasks that submit and wait for tasks",
    "X1": "tags, names, caches, assets, limits per submit",
    "W1": "`wait`, `result`, `state`, callbacks agree",
    "K1": "`cancel()`",
    "E1": "nothing lost when a flow ends early",
    "E2": "what a flow returned can be settled",
    "L1": "`duplicate()` and clusters kept",
    "A1": "async flows and tasks",
}


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
    names = [report.spec for report in reports]
    lines = ["| rule | | " + " | ".join(f"`{name}`" for name in names) + " |", ""]
    lines[1] = "|" + " --- |" * (len(names) + 2)
    lines += ["| " + " | ".join(row) + " |" for row in rows(reports)]
    versions = {name: version for report in reports for name, version in report.versions.items()}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines += [
        "",
        f"`no (2 of 3)`: two of the rule's three cases failed. `-`: not tried, for a reason below. Run on {told}.",
    ]
    reasons: dict[str, list[str]] = {}
    for report in reports:
        for result in report.results:
            if result.verdict == "skip":
                cases = reasons.setdefault(f"`{report.spec}`: {result.detail}", [])
                cases.append(result.case)
    lines += [""] if reasons else []
    lines += [f"- {reason} ({', '.join(cases)})" for reason, cases in reasons.items()]
    return "\n".join(lines)


def placed(text: str, table: str) -> str:
    """Return `text` with `table` between its two markers. Raises ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"it has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
