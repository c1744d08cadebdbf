"""A comparison as a table or as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from prefect_anyrunner._base.status import Status
from prefect_anyrunner.cli.facts import FlowRecord, error_counts, status_counts

DIFFERENCES_AT_MOST = 5
"""Number of differences that are printed for each runner; the rest are only counted."""


def print_table(records: list[FlowRecord], found: list[list[str]]) -> None:
    """Print the flow runs side by side, then the differences and the failure. `found`: differences per record."""
    console = Console(highlight=False)
    table = Table(show_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for record in records:
        table.add_column(Text(record["runner"]), justify="right", overflow="fold")
    table.add_row("task runs", *(str(len(record["runs"])) for record in records))
    statuses = [status_counts(record["runs"]) for record in records]
    for status in Status:
        if any(counts[status.value] for counts in statuses):
            table.add_row(f"  {status.value}", *(str(counts[status.value]) for counts in statuses))
    errors = [error_counts(record["runs"]) for record in records]
    for kind in sorted({kind for counts in errors for kind in counts}):
        table.add_row(f"  {kind}", *(str(counts[kind]) for counts in errors))
    table.add_row("flow", *("no end" if record["crashed"] else _end(record) for record in records))
    table.add_row("seconds", *(f"{record['seconds']:.1f}" for record in records))
    first, *others = ("different" if each else "same" for each in found)
    table.add_row(Text(f"as on {records[0]['runner']}"), first if found[0] else "-", *others)
    console.print(table)
    for each in found:
        for difference in each[:DIFFERENCES_AT_MOST]:
            console.print(f"different: {difference}", markup=False, soft_wrap=True)
        if len(each) > DIFFERENCES_AT_MOST:
            console.print(f"... and {len(each) - DIFFERENCES_AT_MOST} more")
    if failure := next((record["failure"] for record in records if record["failure"]), ""):
        console.print(f"\n{failure}", markup=False, soft_wrap=True)


def _end(record: FlowRecord) -> str:
    return record["error"].rpartition(".")[2] or "completed"


def comparison(flow_spec: str, records: list[FlowRecord], found: list[list[str]]) -> dict[str, Any]:
    """Return the comparison as plain data for JSON."""
    return {
        "flow": flow_spec,
        "same": not any(found),
        "runners": [
            {
                "runner": record["runner"],
                "same": not each,
                "differences": each,
                "task_runs": len(record["runs"]),
                "statuses": dict(status_counts(record["runs"])),
                "exceptions": dict(error_counts(record["runs"])),
                "flow": "crashed" if record["crashed"] else _end(record),
                "seconds": round(record["seconds"], 3),
            }
            for record, each in zip(records, found, strict=True)
        ],
        "failure": next((record["failure"] for record in records if record["failure"]), None),
    }
