"""Waiting for task runs: `settle`, `gather`, `as_settled` and their async twins; the only code that waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

from prefect_anyrunner._base.public import public
from prefect_anyrunner._outcomes.outcome import Outcome
from prefect_anyrunner._outcomes.report import Report
from prefect_anyrunner._prefect.private import raise_if_suspended
from prefect_anyrunner._waiting.flatten import laid_out
from prefect_anyrunner._waiting.policy import FailurePolicy
from prefect_anyrunner._waiting.poll import _arounds, _aside, _rounds
from prefect_anyrunner._waiting.progress import ProgressArgument
from prefect_anyrunner._waiting.runs import Ended, checked_timeout
from prefect_anyrunner._waiting.session import _asettled, _settled, _Settling
from prefect_anyrunner._waiting.wait_set import Waiting

T = TypeVar("T")


@public
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


@public
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


@public
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


@public
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


@public
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


def _as_told(waiting: Waiting, batch: Sequence[Ended], known: list[Outcome]) -> list[Outcome]:
    told = waiting.told(batch, known)
    known += [outcome for _, outcome in told]
    return [placed for run, outcome in told for placed in waiting.placed(run, outcome)]
