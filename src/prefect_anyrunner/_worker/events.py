"""The states that a worker publishes of the run that it executes: all except the last, as its request says.

The flow's process publishes the last state once it has the result: the same one, or another if the result did not
arrive. So the API never shows Completed for a run whose result is lost (rule S1).
"""

from __future__ import annotations

import contextvars
from dataclasses import replace

from prefect.client.schemas.objects import TaskRun

from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.options import LATE_SECONDS, EventOptions, Events
from prefect_anyrunner._publishing.publisher import publisher
from prefect_anyrunner._publishing.source import Source


class EventsOnWorker:
    """The changes of one run on a worker."""

    def __init__(self, mode: Events) -> None:
        self._mode = mode
        self._is_late = False

    def changed(self, new: Change) -> None:
        """Publish a change of the state of the run, unless the run has ended with it."""
        if new.is_end:
            return
        if self._mode in (Events.ALL, Events.AUTO):
            new.kept().emit()
        elif self._mode is Events.FINAL and new.state.is_running():
            source = Source(EventOptions(self._mode, events_confirm=False))
            source.context = contextvars.copy_context()
            self._is_late = True
            publisher().put_open(source, replace(new.kept(), follows=False), None, after=LATE_SECONDS)

    def forget(self, task_run: TaskRun) -> None:
        """Drop changes that have not been published, because the run has ended."""
        if self._is_late:
            publisher().forget_open(task_run.id)
