"""One set of runs being waited for, without saying how: the loops in `_settle` block a thread or an event loop."""

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
from prefect_anyrunner._waiting.flatten import Place
from prefect_anyrunner._waiting.runs import Deadline, Ended, Run, _settled
from prefect_anyrunner._waiting.stock.details import told
from prefect_anyrunner._waiting.stock.run import FETCH, runner_of

TICK = 2.0
"""Seconds between two rounds of looking after runs whose engine may never call back."""
GRACE = 4.0
"""Seconds after which a run of the stock process runner that the API calls dead is dead, although its future is silent.

That future never ends for a body that raised a `BaseException`, and neither do those of its peers in the pool."""
LONG_GRACE = 60.0
"""The same for Dask and Ray, which may be running it once more, and for a result that may be on its way."""


class Waiting:
    """The runs of one call: which are open, which have ended, what to look after in between.

    Not thread-safe: one loop owns it. Only `tell`, which it hands to the futures, is called in other threads.
    """

    def __init__(self, places: Sequence[Place], timeout: float | None) -> None:
        self.places = list(places)
        self.deadline = Deadline(timeout)
        self.runs: dict[int, Run] = {}
        for number, place in enumerate(places):
            run = self.runs.get(id(place.future))
            if run is None:
                run = self.runs[id(place.future)] = Run(place.future)
                mark_awaited = getattr(place.future, "mark_awaited", None)
                if mark_awaited is not None:
                    mark_awaited()
            run.places.append(number)
        self.open = dict(self.runs)
        self.has_stock = any(run.stock is not None for run in self.runs.values())
        """Whether looking may block: stock futures fetch results, and the API is asked about them."""
        self._next_round = time.monotonic() + TICK

    def subscribe(self, tell: Callable[[int], None]) -> list[Ended]:
        """Return what has ended already; for the rest have `tell(key)` called, in whatever thread, when it ends."""
        ended = []
        for key, run in list(self.open.items()):
            outcome = self.runs[key].look() if run.stock is None else _settled.get(run.future)
            if outcome is not None:
                ended.append(self._close(key, outcome))
            elif self.deadline.timeout == 0:
                continue  # who only looks, perhaps time and again, leaves no callback behind
            elif run.stock is None:
                run.future.add_done_callback(lambda _, key=key: tell(key))
            else:
                run.stock.when_done(lambda key=key: tell(key))  # type: ignore[misc]
        return ended

    def pause(self) -> float:
        """Return for how many seconds to wait for the next call of `tell`."""
        return max(0.0, min(self.deadline.remaining(), self._next_round - time.monotonic()))

    def took(self, keys: Iterable[int]) -> list[Ended]:
        """Return the runs among `keys` that have ended, and each `TICK` what a round over all others finds."""
        ended = []
        for key in keys:
            if key in self.open and (outcome := self.open[key].look(self._patience())) is not None:
                ended.append(self._close(key, outcome))
        if time.monotonic() >= self._next_round:
            ended += self._round()
            self._next_round = time.monotonic() + TICK
        return ended

    def rest(self) -> list[Ended]:
        """Return every run that is still open, as ended after all or as unfinished."""
        ended = []
        until = time.monotonic() + 1.0  # what has ended in time may be fetched a little later; all of them together
        for key, run in list(self.open.items()):
            patience = max(0.05, until - time.monotonic())
            outcome = run.look() if run.stock is None else run.stock.last_look(patience)
            ended.append(self._close(key, outcome or run.unfinished(self.deadline.timeout)))
        return ended

    def cancel(self, *, running: bool) -> set[int]:
        """Ask all open runs to stop, those of one runner together; return the keys of those that will end cancelled."""
        cancelled: set[int] = set()
        together: dict[int, tuple[Any, list[int]]] = {}
        for key, run in self.open.items():
            runner = getattr(run.future, "runner", None)
            if runner is not None:
                together.setdefault(id(runner), (runner, []))[1].append(key)
            elif run.cancel(running=running):
                cancelled.add(key)
        for runner, keys in together.values():
            ids = [self.open[key].future.task_run_id for key in keys]
            cancelled |= {key for key, yes in zip(keys, runner.cancel_runs(ids, running=running), strict=True) if yes}
        return cancelled

    def blocking(self) -> AbstractContextManager[Any]:
        """Return what to hold while waiting, so that a waiting task lends its worker to others (rule N1)."""
        # Futures of one runner all free the same worker: that of the calling thread.
        release = getattr(self._ours(), "release_worker", nullcontext)
        context: AbstractContextManager[Any] = release()
        return context

    @property
    def lends(self) -> bool:
        """Whether the worker of the calling task is free only during `lend`."""
        return bool(getattr(self._ours(), "waits_in_engine", False))

    def lend(self, most: float = math.inf) -> None:
        """Wait until a run has ended, where only that frees a worker; as long as `pause` says, or `most` seconds."""
        if self.lends:
            futures = [run.future for run in self.open.values() if run.stock is None]
            futures[0].wait_in_engine(futures, min(self.pause(), most))

    def _ours(self) -> Any:
        return next((run.future for run in self.open.values() if run.stock is None), None)

    def told(self, ended: Sequence[Ended], known: Iterable[Outcome] = ()) -> list[Ended]:
        """Return `ended` with names and roots for the stock runs in it, asked for in bulk."""
        fresh = [(run, outcome) for run, outcome in ended if run.stock is not None and run.future not in _settled]
        at_hand = {outcome.task_run_id: outcome for outcome in known if outcome.task_run_id is not None}
        keys: dict[str, UUID] = {}
        for run in self.runs.values():
            if run.stock is not None and run.stock.key is not None and run.stock.run_id is not None:
                keys[run.stock.key] = run.stock.run_id
        outcomes = told([outcome for _, outcome in fresh], at_hand, keys) if fresh else []
        better = {id(run): outcome for (run, _), outcome in zip(fresh, outcomes, strict=True)}
        for run, _ in fresh:
            if better[id(run)].status is not Status.UNFINISHED:
                _settled[run.future] = better[id(run)]
        return [(run, better.get(id(run), outcome)) for run, outcome in ended]

    def placed(self, run: Run, outcome: Outcome) -> list[Outcome]:
        """Return the outcome once for each place that the run stood in."""
        return [outcome.placed(number, self.places[number].path) for number in run.places]

    def _close(self, key: int, outcome: Outcome) -> Ended:
        return self.open.pop(key), outcome

    def _patience(self) -> float:
        return max(0.05, min(FETCH, self.deadline.remaining() + 1.0))

    def _round(self) -> list[Ended]:
        stock = {key: run.stock for key, run in self.open.items() if run.stock is not None}
        ended = []
        for key, run in list(self.open.items()):  # a callback may have been lost, or a result was slow to come
            if (outcome := run.look(self._patience())) is not None:
                ended.append(self._close(key, outcome))
        silent = {each.run_id: key for key, each in stock.items() if key in self.open and each.run_id is not None}
        ids = [run_id for run_id in silent if self.open[silent[run_id]].stock is not None]
        now = time.monotonic()
        for run_id, task_run in task_runs(self._some(ids)).items():
            run, state = self.open[silent[run_id]], task_run.state
            grace = _grace(run, state)
            if state is None or grace is None:
                run.dead_since = None
            elif run.dead_since is None or run.dead_since[1].id != state.id:
                run.dead_since = (now, state)
            elif now - run.dead_since[0] >= grace and run.stock is not None:
                ended.append(self._close(silent[run_id], run.stock.of_api(state)))
        return ended

    def _some(self, ids: list[UUID]) -> list[UUID]:
        """Return one page of ids to ask for: those in question, then others in turn, so that a round stays cheap."""
        turn = int(self._next_round / TICK) * PAGE % max(len(ids), 1)
        return (ids[turn:] + ids[:turn])[:PAGE]


def _grace(run: Run, state: State[Any] | None) -> float | None:
    """Return how long a silent run may still be alive, given what the API says; None when nothing says it is dead."""
    if state is None or not state.is_final():
        return None
    process = runner_of(run.future) == "process"
    if state.is_completed():
        return LONG_GRACE if process else None  # Dask may have to compute it once more, for as long as it takes
    return GRACE if process else LONG_GRACE
