"""The settings that all runners share: what is published about their runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict

from prefect_anyrunner._publishing.options import EventOptions

EVENT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {"events": "events", "events_timeout": "events_timeout", "events_confirm": "events_confirm"}
)
"""The part of a runner's `settings` that stands for them."""


class EventArguments(TypedDict, total=False):
    """The arguments of every runner that stand for them; see `EventOptions`."""

    events: str
    events_timeout: float
    events_confirm: bool


class EventSettings:
    """Mixed into every runner."""

    events: str = "auto"
    events_timeout: float = 60.0
    events_confirm: bool = True

    def use_events(self, *, events: str = "auto", events_timeout: float = 60.0, events_confirm: bool = True) -> None:
        """Set what is published. Raises ValueError for a value that is none."""
        EventOptions.checked(events, events_timeout, events_confirm)
        self.events, self.events_timeout, self.events_confirm = events, events_timeout, events_confirm

    def event_options(self) -> EventOptions:
        """Return the settings as the publisher takes them."""
        return EventOptions.checked(self.events, self.events_timeout, self.events_confirm)
