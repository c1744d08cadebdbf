"""Options for what a runner publishes in the Prefect API, and for how long the end of a flow run waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Events(StrEnum):
    """The states of a run that are published."""

    AUTO = "auto"
    ALL = "all"
    FINAL = "final"
    FAILURES = "failures"


LATE_SECONDS = 2.0
"""Seconds after which `Events.FINAL` publishes that a run is running."""


@dataclass(frozen=True, slots=True)
class EventOptions:
    """The options of a runner for what it publishes (rule S2), under the names of its arguments.

    `events_timeout`: seconds without progress after which the end of the flow run stops waiting; 0 does not wait.
    `events_confirm`: whether the API is asked for what it has recorded. Without it, nothing is paced or sent again.
    `events_journal`: whether a file keeps what this process knows of each run, for `anyrunner audit`.
    Raises ValueError for an invalid value.
    """

    events: str = Events.AUTO
    events_timeout: float = 60.0
    events_confirm: bool = True
    events_journal: bool = False

    def __post_init__(self) -> None:
        if self.events not in [each.value for each in Events]:
            known = ", ".join(repr(each.value) for each in Events)
            raise ValueError(f"events={self.events!r} is not one of {known}.")
        if self.events_timeout < 0:
            raise ValueError(
                f"events_timeout={self.events_timeout!r} is negative; it is a number of seconds, and 0 does not wait."
            )

    @property
    def mode(self) -> Events:
        """The states that are published."""
        return Events(self.events)
