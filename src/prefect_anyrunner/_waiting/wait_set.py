"""The runs that one call waits for. This module does not decide how to wait: the loops in `poll.py` do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.api import PAGE, task_runs
from prefect_anyrunner._waiting.flatten import Position
from prefect_anyrunner._waiting.runs import Deadline, Ended, WaitedRun, WaitingRunner, stock_outcomes
from prefect_anyrunner._waiting.stock.details import add_details
from prefect_anyrunner._waiting.stock.run import FETCH_SECONDS, runner_of

POLL_SECONDS = 2.0
"""Seconds between two polls of all open runs, because the engine of a stock runner may never call back."""
GRACE_SECONDS = 4.0
"""Seconds to wait for a future of the stock process runner after the API has the run as ended.

Such a future never ends if its body raised a `BaseException`, and neither do those of its peers in the pool."""
LONG_GRACE_SECONDS = 60.0
"""Seconds to wait where the run may yet end: Dask and Ray may be running it again, or its result is on its way."""


class WaitSet:
    """The runs of one call: those that are open, those that have ended, and when to poll them.

    It is not thread-safe, because one loop owns it. Only `notify`, which it passes to the futures, is called in other
    threads.
    """

    def __init__(self, positions: Iterable[Position] = (), timeout: float | None = None) -> None:
        self.deadline = Deadline(timeout)
        self.runs: dict[int, WaitedRun] = {}
        self.open: dict[int, WaitedRun] = {}
        self.has_stock = False
        """Whether a poll may block: polling a stock future fetches its result and asks the API about it."""
        self._not_subscribed: list[int] = []
        self._next_poll = time.monotonic() + POLL_SECONDS
        self.add(positions)

    def add(self, positions: Iterable[Position]) -> None:
        """Wait for the runs at `positions` as well; `subscribe` has to be called afterwards."""
        for position in positions:
            key = id(position.future)
            run = self.runs.get(key)
            if run is None:
                run = self.runs[key] = self.open[key] = WaitedRun(position.future)
                self.has_stock = self.has_stock or run.stock is not None
                self._not_subscribed.append(key)
                mark_awaited = getattr(position.future, "mark_awaited", None)
                if mark_awaited is not None:
                    mark_awaited()
            run.positions.append(position)

    def forget(self, run: WaitedRun) -> None:
        """Drop a run that has ended, and its future."""
        del self.runs[id(run.future)]

    def subscribe(self, notify: Callable[[int], None]) -> list[Ended]:
        """Return the added runs that have already ended; have `notify(key)` called, in any thread, when others end."""
        ended = []
        for key in self._not_subscribed:
            run = self.open[key]
            outcome = run.poll() if run.stock is None else stock_outcomes.get(run.future)
            if outcome is not None:
                ended.append(self._close(key, outcome))
            elif self.deadline.timeout == 0:
                continue  # a caller that only polls, perhaps repeatedly, must not leave a callback behind each time
            elif run.stock is None:
                run.future.add_done_callback(lambda _, key=key: notify(key))
            else:
                run.stock.when_done(lambda key=key: notify(key))  # type: ignore[misc]
        self._not_subscribed.clear()
        return ended

    def pause(self) -> float:
        """Return the number of seconds to wait for the next call of `notify`."""
        return max(0.0, min(self.deadline.remaining(), self._next_poll - time.monotonic()))

    @property
    def poll_is_due(self) -> bool:
        """Whether the next `collect` polls all open runs."""
        return time.monotonic() >= self._next_poll

    def collect(self, keys: Iterable[int]) -> list[Ended]:
        """Return the runs among `keys` that have ended, and every `POLL_SECONDS` those found by polling all others."""
        ended = []
        for key in keys:
            if key in self.open and (outcome := self.open[key].poll(self._patience())) is not None:
                ended.append(self._close(key, outcome))
        if self.poll_is_due:
            ended += self._poll_all()
            self._next_poll = time.monotonic() + POLL_SECONDS
        return ended

    def finish(self) -> list[Ended]:
        """Return every run that is still open, as ended if a last poll finds that, else as unfinished."""
        ended = []
        until = time.monotonic() + 1.0  # one second, for all of them together, to fetch results of runs that have ended
        for key, run in list(self.open.items()):
            patience = max(0.05, until - time.monotonic())
            outcome = run.poll() if run.stock is None else run.stock.last_poll(patience)
            ended.append(self._close(key, outcome or run.unfinished(self.deadline.timeout)))
        return ended

    def cancel(self, *, running: bool) -> set[int]:
        """Ask all open runs to stop, those of one runner in one call; return the keys of those that end cancelled."""
        cancelled: set[int] = set()
        by_runner: dict[int, tuple[WaitingRunner, list[int]]] = {}
        for key, run in self.open.items():
            if (runner := _runner_of_open(run)) is not None:
                by_runner.setdefault(id(runner), (runner, []))[1].append(key)
            elif run.cancel(running=running):
                cancelled.add(key)
        for runner, keys in by_runner.values():
            ids = [self.open[key].future.task_run_id for key in keys]
            cancelled |= {key for key, yes in zip(keys, runner.cancel_runs(ids, running=running), strict=True) if yes}
        return cancelled

    def release_worker(self) -> AbstractContextManager[None]:
        """Return a context that frees the worker of the calling task for other runs during a wait (rule N1)."""
        runner = self._runner()
        return nullcontext() if runner is None else runner.release_worker()

    @property
    def waits_in_engine(self) -> bool:
        """Whether the worker of the calling task is free only during `wait_in_engine`."""
        runner = self._runner()
        return runner is not None and runner.waits_in_engine

    def wait_in_engine(self, at_most: float = math.inf) -> None:
        """Wait until a run has ended, if only that frees the worker; for at most `pause()` and `at_most` seconds."""
        runner = self._runner()
        if runner is not None and runner.waits_in_engine:
            futures = [run.future for run in self.open.values() if run.stock is None]
            runner.wait_in_engine(futures, min(self.pause(), at_most))

    def _runner(self) -> WaitingRunner | None:
        """Return our runner of an open run. Any of them will do: each frees the worker of the calling thread.

        It asks the open runs, because a future that has ended has no runner.
        """
        return next(filter(None, map(_runner_of_open, self.open.values())), None)

    def with_details(self, ended: Sequence[Ended], known: Iterable[Outcome] = ()) -> list[Ended]:
        """Return `ended` with names and root causes for the stock runs in it, which are fetched in bulk.

        `known`: outcomes that need not be fetched, because the caller has them.
        """
        fresh = [(run, outcome) for run, outcome in ended if run.stock is not None and run.future not in stock_outcomes]
        if not fresh:
            return list(ended)
        at_hand = {outcome.task_run_id: outcome for outcome in known if outcome.task_run_id is not None}
        keys: dict[str, UUID] = {}
        for run in self.runs.values():
            if run.stock is not None and run.stock.key is not None and run.stock.run_id is not None:
                keys[run.stock.key] = run.stock.run_id
        outcomes = add_details([outcome for _, outcome in fresh], at_hand, keys)
        detailed = {id(run): outcome for (run, _), outcome in zip(fresh, outcomes, strict=True)}
        for run, _ in fresh:
            if detailed[id(run)].status is not Status.UNFINISHED:
                stock_outcomes[run.future] = detailed[id(run)]
        return [(run, detailed.get(id(run), outcome)) for run, outcome in ended]

    def _close(self, key: int, outcome: Outcome) -> Ended:
        return self.open.pop(key), outcome

    def _patience(self) -> float:
        return max(0.05, min(FETCH_SECONDS, self.deadline.remaining() + 1.0))

    def _poll_all(self) -> list[Ended]:
        ended = []
        for key, run in list(self.open.items()):  # a callback may have been lost, or a result was slow to arrive
            if (outcome := run.poll(self._patience())) is not None:
                ended.append(self._close(key, outcome))
        silent = {
            run.stock.run_id: key
            for key, run in self.open.items()
            if run.stock is not None and run.stock.run_id is not None
        }
        now = time.monotonic()
        for run_id, task_run in task_runs(self._next_page(silent, now)).items():
            run, state = self.open[silent[run_id]], task_run.state
            grace = _grace(run, state)
            if state is None or grace is None:
                run.dead_since = None
            elif run.dead_since is None or run.dead_since[1].id != state.id:
                run.dead_since = (now, state)
            elif now - run.dead_since[0] >= grace and run.stock is not None:
                ended.append(self._close(silent[run_id], run.stock.from_api(state)))
        return ended

    def _next_page(self, silent: dict[UUID, int], now: float) -> list[UUID]:
        """Return the ids of one page of runs, in turn, so that a poll of many runs stays cheap."""
        page = sorted(silent, key=lambda run_id: self.open[silent[run_id]].asked)[:PAGE]
        for run_id in page:
            self.open[silent[run_id]].asked = now
        return page


def _runner_of_open(run: WaitedRun) -> WaitingRunner | None:
    return getattr(run.future, "runner", None) if run.stock is None else None


def _grace(run: WaitedRun, state: State[Any] | None) -> float | None:
    """Return how many seconds a silent run may still take after it reached `state`; None if it may be alive."""
    if state is None or not state.is_final():
        return None
    process = runner_of(run.future) == "process"
    if state.is_completed():
        return LONG_GRACE_SECONDS if process else None  # Dask may be computing it again, for as long as that takes
    return GRACE_SECONDS if process else LONG_GRACE_SECONDS


def at_positions(run: WaitedRun, outcome: Outcome) -> list[Outcome]:
    """Return the outcome once for each position of the run."""
    return [outcome.placed(position.number, position.path) for position in run.positions]
