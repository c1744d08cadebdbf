"""Who tells the API how a run ended: the driver alone, so that nothing says Completed that did not arrive (rule S1).

The engine on a worker emits every state as it happens. Here its last one is held back: the driver emits that same
event, with the same id, once the outcome is in its hands - and another one when it is not.
"""

from __future__ import annotations

from typing import Any

from prefect.events import Event
from prefect.events.clients import EventsClient, PrefectCloudEventsClient, PrefectEventsClient

from ._prefect import (
    EventsWorker,
    ProcessPoolForwardingEventsClient,
    emit_events_to_cloud,
    should_emit_events_to_running_server,
)

_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_told_elsewhere: set[str] = set()
_driver_here = False
_asked = False


def drive_here() -> None:
    """Note that this process submits runs of its own flow: its events are all its own to tell."""
    global _driver_here
    _driver_here = True


def leave_end_to_driver(task_run_id: Any) -> None:
    """Hold back the final state that the engine is about to emit for this run, if this process is a worker only."""
    global _asked
    if _driver_here:
        return
    if not _asked:
        _asked = True
        kind: type[EventsClient] | None = None
        if emit_events_to_cloud():
            kind = PrefectCloudEventsClient
        elif should_emit_events_to_running_server():
            kind = PrefectEventsClient
        if kind is not None:
            # Prefect emits through clients that it knows only; this one puts each event into what it is given.
            EventsWorker.set_client_override(
                ProcessPoolForwardingEventsClient, event_queue=_AllButTheEnd(EventsWorker.instance(kind))
            )
    _told_elsewhere.add(f"prefect.task-run.{task_run_id}")


class _AllButTheEnd:
    """Passes events on to the API, without the first final state of each run whose driver tells it."""

    def __init__(self, api: EventsWorker) -> None:
        self._api = api

    def put(self, item: tuple[str, Event]) -> None:
        event = item[1]
        # Only the first one is held back: where a run's driver is in this process too, the second is its word.
        if event.resource.id in _told_elsewhere and event.payload["validated_state"]["type"] in _FINAL:
            _told_elsewhere.discard(event.resource.id)
        else:
            self._api.send(event)
