"""The page of messages and the source agree: it shows only messages that exist, and leaves none out."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.messages import all_texts, matches, raised_or_logged

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
OPEN_IN_TEXT = {
    "is not a whole number": "is not …",
    "is not a number": "is not …",
    "must be at least …": "must be … …",
}
"""Messages of the page that the source puts together from parts, with what stands there."""
NOT_ON_THE_PAGE = {
    # Parts of a text that is on the page.
    ", about … s",
    ", for … seconds in all",
    "it is running but has closed the connection",
    "killed by signal … (…)",
    "larger than an exception may be",
    "the class did not travel",
    "… is no exception class here",
    "… made no exception",
    # Errors of a program that uses names wrongly, or of ours.
    "Exception can always be subclassed",
    "Task run … cannot move from … to ….",
    "module … has no attribute …",
    "this flow run has no task runner",
}


def documented() -> list[str]:
    """Return the messages in the first column of the page's tables."""
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [message for cell in rows for message in re.findall(r"`([^`]+)`", cell)]


def test_each_message_of_the_page_is_in_the_source() -> None:
    texts = all_texts()
    messages = [OPEN_IN_TEXT.get(message, message) for message in documented()]
    assert [message for message in messages if not any(matches(message, text) for text in texts)] == []


def test_each_message_of_the_source_is_on_the_page() -> None:
    messages = documented()
    missing = {text for text in raised_or_logged() if not any(matches(message, text) for message in messages)}
    assert sorted(missing - NOT_ON_THE_PAGE) == []
    assert sorted(NOT_ON_THE_PAGE - missing) == [], "these need not be listed any more"
