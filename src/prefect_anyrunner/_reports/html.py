"""A report as one HTML page, which needs no other file and no network.

Summary and failures are plain HTML. `page.js` adds the timeline, the filters and the table of runs from the rows
in the page. The page's security policy allows this one script and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html import escape
from importlib import resources
from typing import TYPE_CHECKING

from prefect_anyrunner._base.safe_text import printable, readable
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._reports.advice import advice
from prefect_anyrunner._reports.digest import Digest, GroupFacts, RunFacts, digest_of
from prefect_anyrunner._reports.html_rows import MAX_ROWS, rows_text
from prefect_anyrunner._reports.origin import Origin

if TYPE_CHECKING:
    from prefect_anyrunner._reports.report import Report

MAX_GROUPS_IN_FILE = 50
"""Number of groups of failures that the page describes."""


def html_text(report: Report) -> str:
    """Return a report as the text of an HTML file."""
    digest = digest_of(report, most=MAX_GROUPS_IN_FILE)
    script = _file("page.js")
    digest_of_script = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest_of_script}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"{report.origin.flow_name or report.origin.flow_run_name}: " if report.origin is not None else ""
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title + digest.headline)}</title>
<style>
{_file("page.css")}</style>
</head>
<body>
<header>
<h1>{escape(digest.headline)}</h1>
{_counts(digest)}
{_about(report.origin)}{"".join(f'<p class="note">{escape(note)}</p>' for note in report.notes)}
</header>
<main>
{_failures(digest)}
{_advice(digest)}
{_runs(len(report))}
</main>
<script type="application/json" id="rows">{rows_text(report)}</script>
<script>{script}</script>
</body>
</html>
"""
    return readable(printable(text))  # names of tasks and runs may hold anything


@cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _counts(digest: Digest) -> str:
    items = "".join(
        f'<li class="{status.value}"><b>{digest.counts[status]:,}</b> {status.value}</li>'
        for status in Status
        if digest.counts[status]
    )
    withdrawn = f"<li>{digest.withdrawn:,} of the cancelled because others had failed</li>" if digest.withdrawn else ""
    return f'<ul class="counts">{items}{withdrawn}</ul>'


def _about(origin: Origin | None) -> str:
    return f"<p>{origin.sentence(link, _code, escape)}</p>" if origin is not None else ""


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def link(text: str, url: str | None) -> str:
    """Return `text` as a link, if it has a URL."""
    return f'<a href="{escape(url)}">{escape(text)}</a>' if url else escape(text)


def _failures(digest: Digest) -> str:
    if not digest.groups:
        return ""
    groups = "\n".join(map(_group, digest.groups))
    more = (
        f"<p>{digest.more_runs:,} more failures in {digest.more_groups:,} other groups stand in the table of runs.</p>"
        if digest.more_groups
        else ""
    )
    return f'<section aria-labelledby="failures"><h2 id="failures">Failures</h2>\n{groups}\n{more}</section>'


def _group(group: GroupFacts) -> str:
    where = f" <code>{escape(group.where)}</code>" if group.where else ""
    text = f": {escape(group.text)}" if group.text else ""
    blocked = f' <span class="aside">blocked {group.blocked:,}</span>' if group.blocked else ""
    parts = [f"<ul>{''.join(f'<li>{_run(run)}</li>' for run in group.runs)}</ul>"]
    if group.count > len(group.runs):
        parts.append(f"<p>All {group.count:,}: {escape(group.labels)}</p>")
    if group.blocked:
        parts.append(f"<p>Blocked by them: {group.blocked:,} ({escape(group.blocked_labels)})</p>")
    if group.traceback:
        parts.append(f'<pre tabindex="0">{escape(group.traceback)}</pre>')
    return (
        f'<details class="{group.status.value}"><summary><b>{group.count:,} x {escape(group.kind)}</b>{text}{where}'
        f"{blocked}</summary>\n{''.join(parts)}</details>"
    )


def _run(run: RunFacts) -> str:
    inputs = f" <code>{escape(run.inputs)}</code>" if run.inputs else ""
    name = f' <span class="aside">{escape(run.name)}</span>' if run.name else ""
    return f"{link(run.label, run.url)}{inputs}{name}{f': {escape(run.text)}' if run.text else ''}"


def _advice(digest: Digest) -> str:
    lines = (
        advice(digest.counts, None) if digest.failed else []
    )  # without the origin, which would advise to make a page like this one
    if not lines:
        return ""
    items = "".join(f"<li>{_with_code(line)}</li>" for line in lines)
    return f'<section aria-labelledby="next"><h2 id="next">What to do next</h2><ul>{items}</ul></section>'


def _with_code(line: str) -> str:
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(line))


def _runs(count: int) -> str:
    shown = (
        f"<p>Only {MAX_ROWS:,} of {count:,} task runs stand here, the failed ones first.</p>"
        if count > MAX_ROWS
        else ""
    )
    return f"""<section aria-labelledby="runs"><h2 id="runs">Task runs</h2>
<noscript><p>The timeline and the table of runs need JavaScript.</p></noscript>
{shown}<form id="filters" hidden>
<label>Status <select id="status"></select></label>
<label>Task <select id="task"></select></label>
<label>Worker <select id="worker"></select></label>
<label>Text <input id="text" type="search" placeholder="name, inputs, error" autocomplete="off"
spellcheck="false"></label>
<label>Order <select id="order"><option value="index">as submitted</option><option value="start">by start</option>
<option value="long">longest first</option></select></label>
<button type="reset">Reset</button>
</form>
<p id="found" role="status"></p>
<figure id="timeline" hidden><canvas id="lanes" tabindex="0" role="application" aria-describedby="under"></canvas>
<figcaption id="under" role="status"></figcaption></figure>
<details id="by-lane" hidden><summary>The timeline as a table</summary>
<div class="scroll" id="lane-table"></div></details>
<p id="turn" hidden><button type="button" id="back">Previous</button> <span id="place" role="status"></span>
<button type="button" id="on">Next</button></p>
<div class="scroll" id="table"></div>
</section>"""
