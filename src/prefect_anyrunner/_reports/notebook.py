"""A report as a cell of a notebook shows it: a small piece of HTML without scripts and style sheets."""

from __future__ import annotations

from html import escape

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._reports.digest import Digest, GroupFacts, RunFacts
from prefect_anyrunner._reports.html import link

MAX_IN_NOTEBOOK = 5
"""Number of groups of failures that a cell shows."""
_RUNS = 3
"""Number of runs of each of them."""


def fragment(digest: Digest, headline: str = "") -> str:
    """Return the counts, and the groups of failures, which unfold. `headline`: another text for the first line."""
    counts = ", ".join(f"{digest.counts[status]:,} {status.value}" for status in Status if digest.counts[status])
    parts = [f"<div><strong>{escape(headline or digest.headline)}</strong> {escape(f'({counts})' if counts else '')}"]
    parts += [_group(group) for group in digest.groups]
    if digest.more_groups:
        parts.append(f"<p>… and {digest.more_runs:,} more in {digest.more_groups:,} other groups</p>")
    return "\n".join([*parts, "</div>"])


def _group(group: GroupFacts) -> str:
    where = f" <code>{escape(group.where)}</code>" if group.where else ""
    text = f": {escape(group.text)}" if group.text else ""
    runs = "".join(f"<li>{_run(run)}</li>" for run in group.runs[:_RUNS])
    blocked = f"<p>Blocked by them: {group.blocked:,} ({escape(group.blocked_labels)})</p>" if group.blocked else ""
    traceback = f'<pre style="overflow-x:auto">{escape(group.traceback)}</pre>' if group.traceback else ""
    return (
        f"<details><summary>{group.count:,} x <strong>{escape(group.kind)}</strong>{text}{where}</summary>"
        f"<ul>{runs}</ul>{blocked}{traceback}</details>"
    )


def _run(run: RunFacts) -> str:
    inputs = f" <code>{escape(run.inputs)}</code>" if run.inputs else ""
    return f"{link(run.label, run.url)}{inputs}{f': {escape(run.text)}' if run.text else ''}"
