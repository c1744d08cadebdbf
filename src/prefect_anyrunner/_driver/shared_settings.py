"""The settings that all runners share: what is published about their runs, and how long stopping may take."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict, Unpack

from prefect_anyrunner._driver.stop_limit import STOP_SECONDS
from prefect_anyrunner._publishing.options import EventOptions


class EventArguments(TypedDict, total=False):
    """The arguments of every runner that control what is published; see `EventOptions`."""

    events: str
    events_timeout: float
    events_confirm: bool
    events_journal: bool


class SharedArguments(EventArguments, total=False):
    """The arguments of every runner for the shared settings.

    `stop_timeout`: seconds after which a flow run that is cancelled or ended by a signal stops waiting for its runs.
    """

    stop_timeout: float


SHARED_SETTINGS: Mapping[str, str] = MappingProxyType(
    {**{name: f"event_options.{name}" for name in EventArguments.__annotations__}, "stop_timeout": "stop_timeout"}
)
"""The entries of a runner's `settings` for the shared settings."""


class SharedSettings:
    """Mixin for every runner."""

    event_options = EventOptions()
    stop_timeout = STOP_SECONDS

    def use_shared(self, *, stop_timeout: float = STOP_SECONDS, **events: Unpack[EventArguments]) -> None:
        """Set the shared settings. Raises ValueError for an invalid value."""
        if stop_timeout <= 0:
            raise ValueError(f"stop_timeout={stop_timeout!r} is not above 0; it is a number of seconds.")
        self.stop_timeout = stop_timeout
        self.event_options = EventOptions(**events)
