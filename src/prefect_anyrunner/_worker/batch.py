"""The runs of one batch that this worker has not started."""

from __future__ import annotations

import threading
from collections import deque

from prefect_anyrunner._worker.messages import RunRequest

BATCH_BYTES = 2**16
"""Maximum bytes of arguments in one batch. On Ray, a worker returns the rest of a batch after a result of this size."""
BATCH_PATIENCE = 0.2
"""Seconds before a worker returns the runs of a batch that it has not started, so that other workers can run them."""


class Batch:
    """The runs of one batch, taken one after the other."""

    def __init__(self, requests: list[RunRequest]) -> None:
        self._left = deque(requests)
        self._lock = threading.Lock()

    def next(self) -> RunRequest | None:
        """Return the run to start next, or None when none is left here."""
        with self._lock:
            return self._left.popleft() if self._left else None

    def __bool__(self) -> bool:
        return bool(self._left)

    def withdraw(self) -> list[str]:
        """Return the claims of all runs that are left; `next` returns none of them any more."""
        with self._lock:
            claims = [request.claim for request in self._left]
            self._left.clear()
        return claims
