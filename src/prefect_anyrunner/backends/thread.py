"""Threads: Prefect's own pool, with an outcome for every run and a free slot for every body that waits."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Unpack

import prefect.task_runners
from prefect.task_runners import TaskRunner

from prefect_anyrunner._driver.map_scope import MapScope
from prefect_anyrunner._driver.remote_runner import RemoteRunner
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._driver.shared_settings import SHARED_SETTINGS, SharedArguments
from prefect_anyrunner.backends._thread.body import run_body, run_body_as_sent
from prefect_anyrunner.backends._thread.engine import ThreadEngine


class ThreadPoolTaskRunner(RemoteRunner, prefect.task_runners.ThreadPoolTaskRunner[Any]):  # type: ignore[misc]  # one future for all
    """A task runner in threads of this process, which runs at most `max_workers` tasks at a time.

    It is a drop-in for Prefect's class of the same name. A task that waits for other task runs does not count while it
    waits (rule N1, PrefectHQ/prefect#17060). With `portable=True` each run gets what a worker in another process would
    get, and its result comes back the same way (rule V2).
    """

    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"max_workers": "_max_workers", "portable": "portable", **SHARED_SETTINGS}
    )

    def __init__(
        self, max_workers: int | None = None, *, portable: bool = False, **shared: Unpack[SharedArguments]
    ) -> None:
        super().__init__(max_workers=max_workers)
        self.use_shared(**shared)
        self.portable = portable
        self._threads: ThreadEngine | None = None
        self._blobs: dict[str, bytes] = {}  # of a portable runner

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "threadpool"

    def start_engine(self) -> None:
        """Make the threads."""
        super().start_engine()
        run = partial(run_body_as_sent, self, self._blobs) if self.portable else partial(run_body, self)
        self._threads = ThreadEngine(self, self._max_workers, run)

    def stop_engine(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        """End the threads."""
        self._started_threads().stop()
        self._blobs.clear()
        super().stop_engine(exc_type, exc_value, traceback)

    def _started_threads(self) -> ThreadEngine:
        assert self._threads is not None, "the runner is not started"
        return self._threads

    # --- hooks ---------------------------------------------------------------------------------------------------

    def prepare(self, run: Run, scope: MapScope | None) -> bool:
        """Build the request of `run` if it is to travel; otherwise do nothing."""
        return super().prepare(run, scope) if self.portable else True

    def store_blob(self, digest: str, data: bytes) -> None:
        """Keep `data` in this process."""
        self._blobs[digest] = data

    def delete_blobs(self, digests: list[str]) -> None:
        """Drop bytes that no run needs any more."""
        for digest in digests:
            del self._blobs[digest]

    def dispatch(self, runs: list[Run]) -> None:
        """Start runs as slots become free."""
        self._started_threads().dispatch(runs)

    def revoke(self, runs: list[Run]) -> list[bool]:
        """Return False for each run, because a run that was sent has started."""
        return [False] * len(runs)

    def interrupt(self, run: Run) -> None:
        """Ask a running body to stop."""
        self._started_threads().interrupt(run)

    def workers(self) -> str:
        """Return the number of threads."""
        return f"{self._max_workers if self._max_workers < sys.maxsize else 'any number of'} threads of this process"

    def release_worker(self) -> AbstractContextManager[None]:
        """Free the slot that the calling thread holds while it waits (rule N1)."""
        return self._started_threads().release_worker()


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `thread://` spec."""
    return ThreadPoolTaskRunner(**options)
