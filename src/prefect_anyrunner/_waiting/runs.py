"""One future that is being waited for."""

from __future__ import annotations

import math
import time
from typing import Any
from weakref import WeakKeyDictionary

from prefect.client.schemas.objects import State
from prefect.exceptions import UnfinishedRun

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._waiting.stock.run import FETCH, StockRun, runner_of
from prefect_anyrunner._waiting.stock.state_future import UNNAMED

Ended = tuple["Run", Outcome]


_settled: WeakKeyDictionary[Any, Outcome] = WeakKeyDictionary()
"""What stock futures have said, so that they say it again after their runner has stopped (rule O2)."""


class Deadline:
    """The one moment at which a wait is given up, by the monotonic clock."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._at = math.inf if timeout is None else time.monotonic() + timeout

    def remaining(self) -> float:
        """Return how many seconds are left; negative afterwards, infinite without a timeout."""
        return self._at - time.monotonic()


def checked_timeout(timeout: object) -> float | None:
    """Return `timeout` as seconds; raises `TypeError` or `ValueError` for what is no duration."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:  # NaN is not, either
        raise ValueError(f"timeout must be a number of seconds from 0 up, not {timeout!r}")
    return float(timeout)


class Run:
    """One future and the places it stood in: a duplicate is waited for once and answered each time."""

    __slots__ = ("dead_since", "future", "places", "stock")

    def __init__(self, future: Any) -> None:
        self.future = future
        self.places: list[int] = []
        self.stock = None if callable(getattr(type(future), "outcome", None)) else StockRun(future)
        self.dead_since: tuple[float, State[Any]] | None = None

    def look(self, timeout: float = FETCH) -> Outcome | None:
        """Return the outcome if the run has ended."""
        if self.stock is None:
            outcome: Outcome | None = self.future.outcome()
            return outcome
        return _settled.get(self.future) or self.stock.look(timeout)

    def unfinished(self, timeout: float | None) -> Outcome:
        """Return the outcome of a run that has not ended in time."""
        error = UnfinishedRun(
            f"It had not ended after {timeout:g} seconds." if timeout is not None else "It has not ended."
        )
        if self.stock is None:
            return Outcome(
                task_name=getattr(self.future, "task_name", UNNAMED),
                task_run_id=self.future.task_run_id,
                status=Status.UNFINISHED,
                error=error,
                runner=getattr(self.future, "runner_name", None),
            )
        run_id, runner = self.stock.run_id, runner_of(self.future)
        return Outcome(task_name=UNNAMED, task_run_id=run_id, status=Status.UNFINISHED, error=error, runner=runner)

    def cancel(self, *, running: bool) -> bool:
        """Ask the run to stop; True when it will end cancelled."""
        if self.stock is None:
            return bool(self.future.cancel(running=running))
        return self.stock.withdraw()
