"""Publishes the changes of one started runner's runs, as its option `events` says (rules S1, S2)."""

from __future__ import annotations

import contextvars
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State, TaskRun
from prefect.events.worker import should_emit_events

from prefect_anyrunner._prefect.private import forget_unsent_events, wait_until_events_are_sent
from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.completed_count import CompletedCount
from prefect_anyrunner._publishing.journal import write_journal
from prefect_anyrunner._publishing.options import LATE_SECONDS, EventOptions, Events
from prefect_anyrunner._publishing.publisher import Publisher, Taken, publisher
from prefect_anyrunner._publishing.source import Source
from prefect_anyrunner._publishing.unsent_file import write_unsent

_LINE_AFTER = 3
"""Seconds of waiting after which one log line explains the wait."""


class RunnerEvents:
    """The changes of the runs of one started runner. All methods may be called from any thread."""

    def __init__(self, options: EventOptions, logger: logging.Logger) -> None:
        self.source = Source(options)
        self._logger = logger
        self._publisher: Publisher | None = None
        self._completed = CompletedCount()
        self._keeps_journal = options.events_journal
        self._left_out: set[UUID] = set()
        self._waited = 0

    @property
    def _mode(self) -> Events:
        return self.source.options.mode

    # --- changes -------------------------------------------------------------------------------------------------

    def submitted(self, task_run: TaskRun) -> None:
        """Publish that a run was submitted: it then appears in the API, as Pending."""
        assert task_run.state is not None
        self._start()
        self._note(task_run)
        if self._mode in (Events.ALL, Events.AUTO):
            self._put_open(Change(task_run, None, task_run.state).kept(), contextvars.copy_context())
        elif self._mode is Events.FAILURES:
            self._completed.expect_one()

    def changed(self, new: Change) -> None:
        """Publish a change of the state of a run."""
        if new.run_id in self._left_out:
            return
        if new.follows and self._mode in (Events.FINAL, Events.FAILURES):
            new = replace(new, follows=False)  # because the change before may not be published
        self._start()
        if new.is_end:
            counted = self._mode is Events.FAILURES and new.state.is_completed()
            self._note(new.task_run, new.state, published=not counted)
            if counted:
                if self._completed.add():
                    self._publishes().call(self._update_count)
            elif new.task_run.flow_run_id is None:
                self.source.emit(new.kept(), None)
            else:
                self._publishes().put(self.source, new.kept())
        elif self._mode in (Events.ALL, Events.AUTO):
            self._put_open(new.kept(), None)
        elif self._mode is Events.FINAL and new.state.is_running():
            self._publishes().put_open(self.source, new.kept(), None, after=LATE_SECONDS)

    def _put_open(self, new: Change, context: contextvars.Context | None) -> None:
        if new.task_run.flow_run_id is None:
            self.source.emit(new, context)
        elif self._mode is Events.ALL:
            self._publishes().put(self.source, new, context)
        else:
            self._publishes().put_open(self.source, new, context)

    def leave_out(self, run_id: UUID) -> None:
        """Publish nothing more about a run that has ended although its body may go on."""
        self._left_out.add(run_id)

    def forget(self, task_run: TaskRun) -> None:
        """Leave out the unpublished changes of a run whose end another process publishes."""
        if self._publisher is not None:
            self._publisher.forget_open(task_run.id)

    def for_workers(self) -> Events:
        """Return which states workers are to publish of a run that is sent to them now."""
        if self._mode is Events.AUTO and self._publisher is not None and self._publisher.is_behind():
            return Events.FINAL
        return self._mode

    def _note(self, task_run: TaskRun, end: State[Any] | None = None, *, published: bool = True) -> None:
        if not self._keeps_journal:
            return
        try:
            write_journal(task_run, end, published=published)
        except OSError as exc:  # a missing journal is not worth failing the flow run
            self._keeps_journal = False
            self._logger.warning("The journal of task runs ends here, because it cannot be written: %s", exc)

    # --- another process takes over ------------------------------------------------------------------------------

    def take(self) -> list[Taken]:
        """Return the ends that the API has not been seen to record, for `take_over` in the flow's process."""
        return self._publisher.take(self.source) if self._publisher is not None else []

    def take_over(self, taken: Sequence[Taken]) -> None:
        """Publish ends that a worker has not seen recorded."""
        self._start()
        self._publishes().put_taken(self.source, taken)

    # --- the end -------------------------------------------------------------------------------------------------

    def finish(self, *, left: Callable[[], float] | None) -> None:
        """Wait until the API has recorded how each run ended, as the option `events_timeout` allows (rule S2).

        `left`: returns the seconds that remain, if a signal ends the flow run. Ends that the API has not recorded by
        then are counted in one warning, and kept in a file.
        """
        if self._publisher is None:
            return
        if self._mode is Events.FAILURES:
            self._update_count()
        options = self.source.options
        unrecorded = self._publisher.waiting(self.source)
        if options.events_timeout > 0:
            self._waited = 0
            try:
                unrecorded = self._publisher.wait(self.source, options.events_timeout, left=left, on_wait=self._on_wait)
            except BaseException:
                if left is not None:  # else it is a signal, and this is called once more
                    self._keep_in_file(self._publisher.take(self.source))
                raise
        if unrecorded:
            self._keep_in_file(self._publisher.take(self.source))
        elif left is not None and not options.events_confirm and not wait_until_events_are_sent(left()):
            self._logger.error("Could not report to the API in time how all runs ended.")

    def _on_wait(self) -> None:
        self._waited += 1
        if self._waited == _LINE_AFTER:
            left = self.source.unrecorded
            pace = self._publishes().pace.per_second()
            self._logger.info(
                "Waiting for the API to record %s of %s task runs%s.",
                f"{left:,}",
                f"{self.source.ends:,}",
                f", about {left / pace:.0f} s" if pace else "",
            )

    def _keep_in_file(self, taken: list[Taken]) -> None:
        if not taken:
            return
        changes = [Change.unpack(each.packed) for each in taken]
        try:
            path = write_unsent(changes)
        except OSError as exc:  # the flow run has its results all the same
            self._logger.error(
                "The API has not recorded how %s of %s task runs ended, and no file could be written to keep it: %s",
                f"{len(changes):,}",
                f"{self.source.ends:,}",
                exc,
            )
            return
        forget_unsent_events({each.state.id for each in changes})
        self._logger.warning(
            "The API has not recorded how %s of %s task runs ended. This is kept in a file; once the API answers, "
            "send it with: anyrunner events send %s",
            f"{len(changes):,}",
            f"{self.source.ends:,}",
            path,
        )

    # --- how it publishes ----------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._publisher is None:
            # Every event is emitted in a copy of this context, which has the flow run and its settings.
            self.source.context = contextvars.copy_context()
            if not should_emit_events():
                self.source.options = replace(self.source.options, events_confirm=False)
            self._publisher = publisher()

    def _publishes(self) -> Publisher:
        assert self._publisher is not None, "nothing was submitted"
        return self._publisher

    def _update_count(self) -> None:
        assert self.source.context is not None
        self.source.context.copy().run(self._completed.publish)
