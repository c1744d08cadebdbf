"""What a worker publishes about the run that it executes: every state except the last, as its request says.

The flow's process publishes the last state once it has the result: the same one, or another if the result did not
arrive. So the API never shows Completed for a run whose result is lost (rule S1).
"""

from __future__ import annotations

import contextvars
from typing import Any

from prefect.client.schemas.objects import State, TaskRun

from prefect_anyrunner._prefect.private import ResultRecordMetadata
from prefect_anyrunner._publishing.change import change
from prefect_anyrunner._publishing.options import LATE_SECONDS, EventOptions, Events
from prefect_anyrunner._publishing.publisher import publisher
from prefect_anyrunner._publishing.source import Source


class EventsOnWorker:
    """The changes of one run on a worker."""

    def __init__(self, mode: Events) -> None:
        self._mode = mode
        self._is_late = False

    def changed(
        self,
        task_run: TaskRun,
        before: State[Any] | None,
        state: State[Any],
        metadata: ResultRecordMetadata | None = None,
        *,
        follows: bool = False,
    ) -> None:
        """Publish a change of the state of the run, unless the run has ended with it."""
        new = change(task_run, before, state, metadata, follows=follows)
        if new.is_end:
            return
        if self._mode in (Events.ALL, Events.AUTO):
            new.emit()
        elif self._mode is Events.FINAL and state.is_running():
            source = Source(EventOptions(self._mode, confirm=False))
            source.context = contextvars.copy_context()
            self._is_late = True
            publisher().put_open(source, new, None, after=LATE_SECONDS)

    def forget(self, task_run: TaskRun) -> None:
        """Leave out what has not been published, because the run has ended."""
        if self._is_late:
            publisher().forget_open(task_run.id)
