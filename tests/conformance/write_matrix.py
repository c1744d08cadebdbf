"""Write the matrix of all runners: `python -m tests.conformance.write_matrix [--rule ID ...] [SPEC ...]`.

It runs the table on each runner, or only the given rules and runners, keeps the results of other cases in
`reports.json` if they are of the same versions, and writes the matrix between its markers in `README.md` beside it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prefect_anyrunner.cli import conform
from prefect_anyrunner.conformance import CASES, ConformanceReport
from prefect_anyrunner.conformance.matrix import rows

RUNNERS = tuple(f"{prefix}{name}" for name in ("thread", "process", "dask", "ray") for prefix in ("stock+", ""))
REPORTS = Path(__file__).parent / "reports.json"
PAGE = Path(__file__).parent / "README.md"
BEGIN = "<!-- matrix: begin -->"
END = "<!-- matrix: end -->"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the table and write the reports and the matrix; a broken rule is no error here."""
    parser = argparse.ArgumentParser(prog="write_matrix", description="Run the table of rules and write the matrix.")
    parser.add_argument("runners", metavar="SPEC", nargs="*", default=RUNNERS, help="only these runners")
    parser.add_argument("--rule", metavar="ID", action="append", default=[], help="only this rule or case")
    parser.add_argument("--seconds", type=float, default=150.0, help="seconds until a case counts as hung")
    arguments = parser.parse_args(argv)
    for spec in arguments.runners:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            conform.run([spec], rules=arguments.rule, seconds=arguments.seconds, json_file=file.name, compare_file=None)
            new = conform.read_reports(file.name)
        stored = conform.read_reports(str(REPORTS))
        stored |= {name: merged(stored[name], each) if name in stored else each for name, each in new.items()}
        # Each runner takes minutes, so its results are written at once.
        conform.write_reports(str(REPORTS), list(stored.values()))
    PAGE.write_text(with_matrix(PAGE.read_text(), markdown(list(conform.read_reports(str(REPORTS)).values()))))


def merged(before: ConformanceReport, after: ConformanceReport) -> ConformanceReport:
    """Return `after`, with the results of `before` for cases that it lacks if both are of the same versions."""
    if dict(before.versions) != dict(after.versions):
        return after
    results = {result.case: result for result in (*before.results, *after.results)}
    order = {case.id: number for number, case in enumerate(CASES)}
    known = sorted((result for result in results.values() if result.case in order), key=lambda each: order[each.case])
    return replace(after, results=tuple(known))


def markdown(reports: Sequence[ConformanceReport]) -> str:
    """Return the matrix as a markdown table, with a legend and the reasons for skipped cases."""
    names = [report.spec.removesuffix("://") for report in reports]
    lines = ["| rule | | " + " | ".join(f"`{name}`" for name in names) + " |", ""]
    lines[1] = "|" + " --- |" * (len(names) + 2)
    lines += ["| " + " | ".join(row) + " |" for row in rows(reports)]
    versions = {name: version for report in reports for name, version in report.versions.items()}
    lines += [
        "",
        "`no (2 of 3)`: two of the rule's three cases failed. `-`: the runner declares that it cannot do this, with a "
        f"reason below. Versions: {', '.join(f'{name} {version}' for name, version in versions.items())}.",
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


def with_matrix(text: str, table: str) -> str:
    """Return `text` with `table` between its two markers. Raises ValueError if it has no markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{BEGIN} and {END} are missing")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


if __name__ == "__main__":
    main()
