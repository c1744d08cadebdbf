"""A warning, and later an end, for runs that wait for workers while the engine has none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

SECONDS = 30.0
"""Seconds until an engine without a worker is worth a warning: one that grows by itself needs time for the first."""
_LOOK_SECONDS = 1.0
"""Seconds between two checks after that."""


class WorkerWatch:
    """Checks, some time after the first submit, whether `engine` has any worker, and warns if it has none.

    `has_workers` asks the engine. If it raises, the checks end, because other code reports an engine that is gone.
    `timeout`: seconds without a worker after which `give_up` is called with a sentence, and again for runs that are
    submitted later; None for never.
    """

    def __init__(
        self,
        engine: str,
        has_workers: Callable[[], bool],
        logger: logging.Logger,
        *,
        timeout: float | None = None,
        give_up: Callable[[str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._has_workers = has_workers
        self._logger = logger
        self._timeout = timeout
        self._give_up = give_up
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anyrunner-no-workers", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        began, warned = time.monotonic(), False
        pause = SECONDS if self._timeout is None else min(SECONDS, self._timeout)
        with suppress(Exception):
            while not self._stopped.wait(pause) and not self._has_workers():
                passed, pause = time.monotonic() - began, _LOOK_SECONDS
                if self._timeout is not None and self._give_up is not None and passed >= self._timeout:
                    self._give_up(f"{self._engine} has had no worker for {self._timeout:g} seconds (worker_timeout)")
                elif not warned and passed >= SECONDS:
                    warned = True
                    self._logger.warning(
                        "%s has had no worker for %g seconds; the task runs wait until one comes%s.",
                        self._engine,
                        SECONDS,
                        "" if self._timeout is None else f", for {self._timeout:g} seconds in all",
                    )
                if warned and self._timeout is None:
                    return

    def stop(self) -> None:
        """Stop checking, and wait for a check that has begun."""
        self._stopped.set()
        self._thread.join()
