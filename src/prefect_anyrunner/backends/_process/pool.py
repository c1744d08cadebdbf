"""Pebble's pool, and every undocumented name of pebble that we use.

By itself, that pool breaks when an idle worker dies, may miss a death right after a run has started, and ends workers
before Prefect has sent their logs. `tests/unit/backends/test_engine_names.py` fails with a message when a release of
pebble moves a name that is used here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pebble
from pebble.common.process import process_exit as exit_worker
from pebble.common.types import Result, ResultStatus
from pebble.pool.base_pool import PoolStatus
from pebble.pool.process import PoolManager, dictionary_values

from prefect_anyrunner._worker.unsent import SEND_SECONDS

__all__ = ["UNSENT_CODE", "CannotStart", "Pool", "exit_worker"]

UNSENT_CODE = 75  # EX_TEMPFAIL
"""The exit code of a worker that was ended before the API had all its logs and events."""


class CannotStart(BrokenProcessPool):
    """Workers cannot be started, or die again and again before they run anything."""


class Pool(pebble.ProcessPool):
    """A `pebble.ProcessPool` that replaces a worker that dies without a run, and calls `broken` when it breaks."""

    def __init__(self, *, broken: Callable[[Pool], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._pool_manager: _Workers = _Workers(self._context, settings["context"], lambda: broken(self))
        self._ending = threading.Lock()
        self._ended = False

    def begin(self) -> None:
        """Start the workers. Raises CannotStart if the system does not allow it, as at a limit of processes."""
        try:
            _ = self.active
        except (OSError, RuntimeError) as exc:
            self.end()  # a part of it may have started
            why = exc.__cause__ or exc
            raise CannotStart(f"no pool of worker processes could be started: {why}") from why

    def end(self) -> int:
        """Stop the pool and its workers, once, and wait for that; not in a thread of the pool itself.

        Returns the number of workers that ended before the API had all their logs and events.
        """
        with self._ending:
            if not self._ended:
                self.stop()  # type: ignore[no-untyped-call]
                try:
                    self.join()
                except KeyError:  # two of pebble's threads have stopped the same worker; the second call stops the rest
                    self.join()
                self._ended = True
        return self._pool_manager.unsent


class _Workers(PoolManager):
    def __init__(self, context: Any, processes: Any, broken: Callable[[], None]) -> None:
        super().__init__(context, processes)
        self.unsent = 0
        self._broken = broken
        self._died: dict[int, int | None] = {}  # pid -> exit code of dead workers that had no known run
        self._last_code: int | None = None
        self._deaths_without_run = 0
        self._missing: set[int] = set()  # pids of workers that are gone, and whose runs have not ended

    def handle_worker_expiration(self, expiration: tuple[Any, ...]) -> None:
        worker, code = expiration
        self._died[worker] = self._last_code = code
        self._deaths_without_run += 1

    def update_workers(self) -> None:
        super().update_workers()  # type: ignore[no-untyped-call]
        for worker in dictionary_values(self.worker_manager.workers):  # the system may use a process's number again
            self._died.pop(worker.pid, None)
        self._find_missing()
        running = {task.worker_id: task.id for task in dictionary_values(self.task_manager.tasks) if task.worker_id}
        if running:
            self._deaths_without_run = 0
        # A worker's message that it has started a run may arrive after its death was seen, so all deaths are looked at.
        for worker in running.keys() & self._died.keys():
            error = pebble.ProcessExpired("Abnormal termination", code=self._died.pop(worker), pid=worker)  # type: ignore[no-untyped-call]
            self.task_manager.task_done(running[worker], Result(ResultStatus.ERROR, error))
        if self._deaths_without_run >= 2 * self.worker_manager.workers_number + 2:  # another one will hardly do better
            raise CannotStart(
                f"{self._deaths_without_run} processes in a row ended before they ran anything, the last with "
                f"{_ending(self._last_code)}"
            )

    def _find_missing(self) -> None:
        # pebble does not notice a worker that has exited with code 0, nor the next run of one that it has stopped.
        # The result of its run may be on its way, so this is decided by the second look.
        there = {worker.pid for worker in dictionary_values(self.worker_manager.workers)}
        tasks = dictionary_values(self.task_manager.tasks)
        missing = {task.worker_id for task in tasks if task.worker_id} - there - self._died.keys()
        self._died.update(dict.fromkeys(missing & self._missing, 0))
        self._missing = missing

    def stop(self) -> None:
        """Stop the workers, all at once: each ends as soon as it has sent its logs and events."""
        running = {task.worker_id for task in dictionary_values(self.task_manager.tasks)}
        idle = [worker for worker in dictionary_values(self.worker_manager.workers) if worker.pid not in running]
        for worker in idle:
            worker.terminate()
        end = time.monotonic() + SEND_SECONDS
        for worker in idle:
            worker.join(max(end - time.monotonic(), 0))
        self.unsent = sum(worker.exitcode in (None, UNSENT_CODE) for worker in idle)
        super().stop()  # type: ignore[no-untyped-call]

    def handle_broken_pool(self, error: BrokenProcessPool) -> None:
        with self.context.status_mutex:
            first, self.context.status = self.context.alive, PoolStatus.ERROR
        super().handle_broken_pool(error)
        if first:  # else the pool was stopped, or another thread of it has called `broken`
            self._broken()


def _ending(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
