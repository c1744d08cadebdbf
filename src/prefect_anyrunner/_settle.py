"""Waiting for task runs: `settle`, `gather`, `as_settled` and their async twins; the only code that waits."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from prefect_anyrunner._outcome import Outcome, Status
from prefect_anyrunner._policy import FailurePolicy, as_policy
from prefect_anyrunner._prefect import raise_if_suspended
from prefect_anyrunner._progress import Progress, ProgressArgument, following
from prefect_anyrunner._report import Report
from prefect_anyrunner._shape import laid_out
from prefect_anyrunner._waiting import Ended, Waiting, checked_timeout

T = TypeVar("T")
TURN = 0.05
"""Seconds that an event loop may stand still at a time, where a worker is lent to others only meanwhile (Ray)."""


def settle(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
) -> Report:
    """Wait until all task runs have ended and return what became of them; never raises because a task failed.

    Args:
        futures: a future, an iterable of futures, or nested lists, tuples and dicts of them, of any task runner.
            Duplicates are answered each time (rule O1); nothing to wait for is an empty report.
        policy: when failures are too many, and what happens then; a `FailurePolicy` or its text, `"tolerate=5%"`.
        timeout: seconds to wait at most; what has not ended by then is UNFINISHED and goes on running.
        progress: a function that is called with (done, failed, total) as runs end, or True for a progress bar on
            stderr, which stays away when that is no terminal. Log lines of this process stand above the bar; those
            of workers on the same terminal are written across it.

    Returns:
        A `Report`: outcomes in the order of `futures`. Settling again gives an equal one (rule O2).

    Raises:
        TypeError: something in `futures` is neither a future nor a container, or an argument has a wrong type.
        ValueError: `timeout` is negative or not a number, or `policy` cannot be read.
    """
    return _settled(_Settling(futures, policy, timeout), progress)


def gather(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
    default: Any = None,
) -> Any:
    """Wait until all task runs have ended and return their results in the shape of `futures`.

    Takes and raises what `settle` does. Runs that failed but are tolerated by `policy` have `default` in their places.
    A generator, a set or another iterable gives a list.

    Raises:
        TaskRunsFailed: a run did not complete, beyond what `policy` tolerates; it holds what each one raised.
    """
    settling = _Settling(futures, policy, timeout)
    return settling.results(_settled(settling, progress), default)


async def asettle(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
) -> Report:
    """Do what `settle` does without blocking the event loop.

    When the awaiting task is cancelled the wait ends and the runs are left alone.
    """
    return await _asettled(_Settling(futures, policy, timeout), progress)


async def agather(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
    default: Any = None,
) -> Any:
    """Do what `gather` does without blocking the event loop; see `asettle`."""
    settling = _Settling(futures, policy, timeout)
    return settling.results(await _asettled(settling, progress), default)


class as_settled:  # used like a function, as `concurrent.futures.as_completed` is
    """Iterate over outcomes as runs end, with `for` or with `async for`.

    Takes `futures` and `timeout` as `settle` does, and raises the same errors. Each place in `futures` is answered
    once; what has not ended when `timeout` seconds have passed since the iteration began comes last, as UNFINISHED.
    Leaving the loop early leaves the runs alone.
    """

    def __init__(self, futures: Any, *, timeout: float | None = None) -> None:
        self._places, _ = laid_out(futures)
        self._timeout = checked_timeout(timeout)

    def __iter__(self) -> Iterator[Outcome]:
        waiting = Waiting(self._places, self._timeout)
        known: list[Outcome] = []
        for batch in _rounds(waiting, lend=True):
            yield from _as_told(waiting, batch, known)
        raise_if_suspended()

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        waiting = Waiting(self._places, self._timeout)
        known: list[Outcome] = []
        async for batch in _arounds(waiting, lend=True):
            for outcome in await _aside(waiting, _as_told, waiting, batch, known):
                yield outcome
        raise_if_suspended()


@contextmanager
def recording(into: list[Report] | None = None) -> Iterator[list[Report]]:
    """Collect the report of every `settle` and `gather` inside the `with` block, in this context and its tasks.

    They are appended to `into`, or to a new list.
    """
    reports: list[Report] = [] if into is None else into
    token = _recording.set((*_recording.get(), reports))
    try:
        yield reports
    finally:
        _recording.reset(token)


_recording: ContextVar[tuple[list[Report], ...]] = ContextVar("prefect_anyrunner_recording", default=())


class _Settling:
    """What one `settle` knows while it waits: what has ended, and whether failures are too many."""

    def __init__(self, futures: Any, policy: FailurePolicy | str | None, timeout: float | None) -> None:
        self.policy = as_policy(policy)
        seconds = checked_timeout(timeout)
        places, self._rebuild = laid_out(futures)
        self.waiting = Waiting(places, seconds)
        self.allowed = self.policy.allowed(len(self.waiting.runs))
        self._at_hand = {getattr(place.future, "task_run_id", None) for place in places}
        self._ended: list[Ended] = []
        self._withdrawn: set[int] = set()
        self._done = self._failed = self._roots = 0
        self._tripped = False

    def note(self, batch: Sequence[Ended], follow: Progress) -> bool:
        """Take in what has ended; True once, when the policy says that something must be stopped now."""
        for run, outcome in batch:
            self._done += len(run.places)
            if outcome.status is not Status.COMPLETED:
                self._failed += len(run.places)
                self._roots += self._is_root(outcome) and id(run.future) not in self._withdrawn
        self._ended += batch
        if batch:
            follow(self._done, self._failed, len(self.waiting.places))
        if self._tripped or self._roots <= self.allowed:
            return False
        self._tripped = True
        return self.policy.then != "finish"

    def _is_root(self, outcome: Outcome) -> bool:
        if outcome.status is Status.BLOCKED:
            return self._at_hand.isdisjoint(outcome.upstream)
        return True

    def stop(self) -> None:
        """Do what the policy says to the runs that have not ended."""
        self._withdrawn |= self.waiting.cancel(running=self.policy.then == "cancel")

    def report(self) -> Report:
        """Return the report, once nothing is open any more."""
        outcomes: list[Outcome | None] = [None] * len(self.waiting.places)
        cancelled: set[int] = set()
        for run, told in self.waiting.told(self._ended, [outcome for _, outcome in self._ended]):
            for outcome in self.waiting.placed(run, told):
                outcomes[outcome.index] = outcome
                if id(run.future) in self._withdrawn and outcome.status is Status.CANCELLED:
                    cancelled.add(outcome.index)
        report = Report(
            [outcome for outcome in outcomes if outcome is not None], tolerated=self.allowed, withdrawn=cancelled
        )
        for reports in _recording.get():
            reports.append(report)
        return report

    def results(self, report: Report, default: Any) -> Any:
        """Return the results in the shape of the argument, or raise for the failures."""
        report = report.brought()
        report.raise_for_failures()
        return self._rebuild(report.results(default=default))


def _settled(settling: _Settling, progress: ProgressArgument) -> Report:
    with following(progress, len(settling.waiting.places)) as follow, settling.waiting.blocking():
        for batch in _rounds(settling.waiting):
            if settling.note(batch, follow):
                settling.stop()
        raise_if_suspended()
        return settling.report()


async def _asettled(settling: _Settling, progress: ProgressArgument) -> Report:
    with following(progress, len(settling.waiting.places)) as follow, settling.waiting.blocking():
        async for batch in _arounds(settling.waiting):
            if settling.note(batch, follow):
                await asyncio.to_thread(settling.stop)
        raise_if_suspended()
        return await _aside(settling.waiting, settling.report)


def _rounds(waiting: Waiting, *, lend: bool = False) -> Iterator[list[Ended]]:
    """Yield what has ended, time and again, until nothing is open; with `lend` free this worker during each wait."""
    inbox: queue.SimpleQueue[int] = queue.SimpleQueue()
    yield waiting.subscribe(inbox.put)
    while waiting.open and waiting.deadline.remaining() > 0:
        keys = []
        with suppress(queue.Empty):
            if lend:
                with waiting.blocking():
                    waiting.lend()
                    keys.append(inbox.get(timeout=waiting.pause()))
            else:
                waiting.lend()
                keys.append(inbox.get(timeout=waiting.pause()))
            while True:
                keys.append(inbox.get_nowait())
        if not keys:
            raise_if_suspended()
        yield waiting.took(keys)
    yield waiting.rest()


async def _arounds(waiting: Waiting, *, lend: bool = False) -> AsyncIterator[list[Ended]]:
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[int] = asyncio.Queue()

    def tell(key: int) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(inbox.put_nowait, key)

    yield await _aside(waiting, waiting.subscribe, tell)
    while waiting.open and waiting.deadline.remaining() > 0:
        keys = []
        with suppress(TimeoutError):
            async with asyncio.timeout(waiting.pause()):
                while waiting.lends and inbox.empty():  # the worker is lent and the loop goes on, in turn
                    waiting.lend(TURN)
                    await asyncio.sleep(TURN)
                if lend:
                    with waiting.blocking():
                        keys.append(await inbox.get())
                else:
                    keys.append(await inbox.get())
        while not inbox.empty():
            keys.append(inbox.get_nowait())
        if not keys:
            raise_if_suspended()
        yield await _aside(waiting, waiting.took, keys)
    yield await _aside(waiting, waiting.rest)


async def _aside(waiting: Waiting, call: Callable[..., T], *args: Any) -> T:
    """Call `call` in a worker thread if it may block, which only stock futures do."""
    return await asyncio.to_thread(call, *args) if waiting.has_stock else call(*args)


def _as_told(waiting: Waiting, batch: Sequence[Ended], known: list[Outcome]) -> list[Outcome]:
    told = waiting.told(batch, known)
    known += [outcome for _, outcome in told]
    return [placed for run, outcome in told for placed in waiting.placed(run, outcome)]
