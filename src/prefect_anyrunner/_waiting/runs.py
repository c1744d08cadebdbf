"""One future that is being waited for, and the protocol of futures that report their own outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard
from uuid import UUID
from weakref import WeakKeyDictionary

from prefect.client.schemas.objects import State
from prefect.exceptions import UnfinishedRun

from prefect_anyrunner._base.status import Status
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._waiting.stock.run import FETCH_SECONDS, StockRun, runner_of
from prefect_anyrunner._waiting.stock.state_future import UNNAMED

if TYPE_CHECKING:
    from prefect_anyrunner._waiting.flatten import Position

Ended = tuple["WaitedRun", Outcome]
"""A run that has ended, and its outcome."""

stock_outcomes: WeakKeyDictionary[Any, Outcome] = WeakKeyDictionary()
"""Outcomes of stock futures, kept so that settling again gives the same ones after their runner has stopped (O2)."""


class SettledFuture(Protocol):
    """The futures of our own runners: `outcome()` reports everything about the run.

    Futures of other packages can be settled too if they have these methods. These attributes are optional:
    `task_name`, `runner_name`, a method `mark_awaited()` that is called when a wait begins, and `runner`.
    """

    task_run_id: UUID

    def outcome(self) -> Outcome | None:
        """Return the outcome, or None while the run has not ended; neither blocks nor raises."""
        ...

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None:
        """Call `fn(self)`, in any thread, once the run has ended."""
        ...

    def cancel(self, *, running: bool) -> bool:
        """Ask the run to stop; return True if it will end cancelled."""
        ...


class WaitingRunner(Protocol):
    """The runner of an open future, which the future offers as `runner` until it ends; see `_driver/future.py`."""

    def cancel_runs(self, task_run_ids: Sequence[UUID], *, running: bool) -> list[bool]:
        """Ask several runs to stop; return for each whether it will end cancelled."""
        ...

    def release_worker(self) -> AbstractContextManager[None]:
        """Free the worker of the calling task inside the `with` block (rule N1)."""
        ...

    @property
    def waits_in_engine(self) -> bool:
        """Whether the engine frees the worker of the calling task only while that task waits in `wait_in_engine`."""
        ...

    def wait_in_engine(self, futures: Sequence[Any], timeout: float | None) -> None:
        """Wait for one of `futures` in the engine, for at most `timeout` seconds."""
        ...


def has_outcome(future: object) -> TypeGuard[SettledFuture]:
    """Return whether `future` reports its own outcome; any other future is treated as a stock one."""
    return callable(getattr(type(future), "outcome", None))


class Deadline:
    """The moment at which a wait gives up, by the monotonic clock."""

    def __init__(self, timeout: float | None) -> None:
        self.timeout = timeout
        self._at = math.inf if timeout is None else time.monotonic() + timeout

    def remaining(self) -> float:
        """Return the number of seconds left; negative afterwards, infinite without a timeout."""
        return self._at - time.monotonic()


def checked_timeout(timeout: object) -> float | None:
    """Return `timeout` in seconds; raise `TypeError` or `ValueError` if it is not a duration."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:  # false for NaN too
        raise ValueError(f"timeout must be a number of seconds from 0 up, not {timeout!r}")
    return float(timeout)


class WaitedRun:
    """One future and its positions. A future that was passed twice is waited for once and answered twice."""

    __slots__ = ("asked", "dead_since", "future", "positions", "stock")

    def __init__(self, future: Any) -> None:
        self.future = future
        self.positions: list[Position] = []
        self.stock = None if has_outcome(future) else StockRun(future)
        self.dead_since: tuple[float, State[Any]] | None = None
        self.asked = -math.inf
        """The moment at which the API was last asked about it, by the monotonic clock."""

    def poll(self, timeout: float = FETCH_SECONDS) -> Outcome | None:
        """Return the outcome if the run has ended."""
        if self.stock is None:
            outcome: Outcome | None = self.future.outcome()
            return outcome
        return stock_outcomes.get(self.future) or self.stock.poll(timeout)

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
        """Ask the run to stop; return True if it will end cancelled."""
        if self.stock is None:
            return bool(self.future.cancel(running=running))
        return self.stock.withdraw()
