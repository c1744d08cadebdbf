"""A warning when runs wait for workers that an engine does not have."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

SECONDS = 30.0
"""Seconds until an engine without a worker is worth a line: one that grows by itself needs some to start the first."""


class WorkerWatch:
    """Looks once, some time after the first submit, whether `engine` has any worker, and warns if it has none.

    `has_workers` asks the engine. Nothing is said if it raises, because other code reports an engine that is gone.
    """

    def __init__(self, engine: str, has_workers: Callable[[], bool], logger: logging.Logger) -> None:
        self._engine = engine
        self._has_workers = has_workers
        self._logger = logger
        self._timer = threading.Timer(SECONDS, self._look)
        self._timer.name = "anyrunner-no-workers"
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with suppress(Exception):
            if not self._has_workers():
                self._logger.warning(
                    "%s has had no worker for %g seconds; the task runs wait until one comes.", self._engine, SECONDS
                )

    def stop(self) -> None:
        """Look no more, and wait for a look that has begun."""
        self._timer.cancel()
        self._timer.join()
