"""A warning, and later an end, for runs that wait for workers while the engine has none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

SECONDS = 30.0
"""Seconds until an engine without a worker is worth a warning: one that grows by itself needs time for the first."""
_LOOK_SECONDS = 1.0
"""Seconds between two checks while an engine has no worker and its runs are to end."""


class WorkerWatch:
    """Checks until it is stopped whether `engine` has any worker while runs wait, and warns if it has none.

    `has_workers` asks the engine, if `is_waiting` says that it has runs. Time in which it cannot be asked, or in which
    no run waits, does not count, because an engine that grows by itself has no worker while it has nothing to do.
    `timeout`: seconds without a worker after which `give_up` is called with a sentence, and again for runs that are
    submitted before one comes; None for never.
    """

    def __init__(
        self,
        engine: str,
        has_workers: Callable[[], bool],
        is_waiting: Callable[[], bool],
        logger: logging.Logger,
        *,
        timeout: float | None = None,
        give_up: Callable[[str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._has_workers = has_workers
        self._is_waiting = is_waiting
        self._logger = logger
        self._timeout = timeout
        self._give_up = give_up
        self._patience = SECONDS if timeout is None else min(SECONDS, timeout)
        self._since: float | None = time.monotonic()  # when runs began to wait for the first worker
        self._warned = False
        self._gave_up = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anyrunner-no-workers", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pause = self._patience
        while not self._stopped.wait(pause):
            try:
                pause = self._look()
            except Exception:
                self._logger.exception("Could not end the task runs that wait for a worker of %s.", self._engine)

    def _look(self) -> float:
        """Act if runs wait for a worker that the engine does not have; return the seconds until the next check."""
        if not self._lacks_workers():
            self._since, self._warned, self._gave_up = None, False, False
            return self._patience
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        passed = now - self._since
        if self._timeout is not None and self._give_up is not None and passed >= self._timeout:
            self._gave_up = True
            self._give_up(f"{self._engine} has had no worker for {self._timeout:g} seconds (worker_timeout)")
        elif not self._warned and passed >= SECONDS:
            self._warned = True
            self._logger.warning(
                "%s has had no worker for %g seconds; the task runs wait until one comes%s.",
                self._engine,
                SECONDS,
                "" if self._timeout is None else f", for {self._timeout:g} seconds in all",
            )
        return self._patience if self._warned and self._timeout is None else _LOOK_SECONDS

    def _lacks_workers(self) -> bool:
        try:
            return (self._gave_up or self._is_waiting()) and not self._has_workers()
        except Exception:  # other code reports an engine that is gone, and this one may answer the next time
            self._logger.debug("Could not ask for the workers of %s.", self._engine, exc_info=True)
            return False

    def stop(self) -> None:
        """Stop checking, and wait for a check that has begun."""
        self._stopped.set()
        self._thread.join()
