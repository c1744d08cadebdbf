"""The settings that all runners share: what is published about their runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict, Unpack

from prefect_anyrunner._publishing.options import EventOptions


class EventArguments(TypedDict, total=False):
    """The arguments of every runner that stand for them; see `EventOptions`."""

    events: str
    events_timeout: float
    events_confirm: bool


EVENT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {name: f"event_options.{name}" for name in EventArguments.__annotations__}
)
"""The part of a runner's `settings` that stands for them."""


class EventSettings:
    """Mixed into every runner."""

    event_options = EventOptions()

    def use_events(self, **events: Unpack[EventArguments]) -> None:
        """Set what is published. Raises ValueError for a value that is none."""
        self.event_options = EventOptions(**events)
