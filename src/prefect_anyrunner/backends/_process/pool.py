"""Pebble's pool, which by itself breaks when an idle worker dies, and may miss a death right after a run began."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pebble
from pebble.common.types import Result, ResultStatus
from pebble.pool.base_pool import PoolStatus
from pebble.pool.process import PoolManager, dictionary_values


class CannotStart(BrokenProcessPool):
    """Workers die again and again before they run anything."""


class Pool(pebble.ProcessPool):
    """A `pebble.ProcessPool` that replaces a worker that dies without a run, and calls `broken` when it breaks."""

    def __init__(self, *, broken: Callable[[Pool], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._pool_manager = _Workers(self._context, settings["context"], lambda: broken(self))
        self._ending = threading.Lock()
        self._ended = False

    def end(self) -> None:
        """Stop the pool and its workers, once, and wait for that; not in a thread of the pool itself."""
        with self._ending:
            if not self._ended:
                self.stop()  # type: ignore[no-untyped-call]
                try:
                    self.join()
                except KeyError:  # two of pebble's threads have stopped the same worker: the others are left to stop
                    self.join()
                self._ended = True


class _Workers(PoolManager):
    def __init__(self, context: Any, processes: Any, broken: Callable[[], None]) -> None:
        super().__init__(context, processes)
        self._broken = broken
        self._died: dict[int, int | None] = {}  # pid -> exit code of workers of whose run nothing was known
        self._in_vain = 0

    def handle_worker_expiration(self, expiration: tuple[Any, ...]) -> None:
        worker, code = expiration
        self._died[worker] = code
        self._in_vain += 1

    def update_workers(self) -> None:
        super().update_workers()  # type: ignore[no-untyped-call]
        running = {task.worker_id: task.id for task in dictionary_values(self.task_manager.tasks) if task.worker_id}
        if running:
            self._in_vain = 0
        # The word that it had begun a run may come after its death was seen: looked for each time, not only once.
        for worker in running.keys() & self._died.keys():
            error = pebble.ProcessExpired("Abnormal termination", code=self._died.pop(worker), pid=worker)  # type: ignore[no-untyped-call]
            self.task_manager.task_done(running[worker], Result(ResultStatus.ERROR, error))
        if self._in_vain >= 2 * self.worker_manager.workers_number + 2:  # the next one will hardly do better
            code = list(self._died.values())[-1]
            raise CannotStart(
                f"{self._in_vain} processes in a row ended before they ran anything, the last with {_said(code)}"
            )

    def handle_broken_pool(self, error: BrokenProcessPool) -> None:
        with self.context.status_mutex:
            first, self.context.status = self.context.alive, PoolStatus.ERROR
        super().handle_broken_pool(error)
        if first:  # else it was stopped, or another of its threads has told
            self._broken()


def _said(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
