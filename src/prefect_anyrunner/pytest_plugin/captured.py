"""Captured output of a test, without Prefect's own log of failed task runs, because the summary says the same."""

from __future__ import annotations

import re

_FAILURE = re.compile(
    r"^(?:[\d:.]+ \| [A-Z]+ +\| (?:Task|Flow) run '[^']*' - "  # on the console
    r"|[A-Z]+ +prefect\.(?:task|flow)_runs:[\w.]+:\d+ )"  # in pytest's section of log records
    r"(?:Task run failed with exception: |Encountered exception during execution: |Crash detected! "
    r"|Finished in state (?:Failed|Crashed|Cancelled|NotReady)\()"
)
_TRACEBACK = "Traceback (most recent call last):"
_GROUP_TRACEBACK = "  + Exception Group Traceback (most recent call last):"
_LINKS = ("The above exception was the direct cause", "During handling of the above exception")


def without_failures(text: str) -> tuple[str, int]:
    """Return `text` without Prefect's log records of failures and their tracebacks, and the number of lines left out.

    What tasks and flows log themselves stays, and so does everything that is printed.
    """
    lines = text.splitlines(keepends=True)
    kept: list[str] = []
    at = 0
    while at < len(lines):
        if _FAILURE.match(lines[at]):
            at = _after_traceback(lines, at + 1)
        else:
            kept.append(lines[at])
            at += 1
    return "".join(kept), len(lines) - len(kept)


def _after_traceback(lines: list[str], start: int) -> int:
    """Return the index behind the traceback that begins at `start`, with its causes; `start` if none begins there."""
    first = lines[start].rstrip("\n") if start < len(lines) else ""
    if first not in (_TRACEBACK, _GROUP_TRACEBACK):
        return start
    at = start + 1
    while at < len(lines) and lines[at].startswith(" "):
        at += 1
    if first == _TRACEBACK:
        at = min(at + 1, len(lines))  # the exception itself
    if at + 2 < len(lines) and not lines[at].strip() and lines[at + 1].startswith(_LINKS):
        after = _after_traceback(lines, at + 3)
        at = after if after > at + 3 else at
    return at
