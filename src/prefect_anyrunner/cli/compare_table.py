"""A comparison as a table or as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prefect_anyrunner._base.status import Status
from prefect_anyrunner.cli.facts import FlowFacts, error_counts, status_counts

DIFFERENCES_AT_MOST = 5
"""How many differences are printed for each runner before the rest are counted."""


def _print(told: list[FlowFacts], found: list[list[str]]) -> None:
    console = Console(highlight=False)
    table = Table(show_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for facts in told:
        table.add_column(Text(facts["runner"]), justify="right", overflow="fold")
    table.add_row("task runs", *(str(len(facts["runs"])) for facts in told))
    statuses = [status_counts(facts["runs"]) for facts in told]
    for status in Status:
        if any(counts[status.value] for counts in statuses):
            table.add_row(f"  {status.value}", *(str(counts[status.value]) for counts in statuses))
    errors = [error_counts(facts["runs"]) for facts in told]
    for kind in sorted({kind for counts in errors for kind in counts}):
        table.add_row(f"  {kind}", *(str(counts[kind]) for counts in errors))
    table.add_row("flow", *("no end" if facts["crashed"] else _end(facts) for facts in told))
    table.add_row("seconds", *(f"{facts['seconds']:.1f}" for facts in told))
    same = ("different" if each else "same" for each in found)
    table.add_row(
        f"as on {told[0]['runner']}",
        *("-" if n == 0 and not f else s for n, (f, s) in enumerate(zip(found, same, strict=True))),
    )
    console.print(table)
    for each in found:
        for difference in each[:DIFFERENCES_AT_MOST]:
            console.print(f"different: {difference}", markup=False, soft_wrap=True)
        if len(each) > DIFFERENCES_AT_MOST:
            console.print(f"... and {len(each) - DIFFERENCES_AT_MOST} more")
    if failure := next((facts["failure"] for facts in told if facts["failure"]), ""):
        console.print(f"\n{failure}", markup=False, soft_wrap=True)


def _end(facts: FlowFacts) -> str:
    return facts["error"].rpartition(".")[2] or "completed"


def _as_json(flow_spec: str, told: list[FlowFacts], found: list[list[str]]) -> dict[str, Any]:
    return {
        "flow": flow_spec,
        "same": not any(found),
        "runners": [
            {
                "runner": facts["runner"],
                "same": not each,
                "differences": each,
                "task_runs": len(facts["runs"]),
                "statuses": dict(status_counts(facts["runs"])),
                "exceptions": dict(error_counts(facts["runs"])),
                "flow": "crashed" if facts["crashed"] else _end(facts),
                "seconds": round(facts["seconds"], 3),
            }
            for facts, each in zip(told, found, strict=True)
        ],
        "failure": next((facts["failure"] for facts in told if facts["failure"]), None),
    }
