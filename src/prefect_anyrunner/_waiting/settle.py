"""Waiting for task runs: `settle`, `gather`, `as_settled` and their async twins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from prefect_anyrunner._base.public import public
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._reports.report import Report
from prefect_anyrunner._waiting.flatten import flatten
from prefect_anyrunner._waiting.policy import FailurePolicy
from prefect_anyrunner._waiting.poll import await_loop, in_thread_if_blocking, wait_loop
from prefect_anyrunner._waiting.progress import ProgressArgument
from prefect_anyrunner._waiting.runs import Ended, checked_timeout
from prefect_anyrunner._waiting.session import SettleSession
from prefect_anyrunner._waiting.wait_set import WaitSet, at_positions


@public
def settle(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
    report: bool | None = None,
) -> Report:
    """Wait until all task runs have ended and return their outcomes; never raises because a task failed.

    Args:
        futures: a future, an iterable of futures, or nested lists, tuples and dicts of them, of any task runner.
            A future that is passed twice is answered twice (rule O1). Without futures the report is empty.
        policy: how many failures are too many, and what happens then; a `FailurePolicy` or its text, `"tolerate=5%"`.
        timeout: seconds to wait at most. A run that has not ended by then is UNFINISHED and goes on running.
        progress: a function that is called with (done, failed, total) as runs end, or True for a progress bar. The bar
            is drawn below the cell of a notebook, or on stderr if stderr is a terminal. Log lines of this process
            appear above the bar; those of workers on the same terminal are written across it.
        report: whether the flow run gets an artifact that describes the failures, in the Prefect UI. By default it gets
            one when `TaskRunsFailed` is raised; True makes one in any case, False never. A wait in a task makes none.

    Returns:
        A `Report` of the outcomes in the order of `futures`. Settling again returns an equal one (rule O2).

    Raises:
        TypeError: an item of `futures` is neither a future nor a container, or an argument has a wrong type.
        ValueError: `timeout` is negative or not a number, or `policy` cannot be read.
    """
    session = SettleSession(futures, policy, timeout, report)
    try:
        return session.settle(progress)
    except KeyboardInterrupt as exc:  # the user does not need the traceback of the wait
        raise exc.with_traceback(None) from None


@public
def gather(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
    default: Any = None,
    report: bool | None = None,
) -> Any:
    """Wait until all task runs have ended and return their results in the shape of `futures`.

    It takes the arguments of `settle` and raises the same errors. A run that failed but is tolerated by `policy` has
    `default` in its place. A generator, a set or another iterable gives a list.

    Raises:
        TaskRunsFailed: more runs did not complete than `policy` tolerates; it holds the exception of each.
    """
    session = SettleSession(futures, policy, timeout, report)
    try:
        settled = session.settle(progress)
    except KeyboardInterrupt as exc:
        raise exc.with_traceback(None) from None
    return session.results(settled, default)


@public
async def asettle(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
    report: bool | None = None,
) -> Report:
    """Do what `settle` does without blocking the event loop.

    When the awaiting asyncio task is cancelled, the wait ends and the runs go on.
    """
    return await SettleSession(futures, policy, timeout, report).asettle(progress)


@public
async def agather(
    futures: Any,
    *,
    policy: FailurePolicy | str | None = None,
    timeout: float | None = None,
    progress: ProgressArgument = None,
    default: Any = None,
    report: bool | None = None,
) -> Any:
    """Do what `gather` does without blocking the event loop; see `asettle`."""
    session = SettleSession(futures, policy, timeout, report)
    settled = await session.asettle(progress)
    return session.results(await asyncio.to_thread(settled.fetched), default)


@public
class as_settled:  # used like a function, as `concurrent.futures.as_completed` is
    """Iterate over outcomes as runs end, with `for` or with `async for`.

    It takes `futures` and `timeout` as `settle` does, and raises the same errors. Each position in `futures` is
    answered once. Runs that have not ended when `timeout` seconds have passed since the iteration began come last, as
    UNFINISHED. Leaving the loop early does not affect the runs.
    """

    def __init__(self, futures: Any, *, timeout: float | None = None) -> None:
        self._positions, _ = flatten(futures)
        self._timeout = checked_timeout(timeout)

    def __iter__(self) -> Iterator[Outcome]:
        wait_set = WaitSet(self._positions, self._timeout)
        known: list[Outcome] = []
        for batch in wait_loop(wait_set, release=True):
            yield from _outcomes_of(wait_set, batch, known)
        raise_if_suspended()

    async def __aiter__(self) -> AsyncIterator[Outcome]:
        wait_set = WaitSet(self._positions, self._timeout)
        known: list[Outcome] = []
        async for batch in await_loop(wait_set, release=True):
            for outcome in await in_thread_if_blocking(wait_set, _outcomes_of, wait_set, batch, known):
                yield outcome
        raise_if_suspended()


def _outcomes_of(wait_set: WaitSet, batch: Sequence[Ended], known: list[Outcome]) -> list[Outcome]:
    """Return an outcome for each position of the runs in `batch`; add those of the runs to `known`."""
    detailed = wait_set.with_details(batch, known)
    known += [outcome for _, outcome in detailed]
    return [placed for run, outcome in detailed for placed in at_positions(run, outcome)]
