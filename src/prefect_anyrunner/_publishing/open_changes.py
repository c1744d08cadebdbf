"""Changes that do not end their run, and that are not needed once the run has ended."""

from __future__ import annotations

import contextvars
import time
from collections import deque
from dataclasses import dataclass
from uuid import UUID

from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._publishing.source import Source


@dataclass(slots=True, eq=False)
class OpenChange:
    """One such change: its number in the order of all changes, when it is due, and whether its run has ended."""

    number: int
    source: Source
    change: Change
    context: contextvars.Context | None
    due: float = 0.0
    ended: bool = False


class OpenChanges:
    """Such changes that wait to be sent: now, or some seconds later if their run has not ended by then."""

    def __init__(self) -> None:
        self._now: deque[OpenChange] = deque()
        self._late: deque[OpenChange] = deque()  # in the order in which they are due
        self._of_run: dict[UUID, list[OpenChange]] = {}

    def add(self, entry: OpenChange) -> None:
        """Add a change at the end."""
        (self._late if entry.due else self._now).append(entry)
        self._of_run.setdefault(entry.change.run_id, []).append(entry)

    def end(self, run_id: UUID) -> bool:
        """Mark the changes of a run that has ended: those due later are left out, the others may be.

        Returns whether there are any.
        """
        entries = self._of_run.pop(run_id, [])
        for entry in entries:
            entry.ended = True
        return bool(entries)

    def next_due(self) -> float | None:
        """Return when the next later change is due, on the clock of `time.monotonic`."""
        return self._late[0].due if self._late else None

    def first(self, *, leave_out_ended: bool) -> OpenChange | None:
        """Return the change to send first; `leave_out_ended` leaves out those of runs that have ended."""
        now = time.monotonic()
        while self._late and (self._late[0].ended or self._late[0].due <= now):
            entry = self._late.popleft()
            if not entry.ended:
                self._now.append(entry)
        while leave_out_ended and self._now and self._now[0].ended:
            self._now.popleft()
        return self._now[0] if self._now else None

    def popleft(self) -> OpenChange:
        """Remove and return the change that `first` returned."""
        entry = self._now.popleft()
        if entries := self._of_run.get(entry.change.run_id):
            entries.remove(entry)
            if not entries:
                del self._of_run[entry.change.run_id]
        return entry

    def __bool__(self) -> bool:
        return bool(self._now)
