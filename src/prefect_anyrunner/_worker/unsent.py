"""Logs and events of this process that the API does not have yet: they are lost if the process ends now.

Prefect sends both from threads of its own, logs up to two seconds later, and sends the rest when Python exits by
itself. A worker that is stopped from outside does not get that far.
"""

from __future__ import annotations

import time
from typing import Any

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker

SEND_SECONDS = 10.0
"""Seconds that a worker gets to send its logs and events before it is ended all the same."""


def send_unsent(within: float = SEND_SECONDS) -> bool:
    """Send logs and events, for `within` seconds at most; return whether everything was sent.

    Do not call it in a thread that has an event loop. New threads of Prefect send what is logged or emitted later.
    """
    end = time.monotonic() + within
    all_sent = True
    service: Any
    for service in (APILogWorker, EventsWorker):
        _, left = service.drain_all(timeout=max(end - time.monotonic(), 0))
        all_sent = all_sent and not left
    return all_sent
