"""A report in a file, in the format that the suffix of the file stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_anyrunner._base.safe_text import readable
from prefect_anyrunner._base.secrets import hide_in_prose
from prefect_anyrunner._reports.digest import digest_of
from prefect_anyrunner._reports.markdown import page
from prefect_anyrunner._reports.tables import csv_text, junit_text

if TYPE_CHECKING:
    from prefect_anyrunner._reports.report import Report


def markdown_text(report: Report) -> str:
    """Return a report as a page of Markdown."""
    return page(digest_of(report), report.origin, report.notes)


FORMATS: dict[str, Callable[[Report], str]] = {
    "text": lambda report: hide_in_prose(report.summary()) + "\n",
    "markdown": markdown_text,
    "json": lambda report: report.to_json() + "\n",
    "html": lambda report: report.to_html(),
    "csv": csv_text,
    "junit": junit_text,
}
"""The formats of a report, and the functions that write it."""
SUFFIXES = {
    ".txt": "text",
    ".md": "markdown",
    ".json": "json",
    ".html": "html",
    ".csv": "csv",
    ".xml": "junit",
}
"""The format that each suffix of a file stands for."""


def write_report(report: Report, path: Path) -> None:
    """Write a report to a file whose suffix is one of `SUFFIXES`. Raises `OSError`."""
    text = readable(FORMATS[SUFFIXES[path.suffix.lower()]](report))  # names of tasks and runs may hold anything
    path.write_text(text, encoding="utf-8", errors="backslashreplace")
