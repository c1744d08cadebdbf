"""A report as Markdown: the page that a flow run gets in the Prefect UI."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefect_anyrunner._base.safe_text import clipped
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._reports.advice import advice
from prefect_anyrunner._reports.digest import Digest, GroupFacts, RunFacts
from prefect_anyrunner._reports.origin import Origin

MAX_PAGE = 60_000
"""Characters of one page. Tracebacks of the smallest groups are left out if it would be longer."""
_IN_TABLE = 3
"""Number of runs of each group that the table of groups shows."""
_TEXT_IN_TABLE = 60
"""Characters of a group's text in that table."""
_WORD_IN_TABLE = 24
"""Characters of one word of it, because the newer UI of Prefect draws a longer one over other text."""

_SPECIAL = re.compile(r"([\\`*{}\[\]<>#|~@!$]|(?<![^\W_])_|_(?![^\W_]))")  # in older UIs, links show \_ as it is
_ADDRESS = re.compile(r"(https?|ftp)(:)(?=//)|(www)(\.)", re.I)


def plain(text: str) -> str:
    """Return a user's text as Markdown that shows exactly this text, on one line, also in a table."""
    text = " ".join(text.replace("&", "&amp;").split())
    text = _SPECIAL.sub(r"\\\1", text)
    return _ADDRESS.sub(lambda found: f"{found[1] or found[3]}\\{found[2] or found[4]}", text)


def code(text: str) -> str:
    """Return a text as code within a line, also in a table; empty for an empty text."""
    text = " ".join(text.split())
    if not text:
        return ""
    fence = "`" * (_longest(text) + 1)
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def block(text: str) -> str:
    """Return a text as a block of code."""
    fence = "`" * max(3, _longest(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _longest(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def link(text: str, url: str | None) -> str:
    """Return `text` as a link, if it has a URL."""
    return f"[{plain(text)}]({url})" if url else plain(text)


def page(digest: Digest, origin: Origin | None, notes: Sequence[str] = (), *, limit: int = MAX_PAGE) -> str:
    """Return the report as a page of Markdown of at most `limit` characters. `notes`: sentences about the report."""
    tracebacks = len(digest.groups)
    while True:
        text = _page(digest, origin, notes, tracebacks)
        if len(text) <= limit or not tracebacks:
            return text if len(text) <= limit else f"{text[: limit - 2]}…\n"
        tracebacks -= 1


def _page(digest: Digest, origin: Origin | None, notes: Sequence[str], tracebacks: int) -> str:
    parts = [f"# {digest.headline}", _counts(digest)]
    if origin is not None:
        parts.append(origin.sentence(link, code, plain))
    parts += [plain(note) for note in notes]
    if digest.groups:
        parts.append(_table(digest))
    parts += [
        _section(number, group, with_traceback=number <= tracebacks) for number, group in enumerate(digest.groups, 1)
    ]
    if digest.failed and (lines := advice(digest.counts, origin)):
        parts += ["## What to do next", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def _counts(digest: Digest) -> str:
    counts = [f"**{digest.counts[status]:,}** {status.value}" for status in Status if digest.counts[status]]
    if digest.withdrawn:
        counts.append(f"{digest.withdrawn:,} of the cancelled because others had failed")
    return " · ".join(counts) or "There was nothing to wait for."


def _table(digest: Digest) -> str:
    # The text comes before the links, because Prefect's older UI breaks no lines and shows the first columns only.
    rows = ["| | runs | blocked | what | where | first runs |", "| --- | ---: | ---: | --- | --- | --- |"]
    for number, group in enumerate(digest.groups, 1):
        runs = ", ".join(link(run.label, run.url) for run in group.runs[:_IN_TABLE])
        more = ", …" if group.count > _IN_TABLE else ""
        blocked = f"{group.blocked:,}" if group.blocked else ""
        where = code(group.where)
        rows.append(f"| {number} | {group.count:,} | {blocked} | {_what(group)} | {where} | {runs}{more} |")
    if digest.more_groups:
        rows.append(f"| | {digest.more_runs:,} | | in {digest.more_groups:,} other groups | | |")
    return "\n".join(rows)


def _what(group: GroupFacts) -> str:
    text = clipped(" ".join(clipped(word, _WORD_IN_TABLE) for word in group.text.split()), _TEXT_IN_TABLE)
    return f"**{plain(group.kind)}**{f': {plain(text)}' if text else ''}"


def _section(number: int, group: GroupFacts, *, with_traceback: bool) -> str:
    parts = [f"## {number}. {group.count:,} x {plain(group.kind)}{f' at {plain(group.where)}' if group.where else ''}"]
    parts.append("\n".join(_run(run) for run in group.runs))
    if group.text:
        parts.insert(1, plain(group.text))
    if group.count > len(group.runs):
        parts.append(f"All {group.count:,}: {plain(group.labels)}")
    if group.blocked:
        parts.append(f"Blocked by them: {group.blocked:,} ({plain(group.blocked_labels)})")
    if with_traceback and group.traceback:
        parts.append(block(group.traceback))
    return "\n\n".join(parts)


def _run(run: RunFacts) -> str:
    text = f"- {link(run.label, run.url)}"
    if run.inputs:
        text += f" {code(run.inputs)}"
    if run.name:
        text += f" ({plain(run.name)})"
    return f"{text}: {plain(run.text)}" if run.text else text
