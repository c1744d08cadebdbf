"""The number of completed runs, as a progress artifact: with `events=failures`, the API has no other trace of them."""

from __future__ import annotations

import threading
import time
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext
from prefect.logging import get_logger

logger = get_logger("anyrunner")
_SECONDS = 10.0
"""Seconds between two updates of the artifact."""


class CompletedCount:
    """The runs of one started runner that have completed, and the artifact that shows how many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._publishing = threading.Lock()  # so that an older count does not come last
        self._expected = 0
        self._completed = 0
        self._artifact: UUID | None = None
        self._published_at = 0.0

    def expect_one(self) -> None:
        """Count a run that was submitted."""
        with self._lock:
            self._expected += 1

    def add(self) -> bool:
        """Count a run that has completed; return whether the artifact is to be updated."""
        with self._lock:
            self._completed += 1
            now = time.monotonic()
            due = now - self._published_at >= _SECONDS
            if due:
                self._published_at = now
            return due

    def publish(self) -> None:
        """Create or update the artifact. A failure is logged and has no other effect."""
        with self._publishing:
            self._publish()

    def _publish(self) -> None:
        with self._lock:
            completed, expected = self._completed, self._expected
        if not expected or FlowRunContext.get() is None:  # an artifact belongs to a flow run
            return
        values: dict[str, Any] = {
            "progress": 100.0 * completed / expected,
            "description": f"{completed:,} of {expected:,} task runs completed",
            "_sync": True,
        }
        try:
            if self._artifact is None:
                self._artifact = cast(UUID, create_progress_artifact(**values))
            else:
                update_progress_artifact(self._artifact, **values)
        except Exception as exc:  # the runs themselves are not affected
            logger.warning("Could not update the count of completed task runs in the API: %s", exc)
