"""The runs of one batch that this worker has not started."""

from __future__ import annotations

import threading
from collections import deque

from prefect_anyrunner._worker.messages import RunRequest

BATCH_BYTES = 2**16
"""Of the arguments of one group at most; on Ray, what is left of a group goes back after a result of as much."""
BATCH_PATIENCE = 0.2
"""After which a worker gives back what it has not begun of a group, so that others can: long tasks spread as ever."""


class Group:
    """What a worker has not begun of the runs that came together."""

    def __init__(self, parcels: list[RunRequest]) -> None:
        self._left = deque(parcels)
        self._lock = threading.Lock()

    def next(self) -> RunRequest | None:
        """Return the parcel to run next, or None when none is left here."""
        with self._lock:
            return self._left.popleft() if self._left else None

    def take_back(self) -> list[str]:
        """Return the claims of all that is left, of which `next` gives none any more."""
        with self._lock:
            claims = [parcel.claim for parcel in self._left]
            self._left.clear()
        return claims
