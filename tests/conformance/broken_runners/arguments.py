"""Runners that break rules V and U: arguments and results, and upstream runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from prefect import allow_failure
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import opaque, quote

from prefect_anyrunner import CannotTravel, Outcome, Status
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Run
from tests.conformance.broken_runners.base import Threads, breaks, crashed


@breaks("V1-argument", "V1-result", portable=True)
class CrashesWhenPicklingFails(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        return crashed(outcome) if isinstance(outcome.error, CannotTravel) else outcome


@breaks("V1-argument", "V1-result", portable=True)
class NamesNoObject(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        if not isinstance(outcome.error, CannotTravel):
            return outcome
        return replace(outcome, error=TypeError("cannot pickle '_thread.lock' object"))


@breaks("V1-argument", portable=True)
class RefusesToSubmit(Threads):
    """Pickles in `submit`, so that the error ends the whole map."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        if any(type(value).__name__ == "lock" for value in parameters.values()):
            raise TypeError("cannot pickle '_thread.lock' object")
        return super().send(task, parameters, *rest)


@breaks("V2-portable")
class SharesItsMemory(Threads):
    """Accepts `portable=True` and passes arguments as they are."""

    def __enter__(self) -> Self:
        self.portable = False
        return super().__enter__()


@breaks("U1-argument")
class NamesTheNearest(Threads):
    """Names the run that the argument comes from, not the one that failed."""

    def change(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.status is not Status.BLOCKED or run.wait_for:
            return outcome
        return replace(outcome, upstream=tuple(each.task_run_id for each in run.upstreams))


@breaks("U1-wait-for")
class IgnoresWaitFor(Threads):
    def send(self, task: Any, parameters: Any, wait_for: Any, dependencies: Any) -> AnyFuture[Any]:
        return super().send(task, parameters, None, dependencies)


class _Unwraps(Threads):
    """Removes an annotation from its value."""

    annotation: type[Any]

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        bare = {
            name: value.unwrap() if isinstance(value, self.annotation) else value for name, value in parameters.items()
        }
        return super().send(task, bare, *rest)


@breaks("U2-annotations")
class IgnoresAllowFailure(_Unwraps):
    annotation = allow_failure


@breaks("U2-annotations")
class IgnoresQuote(_Unwraps):
    annotation = quote


@breaks("U2-annotations")
class WrapsAllowedFailures(Threads):
    """Passes an allowed failure as a tuple."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        allowed = parameters.get("value")
        if isinstance(allowed, allow_failure):
            future: Any = allowed.unwrap()
            future.wait()
            error = future.outcome().error
            if error is not None:
                parameters = {**parameters, "value": (error,)}
        return super().send(task, parameters, *rest)


@breaks("U2-opaque")
class KeepsOpaqueClosed(Threads):
    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        closed = {
            name: quote(value.unwrap()) if isinstance(value, opaque) else value for name, value in parameters.items()
        }
        return super().send(task, closed, *rest)


@breaks("U3-other-runner", "U3-unfinished")
class IgnoresOtherFutures(Threads):
    """Passes None for the future of another runner."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        known = {
            name: None if isinstance(value, PrefectFuture) and not isinstance(value, AnyFuture) else value
            for name, value in parameters.items()
        }
        return super().send(task, known, *rest)
