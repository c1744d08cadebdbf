"""Runners that break rules O and F: the order of outcomes, and exceptions of bodies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner._driver.run import Run
from tests.conformance.broken_runners.base import ChangedFuture, OtherTask, Threads, breaks, crashed


@breaks("O1-many")
class AsTheyComeFromMap(Threads):
    """Returns the futures of a wide map in another order."""

    def spread(self, futures: list[Any]) -> list[Any]:
        return futures[::-1] if len(futures) > 50 else futures


@breaks("O1-equal")
class MergesEqualSubmits(Threads):
    """Takes equal submits of one map for one run, as if tasks were pure functions."""

    def spread(self, futures: list[Any]) -> list[Any]:
        seen: dict[str, Any] = {}
        return [seen.setdefault(repr(future.arguments), future) for future in futures]


class _Forgets(ChangedFuture):
    asked = False

    def outcome(self) -> Outcome | None:
        outcome = super().outcome()
        if outcome is not None and self.asked and self.source.over:
            return replace(outcome, _value=None)
        self.asked = self.asked or outcome is not None
        return outcome


@breaks("O2-again")
class ForgetsSettledResults(Threads):
    """Drops the results that were read before it stops."""

    future = _Forgets


class _Changes(Threads):
    """Changes the errors of bodies."""

    def change(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.status is not Status.FAILED or outcome.error is None:
            return outcome
        return replace(outcome, error=self.change_error(outcome.error))

    def change_error(self, error: BaseException) -> BaseException:
        raise NotImplementedError


@breaks("F1-whole")
class LosesCause(_Changes):
    def change_error(self, error: BaseException) -> BaseException:
        error.__cause__ = None
        return error


@breaks("F1-context")
class LosesContext(_Changes):
    def change_error(self, error: BaseException) -> BaseException:
        if error.__cause__ is None:
            error.__context__ = None
        return error


@breaks("F1-whole")
class LosesTraceback(_Changes):
    def change_error(self, error: BaseException) -> BaseException:
        return error.with_traceback(None)


@breaks("F1-whole")
class LosesAttributes(_Changes):
    def change_error(self, error: BaseException) -> BaseException:
        vars(error).pop("code", None)
        return error


@breaks("F1-whole")
class LosesNotes(_Changes):
    def change_error(self, error: BaseException) -> BaseException:
        if type(error).__name__ == "Broken" and hasattr(error, "__notes__"):
            del error.__notes__
        return error


@breaks("F2-init")
class LosesClass(_Changes):
    """Replaces an error that cannot be made from its args by one of another class."""

    def change_error(self, error: BaseException) -> BaseException:
        return Exception(str(error)) if type(error).__name__ == "KeywordOnly" else error


@breaks("F2-built-in")
class LosesText(_Changes):
    """Rebuilds an error without its `__init__`, so that fields of C are empty."""

    def change_error(self, error: BaseException) -> BaseException:
        return SyntaxError() if isinstance(error, SyntaxError) else error


@breaks("F3-group")
class FlattensGroups(_Changes):
    def change_error(self, error: BaseException) -> BaseException:
        return error.exceptions[0] if isinstance(error, ExceptionGroup) else error


@breaks("F4-stand-in", "F4-local-class")
class FailsToPickle(_Changes):
    """Replaces an error that cannot be pickled by the error of pickling it."""

    def change_error(self, error: BaseException) -> BaseException:
        if self.portable or type(error).__name__ not in ("HoldsLock", "Local"):
            return error
        return TypeError("cannot pickle '_thread.lock' object")


@breaks("F5-ours-too")
class TakesMemoryErrorForACrash(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        return crashed(outcome) if isinstance(outcome.error, MemoryError) else outcome


@breaks("F5-ours-too")
class TakesTimeoutErrorForItsOwn(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        theirs = isinstance(outcome.error, TimeoutError) and "from the task" in str(outcome.error)
        return replace(outcome, status=Status.UNFINISHED) if theirs else outcome


@breaks("F6-retries", "F6-attempts", "F6-retry-condition")
class NeverRetries(OtherTask):
    options: ClassVar[dict[str, Any]] = {"retries": 0}


@breaks("F6-retry-condition")
class RetriesEveryError(OtherTask):
    options: ClassVar[dict[str, Any]] = {"retry_condition_fn": lambda *_: True}


@breaks("F6-hooks")
class CallsNoHooks(OtherTask):
    options: ClassVar[dict[str, Any]] = {
        name: [lambda *_: None] for name in ("on_failure", "on_completion", "on_running")
    }


@breaks("F6-timeout")
class CrashesTimedOutRuns(Threads):
    def change(self, run: Run, outcome: Outcome) -> Outcome:
        late = outcome.state is not None and outcome.state.name == "TimedOut"
        return crashed(outcome) if late else outcome


@breaks("F6-returned-state")
class TakesStatesForResults(Threads):
    """Takes every run whose body returned for completed, even if it returned a failed state."""

    def change(self, run: Run, outcome: Outcome) -> Outcome:
        returned = outcome.state is not None and outcome.state.message == "on purpose"
        return replace(outcome, status=Status.COMPLETED, error=None) if returned else outcome
