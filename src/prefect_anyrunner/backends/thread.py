"""Threads: Prefect's own pool, with an outcome for every run and a place for those that wait."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self

import prefect.task_runners
from prefect.futures import resolve_futures_to_states
from prefect.task_runners import TaskRunner

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._driver.tracked_runner import TrackedRunner
from prefect_anyrunner._prefect.states import error_of, result_of
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error
from prefect_anyrunner._serialization.values import round_trip
from prefect_anyrunner._worker.engine import run_engine
from prefect_anyrunner._worker.interrupt import bind_claim, interrupt, leave_body, stoppable
from prefect_anyrunner._worker.messages import process_name


class ThreadPoolTaskRunner(TrackedRunner, prefect.task_runners.ThreadPoolTaskRunner[Any]):  # type: ignore[misc]  # one future for all
    """Runs tasks in threads of this process, at most `max_workers` at a time.

    A drop-in for Prefect's class of the same name. A task that waits for other task runs does not count while it waits
    (rule N1, PrefectHQ/prefect#17060). `portable=True` makes arguments, results and errors make the round trip that
    another process would need (rule V2).
    """

    def __init__(self, max_workers: int | None = None, *, portable: bool = False) -> None:
        super().__init__(max_workers=max_workers)
        self.portable = portable
        self._reset_tracking()
        self._slots_taken = 0
        self._queue: deque[Run] = deque()
        self._resuming: deque[threading.Event] = deque()
        self._slot_holders: set[int] = set()

    @property
    def name(self) -> str:
        """The backend's name, as the stock class has it."""
        return "threadpool"

    def _settings(self) -> dict[str, Any]:
        return {"max_workers": self._max_workers, "portable": self.portable}

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) and self.portable == getattr(other, "portable", False)

    __hash__ = None  # type: ignore[assignment]  # as in Prefect: equal by settings, so not hashable

    def __getstate__(self) -> dict[str, Any]:
        return self._settings()

    def __setstate__(self, state: dict[str, Any]) -> None:
        ThreadPoolTaskRunner.__init__(self, **state)

    def __enter__(self) -> Self:
        super().__enter__()
        self._reset_tracking()
        # Slots bound what runs, not the pool: a body that waits keeps its thread while another uses its slot.
        self._executor = ThreadPoolExecutor(max_workers=sys.maxsize)
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        try:
            self._finish(exc_type)
        finally:
            super().__exit__(exc_type, exc_value, traceback)

    # --- slots: at most max_workers bodies run; one that waits gives its slot back -------------------------------

    def _dispatch(self, runs: list[Run]) -> None:
        with self._runs_lock:
            self._queue.extend(runs)
        self._start_more()

    def _start_more(self) -> None:
        while True:
            with self._runs_lock:
                if self._slots_taken >= self._max_workers or not (self._resuming or self._queue):
                    return
                self._slots_taken += 1
                if self._resuming:  # whoever has started goes on before others start
                    self._resuming.popleft().set()
                    continue
                run = self._queue.popleft()
                run.engine = "started"
            assert self._executor is not None
            self._executor.submit(self._work, run)

    def _work(self, run: Run | None) -> None:
        # One run after the other: given to the pool from here, each would start a thread, as this one is not idle yet.
        while run is not None:
            self._run_here(run)
            run = self._pass_slot_on()

    def _pass_slot_on(self) -> Run | None:
        """Give the slot of what has ended to who is next; return the run that is to go on in the calling thread."""
        with self._runs_lock:
            if self._resuming:  # whoever has started goes on before others start
                self._resuming.popleft().set()
            elif self._queue:
                run = self._queue.popleft()
                run.engine = "started"
                return run
            else:
                self._slots_taken -= 1
            return None

    @contextmanager
    def blocking(self) -> Iterator[None]:
        """Free the worker that the calling thread holds while it waits (rule N1)."""
        ident = threading.get_ident()
        if ident not in self._slot_holders:
            yield
            return
        self._slot_holders.discard(ident)
        with self._runs_lock:
            self._slots_taken -= 1
        self._start_more()
        try:
            yield
        finally:
            mine = threading.Event()
            with self._runs_lock:
                if self._slots_taken < self._max_workers and not self._resuming:
                    self._slots_taken += 1
                    mine.set()
                else:
                    self._resuming.append(mine)
            mine.wait()
            self._slot_holders.add(ident)

    # --- one run -------------------------------------------------------------------------------------------------

    def _run_here(self, run: Run) -> None:
        ident = threading.get_ident()
        self._slot_holders.add(ident)
        raised: BaseException | None = None
        try:
            parameters = self._travelled(run) if self.portable else run.parameters
            run.context.run(bind_claim, run.claim)
            run.context.run(run_engine, stoppable(run.task), run.task_run, parameters, wait_for=run.wait_for)
        except CannotTravel as exc:
            self._slot_holders.discard(ident)
            self.end_failed(run, exc)
            return
        except BaseException as exc:
            raised = exc
        leave_body(run.claim)  # once more: an interruption may have come before the body's own took hold
        self._slot_holders.discard(ident)
        try:
            if self.portable:
                self._travel_back(run, raised)
            else:
                self.end_as_engine_says(run, raised, worker=process_name())
        except BaseException as exc:  # a run must end, whatever cannot be read of its state
            self._end_crashed(run, f"its outcome could not be read: {exc!r}", exc)

    def _travelled(self, run: Run) -> dict[str, Any]:
        task = f"task {run.task.name!r}"
        round_trip(run.task, what=task)
        return {
            name: round_trip(resolve_futures_to_states(value), what=f"argument {name!r} of {task}")
            for name, value in run.parameters.items()
        }

    def _travel_back(self, run: Run, raised: BaseException | None) -> None:
        state = run.task_run.state
        assert state is not None
        if raised is not None:
            raised = unpack_error(pack_error(raised))
        elif state.is_completed():
            try:
                state.data = round_trip(result_of(state), what=f"the result of task {run.task.name!r}")
            except CannotTravel as exc:
                self.end_failed(run, exc)
                return
        elif (error := error_of(state)) is not None:
            state.data = unpack_error(pack_error(error))
        self.end_as_engine_says(run, raised, worker=process_name())

    # --- stopping ------------------------------------------------------------------------------------------------

    def _revoke(self, runs: list[Run]) -> list[bool]:
        in_time = []
        with self._runs_lock:
            waiting = set(map(id, self._queue))
            for run in runs:
                in_time.append(id(run) in waiting)
            gone = {id(run) for run, yes in zip(runs, in_time, strict=True) if yes}
            if gone:
                self._queue = deque(run for run in self._queue if id(run) not in gone)
        return in_time

    def _interrupt(self, run: Run) -> None:
        interrupt(run.claim)


def build(address: str | None, options: Mapping[str, Any]) -> TaskRunner[Any]:
    """Return the task runner of a `thread://` spec."""
    return ThreadPoolTaskRunner(**options)
