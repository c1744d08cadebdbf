"""Bodies in threads of this process: those of `thread://`, and those that a task of `process://` submits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.ledger import Sending
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._driver.tracked_runner import TrackedRunner
from prefect_anyrunner._worker.interrupt import interrupt
from prefect_anyrunner.backends._thread.slots import Slots


class ThreadEngine:
    """Threads that run at most `max_workers` bodies of one started runner at a time.

    `run_body(sending)` runs one body in a thread of this engine and returns a function that ends the run. That function
    is called in the slot, too, so that a callback of the run's future that waits gives it to others.
    """

    def __init__(
        self, runner: TrackedRunner, max_workers: int, run_body: Callable[[Sending], Callable[[], None]]
    ) -> None:
        self._runner = runner
        self._run_body = run_body
        self._slots = Slots(max_workers)
        self._waits: dict[int, int] = {}  # ident of a thread -> number of waits of its body
        # Slots limit what runs, not the pool: a body that waits keeps its thread while another one uses its slot.
        self._executor = ThreadPoolExecutor(max_workers=sys.maxsize, thread_name_prefix=f"anyrunner-{runner.name}")

    def stop(self) -> None:
        """End the threads; every run has ended. One whose body would not stop ends when it can."""
        self._executor.shutdown(wait=not self._runner.ledger.left_running)

    def dispatch(self, runs: list[Run]) -> None:
        """Start runs as slots become free."""
        self._slots.put(runs)
        self._start_more()

    def interrupt(self, run: Run) -> None:
        """Ask a running body to stop."""
        interrupt(run.claim)

    @contextmanager
    def release_worker(self) -> Iterator[None]:
        """Give the slot of the calling body to others while it waits (rule N1)."""
        ident = threading.get_ident()
        if not self._slots.is_held() and ident not in self._waits:
            yield
            return
        self._waits[ident] = self._waits.get(ident, 0) + 1  # a coroutine may wait several times at once
        try:
            if self._slots.is_held():
                self._slots.give_back()
                self._start_more()
            yield
        finally:
            self._waits[ident] -= 1
            if not self._waits[ident]:
                del self._waits[ident]
                if not self._slots.is_held():  # else an interruption came first
                    self._slots.take_again()

    def _start_more(self) -> None:
        runs = self._slots.fill()
        for number, run in enumerate(runs):
            starting = [run]
            try:
                self._executor.submit(self._work, starting)
            except RuntimeError as exc:  # the system allows no more threads
                left = runs[number + 1 :]
                with suppress(IndexError):  # the executor keeps the call, and one of its threads may have taken the run
                    left.insert(0, starting.pop())
                self._put_back(left, exc)
                return

    def _put_back(self, runs: list[Run], why: RuntimeError) -> None:
        """Let runs wait for the threads of other bodies; if no body runs, end all that wait."""
        for run in self._slots.put_back(runs):
            self._runner.end(run, ends.crashed(run, f"no thread could be started for it: {why}", why))

    def _work(self, starting: list[Run]) -> None:
        try:
            run: Run | None = starting.pop()
        except IndexError:  # it has been put back
            return
        # One run after the other in one thread: the pool would start a thread for each, because this one is not idle.
        while run is not None:
            for sending in self._runner.ledger.send([run]):  # empty if the run was cancelled while it waited
                with self._slots.held():
                    self._run_body(sending)()
            run = self._slots.pass_on()
