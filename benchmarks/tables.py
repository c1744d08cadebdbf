"""Rows as tables: medians, and the spread from the smallest to the largest."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

Row = dict[str, Any]


def tables(rows: list[Row]) -> str:
    """Return every measure as a Markdown table."""
    parts = []
    for title, measure, keys, value, unit in (
        ("Overhead per task", "overhead", ("runner", "size"), lambda row: 1e3 * row["total_s"] / row["size"], "ms"),
        ("CPU per task, without the server", "overhead", ("runner", "size"), _cpu, "ms"),
        ("Submit, per task", "overhead", ("runner", "size"), lambda row: 1e3 * row["submit_s"] / row["size"], "ms"),
        ("Settling finished futures", "settle", ("runner", "size", "how"), lambda row: row["seconds"], "s"),
        ("A shared argument, per task", "shared", ("runner",), lambda row: 1e3 * row["total_s"] / row["size"], "ms"),
        ("Cold start to the first body", "cold", ("runner",), lambda row: row["seconds"], "s"),
    ):
        chosen = [row for row in rows if row["measure"] == measure and (value is not _cpu or "cpu_s" in row)]
        if chosen:
            parts.append(f"### {title} ({unit})\n\n{_table(chosen, keys, value)}")
    if chosen := [row for row in rows if row["measure"] == "server"]:
        parts.append(f"### What a server has of no-ops\n\n{_server(chosen)}")
    for row in rows:
        if row["measure"] == "split":
            ours = row["all_ms"] - row["engine_ms"]
            parts.append(
                f"### On a worker, per task\n\nPrefect's engine {row['engine_ms']:.2f} ms of CPU, everything "
                f"{row['all_ms']:.2f} ms: {ours:.2f} ms ({ours / row['engine_ms']:.0%} of the engine) are ours."
            )
    if chosen := [row for row in rows if row["measure"] == "memory"]:
        parts.append(f"### Memory of map_settled (MB)\n\n{_memory(chosen)}")
    return "\n\n".join(parts)


def _cpu(row: Row) -> float:
    """Return what a busy machine does not change much: time on a core."""
    return float(1e3 * row["cpu_s"] / row["size"])


def _server(rows: list[Row]) -> str:
    lines = [
        "| runner | tasks | variant | Completed in the API when the process had ended | and in the end "
        "| server CPU per task (ms) | process (s) | in the flow, per task (ms) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        size = row["size"]
        lines.append(
            f"| {row['runner']} | {size:,} | {row['variant']} | {row['completed_at_end']:,} | {row['completed']:,} "
            f"| {1e3 * row['server_cpu_s'] / size:.1f} | {row['process_s']:.0f} | {1e3 * row['in_flow_s'] / size:.1f} |"
        )
    return "\n".join(lines)


def _memory(rows: list[Row]) -> str:
    """Return a line for each process that was there all the time: what it held after a tenth, half and all tasks."""
    lines = ["| runner | process | a tenth | half | all | tasks |", "| --- | --- | --- | --- | --- | --- |"]
    for runner in dict.fromkeys(row["runner"] for row in rows):
        own = [row for row in rows if row["runner"] == runner]
        first, half, last = own[0], own[len(own) // 2 - 1], own[-1]
        for process in last["megabytes"]:
            if process in first["megabytes"] and process in half["megabytes"]:
                held = " | ".join(f"{row['megabytes'][process]:.0f}" for row in (first, half, last))
                lines.append(f"| {runner} | {process.partition(' ')[2]} | {held} | {last['done']} |")
    return "\n".join(lines)


def _table(rows: list[Row], keys: tuple[str, ...], value: Any) -> str:
    cells: dict[tuple[Any, ...], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    variants: list[str] = []
    for row in rows:
        cells[tuple(row[key] for key in keys)][row["variant"]].append(value(row))
        if row["variant"] not in variants:
            variants.append(row["variant"])
    lines = [f"| {' | '.join((*keys, *variants, 'stock / ours'))} |", f"|{' --- |' * (len(keys) + len(variants) + 1)}"]
    for key, by_variant in cells.items():
        shown = [_cell(by_variant.get(variant, [])) for variant in variants]
        stock, ours = by_variant.get("stock"), by_variant.get("ours")
        ratio = f"{median(stock) / median(ours):.2f}" if stock and ours else ""
        lines.append(f"| {' | '.join((*map(str, key), *shown, ratio))} |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    if not values:
        return ""
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
