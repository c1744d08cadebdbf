"""A future in memory with the interface of ours, for tests of waiting and reports."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from prefect.exceptions import CancelledRun, CrashedRun, UpstreamTaskError

from prefect_anyrunner import Outcome, Status


class FakeRunner:
    """The runner of one fake future, which frees its worker; a future that has ended has none."""

    waits_in_engine = False

    def __init__(self, future: FakeFuture) -> None:
        self.future = future

    def cancel_runs(self, task_run_ids: Sequence[uuid.UUID], *, running: bool) -> list[bool]:
        assert list(task_run_ids) == [self.future.task_run_id]
        return [self.future.cancel(running=running)]

    @contextlib.contextmanager
    def release_worker(self) -> Iterator[None]:
        self.future.worker_released = True
        try:
            yield
        finally:
            self.future.worker_released = False


class FakeFuture:
    """Ends when the test says so: `ends()`, `fails(...)`, `crashes(...)`, `is_blocked_by(...)`."""

    def __init__(self, name: str = "load", *, running: bool = False) -> None:
        self.task_name = name
        self.runner_name = "fake"
        self.map_index: int | None = None
        self.task_run_id = uuid.uuid4()
        self.running = running
        self.looked_at = 0
        self.was_awaited = False
        self.worker_released = False
        self.runner: FakeRunner | None = FakeRunner(self)
        self.cancels: list[bool] = []
        self._outcome: Outcome | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._lock = threading.Lock()

    def outcome(self) -> Outcome | None:
        self.looked_at += 1
        return self._outcome

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        with self._lock:
            if self._outcome is None:
                self._callbacks.append(fn)
                return
        fn(self)

    @property
    def callbacks(self) -> int:
        return len(self._callbacks)

    def mark_awaited(self) -> None:
        self.was_awaited = True

    def cancel(self, *, running: bool = True) -> bool:
        self.cancels.append(running)
        if self._outcome is not None or (self.running and not running):
            return False
        self._end(Status.CANCELLED, error=CancelledRun("cancelled"))
        return True

    def ends(self, value: Any = None) -> FakeFuture:
        return self._end(Status.COMPLETED, _value=value)

    def fails(self, error: Exception) -> FakeFuture:
        return self._end(Status.FAILED, error=error)

    def crashes(self, text: str) -> FakeFuture:
        return self._end(Status.CRASHED, error=CrashedRun(text))

    def is_cancelled(self) -> FakeFuture:
        return self._end(Status.CANCELLED, error=CancelledRun("by hand"))

    def is_blocked_by(self, other: FakeFuture) -> FakeFuture:
        return self._end(Status.BLOCKED, error=UpstreamTaskError("upstream"), upstream=(other.task_run_id,))

    def _end(self, status: Status, **facts: Any) -> FakeFuture:
        with self._lock:
            self.runner = None
            self._outcome = Outcome(
                task_name=self.task_name,
                task_run_id=self.task_run_id,
                task_run_name=f"{self.task_name}-{str(self.task_run_id)[:3]}",
                status=status,
                runner="fake",
                worker="here",
                **facts,
            )
            callbacks, self._callbacks = self._callbacks, []
        for fn in callbacks:
            fn(self)
        return self
