"""A Dask scheduler and workers in this process, which tests lose, cut off and restart as a network does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed
from distributed.utils import LoopRunner

from prefect_anyrunner.backends._dask.scheduler import PLUGIN_NAME


class DaskHere:
    """A scheduler in this process, without workers at first."""

    def __init__(self, loop: Any, folder: Path) -> None:
        self._loop = loop
        self._folder = folder
        self._workers: list[Any] = []
        self.scheduler: Any = loop.run_sync(_scheduler)
        self.address: str = self.scheduler.address

    def worker(self, threads: int) -> Any:
        """Start a worker."""
        make: Any = distributed.Worker

        async def start() -> Any:
            return await make(self.address, nthreads=threads, local_directory=str(self._folder))

        self._workers.append(self._loop.run_sync(start))
        return self._workers[-1]

    def lose(self, worker: Any) -> None:
        """Have the scheduler give up a worker that does not notice."""

        async def lose() -> None:
            worker.periodic_callbacks["heartbeat"].stop()  # by whose answer it would notice
            await self.scheduler.remove_worker(worker.address, stimulus_id="test", close=False)

        self._loop.run_sync(lose)

    def restart(self) -> None:
        """End the scheduler, and its workers with it; start another one at the same address."""
        port = int(self.address.rpartition(":")[2])

        async def restart() -> Any:
            await self.scheduler.close()
            return await _scheduler(port)

        self.scheduler = self._loop.run_sync(restart)

    def close_topics(self) -> None:
        """Have our plugin forget all flow runs."""
        plugin = self.scheduler.plugins[PLUGIN_NAME]

        async def close() -> None:
            for topic in [*plugin.claims]:
                plugin.close_topic(topic)

        self._loop.run_sync(close)

    def close(self) -> None:
        """Close the workers and the scheduler."""

        async def close() -> None:
            for worker in self._workers:
                await worker.close(nanny=False, executor_wait=False)
            await self.scheduler.close()

        self._loop.run_sync(close)


async def _scheduler(port: int = 0) -> Any:
    make: Any = distributed.Scheduler
    return await make(host="127.0.0.1", port=port, dashboard_address="127.0.0.1:0")


@contextmanager
def dask_here(folder: Path) -> Iterator[DaskHere]:
    """Run a scheduler until the block ends."""
    made: Any = LoopRunner
    loop = made()
    loop.start()
    try:
        here = DaskHere(loop, folder)
        try:
            yield here
        finally:
            here.close()
    finally:
        loop.stop()
