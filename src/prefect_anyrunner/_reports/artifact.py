"""The failures of a flow run as one artifact of it in the Prefect API, a page of Markdown.

The page is sent by a thread of its own, so that a slow API holds up nothing. The end of the process waits for it, for
`LAST_SECONDS` at most.
"""

from __future__ import annotations

import atexit
import contextvars
import os
import re
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.logging import get_logger

from prefect_anyrunner._prefect.api import own_client, reachable
from prefect_anyrunner._reports.digest import digest_of
from prefect_anyrunner._reports.markdown import MAX_PAGE, page
from prefect_anyrunner._reports.origin import Origin

if TYPE_CHECKING:
    from prefect_anyrunner._reports.report import Report

logger = get_logger("anyrunner")

VARIABLE = "ANYRUNNER_REPORT"
"""The environment variable of the flow's process that leaves out all artifacts if it is `off`."""
LAST_SECONDS = 3.0
"""Seconds that the end of the process waits for pages that are being sent."""
MAX_WAITS = 10
"""Number of a flow run's last waits that its page describes."""
_MAX_SECTIONS = MAX_PAGE - 200
"""Characters of all sections of a page; the rest is for the text between and below them."""
_MAX_FLOW_RUNS = 20
"""Number of flow runs whose pages this process can still add to."""


def is_off() -> bool:
    """Return whether the user wants no artifacts."""
    return os.environ.get(VARIABLE, "").strip().lower() == "off"


def key_of(origin: Origin) -> str:
    """Return the key of the artifact, `failures-of-nightly`: Prefect shows the artifacts of a key as one history."""
    name = re.sub("[^a-z0-9]+", "-", origin.flow_name.lower()).strip("-")
    return f"failures-of-{name[:80]}" if name else "failures"


class _Page:
    """The artifact of one flow run: a section for each wait, the last wait first."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._lock = threading.Lock()
        self._attempt = origin.attempt
        self._sections: list[str] = []
        self._left_out = 0
        self._artifact_id: UUID | None = None
        self._unsent = False
        self._thread: threading.Thread | None = None

    def add(self, section: str, attempt: int) -> None:
        """Add the section of one wait, unless it is there already, and have the page sent."""
        with self._lock:
            if attempt != self._attempt:  # the flow run was tried again, which starts a new page
                self._attempt, self._sections, self._left_out = attempt, [], 0
            if section in self._sections:
                return
            self._sections.insert(0, section)
            self._left_out += len(self._sections[MAX_WAITS:])
            del self._sections[MAX_WAITS:]
            self._unsent = True
            if self._thread is None:
                context = contextvars.copy_context()  # it holds Prefect's settings
                self._thread = threading.Thread(
                    target=context.run, args=(self._send,), name="anyrunner-report", daemon=True
                )
                self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait until the page is sent."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, seconds))

    def _text(self) -> str:
        shown: list[str] = []
        for section in self._sections:
            if shown and sum(map(len, shown)) + len(section) > _MAX_SECTIONS:
                break
            shown.append(section)
        text = "\n---\n\n".join(shown)
        more = self._left_out + len(self._sections) - len(shown)
        return f"{text}\n---\n\nEarlier waits that failed, too: {more:,}\n" if more else text

    def _send(self) -> None:
        while True:
            with self._lock:
                if not self._unsent:
                    self._thread = None
                    return
                self._unsent = False
                text = self._text()
            try:
                self._put(text)
            except Exception as problem:  # the flow run itself is not affected
                logger.warning("The report of the failures could not be sent to the Prefect API: %s", problem)

    def _put(self, text: str) -> None:
        key, flow_run_id = key_of(self._origin), self._origin.flow_run_id
        with own_client() as client:
            if self._artifact_id is None:  # another process may have tried this flow run before
                mine = ArtifactFilter(
                    key=ArtifactFilterKey(any_=[key]), flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id])
                )
                found = client.read_artifacts(artifact_filter=mine, limit=1)
                self._artifact_id = found[0].id if found else None
            if self._artifact_id is not None:
                client.update_artifact(self._artifact_id, ArtifactUpdate(data=text))
                return
            made = ArtifactCreate(
                key=key, type="markdown", description="Task runs that failed", data=text, flow_run_id=flow_run_id
            )
            self._artifact_id = client.create_artifact(made).id


_pages: OrderedDict[UUID, _Page] = OrderedDict()
_lock = threading.Lock()


def publish_failures(report: Report) -> None:
    """Put the failures of a wait on the page of its flow run in the Prefect UI, if a flow run has waited.

    Returns at once, and never raises.
    """
    if report.origin is None or is_off():
        return
    try:
        section = page(digest_of(report), report.origin, report.notes, limit=_MAX_SECTIONS)
        _publish(section, report.origin)
    except Exception as problem:  # texts come from users' objects, and the failure itself matters more
        logger.warning("The failures could not be described for the Prefect API: %s", problem)


def _publish(section: str, origin: Origin) -> None:
    if not reachable():
        return
    with _lock:
        if not _pages:
            atexit.register(wait_until_sent)  # here, so that it is called before Prefect's own functions
        own = _pages.setdefault(origin.flow_run_id, _Page(origin))
        _pages.move_to_end(origin.flow_run_id)
        while len(_pages) > _MAX_FLOW_RUNS:
            _pages.popitem(last=False)
    own.add(section, origin.attempt)


def wait_until_sent(seconds: float = LAST_SECONDS) -> None:
    """Wait until the pages of this process are sent, for `seconds` at most."""
    until = time.monotonic() + seconds
    for each in list(_pages.values()):
        each.wait(until - time.monotonic())
