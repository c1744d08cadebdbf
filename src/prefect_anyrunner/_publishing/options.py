"""What a runner publishes about its runs in the Prefect API, and how long the end of a flow run waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Events(StrEnum):
    """Which states of a run are published."""

    AUTO = "auto"
    ALL = "all"
    FINAL = "final"
    FAILURES = "failures"


LATE_SECONDS = 2.0
"""Seconds after which `Events.FINAL` publishes that a run is running."""


@dataclass(frozen=True, slots=True)
class EventOptions:
    """The options `events`, `events_timeout` and `events_confirm` of a runner (rule S2).

    `timeout`: seconds without progress after which the end of the flow run stops waiting; 0 does not wait.
    `confirm`: whether the API is asked for what it has recorded. Without it, nothing is paced or sent again.
    """

    events: Events = Events.AUTO
    timeout: float = 60.0
    confirm: bool = True

    @classmethod
    def checked(cls, events: str, timeout: float, confirm: bool) -> EventOptions:
        """Return the options, or raise ValueError for a value that is none."""
        if events not in [each.value for each in Events]:
            raise ValueError(f"events={events!r} is not one of {', '.join(repr(each.value) for each in Events)}.")
        if timeout < 0:
            raise ValueError(f"events_timeout={timeout!r} is negative; it is a number of seconds, and 0 does not wait.")
        return cls(Events(events), timeout, confirm)
