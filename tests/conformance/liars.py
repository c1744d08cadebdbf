"""Task runners that break one promise each, so that the table can be seen to catch it.

    LIES    one `Lie` for each of them: its runner, and the cases that must fail on it

Each is our thread or process runner with one thing wrong, at the place where a real one would have it wrong.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from prefect import allow_failure
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TagsContext, TaskRunContext
from prefect.exceptions import CrashedRun
from prefect.futures import PrefectFuture, PrefectFutureList
from prefect.states import Completed, Pending, Running
from prefect.utilities.annotations import opaque, quote
from prefect.utilities.engine import emit_task_run_state_change_event

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner
from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner

WORKERS = 2


@dataclass(frozen=True)
class Lie:
    """One broken promise.

    `cases`: the ids of the cases that must fail, all of one rule. `within`: seconds that
    they wait for what never comes.
    `portable`: on threads that make the round trip, which cases of values that cannot travel can be put to.
    """

    runner: Callable[..., Any]
    cases: tuple[str, ...]
    within: float | None = None
    portable: bool = False
    process: bool = False
    setting: dict[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        return self.cases[0].partition("-")[0]

    @property
    def name(self) -> str:
        return f"{self.rule}-{getattr(self.runner, '__name__', '')}"


LIES: list[Lie] = []


def lie(*cases: str, **more: Any) -> Callable[[Any], Any]:
    def put(runner: Any) -> Any:
        LIES.append(Lie(runner, cases, process=issubclass(runner, ProcessPoolTaskRunner), **more))
        return runner

    return put


class TellingFuture(AnyFuture[Any]):
    """A future that tells what its runner wants it to tell."""

    def __init__(self, run: Run, runner: Any) -> None:
        true = run.future
        super().__init__(
            true.task_run_id,
            task_name=true.task_name,
            runner_name=true.runner_name,
            map_index=true.map_index,
            tracker=runner,
        )
        self.run = run
        self.runner = runner
        self.arguments = dict(run.parameters)

    def resolve(self, outcome: Outcome) -> bool:
        return super().resolve(self.runner.tell(self.run, outcome))


class Threads(ThreadPoolTaskRunner):
    """Threads that tell lies by `tell`, by their `future`, or in what a subclass overrides."""

    future: type[TellingFuture] = TellingFuture
    alive: ClassVar[weakref.WeakSet[Threads]] = weakref.WeakSet()

    def __init__(self, max_workers: int | None = None, *, portable: bool = False) -> None:
        super().__init__(max_workers or WORKERS, portable=portable)
        self.over = False

    def __enter__(self) -> Self:
        self.alive.add(self)
        return super().__enter__()

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        self.over = True

    def __hash__(self) -> int:  # type: ignore[override]  # to be kept in `alive`
        return id(self)

    def submit(self, task: Any, parameters: Any, wait_for: Any = None, dependencies: Any = None) -> AnyFuture[Any]:  # type: ignore[override]
        return self.send(task, parameters, wait_for, dependencies)

    def send(self, task: Any, parameters: dict[str, Any], wait_for: Any, dependencies: Any) -> AnyFuture[Any]:
        return super().submit(task, parameters, wait_for, dependencies)

    def map(self, *args: Any, **kwargs: Any) -> Any:
        return PrefectFutureList(self.spread(list(super().map(*args, **kwargs))))  # type: ignore[abstract]  # it is not

    def spread(self, futures: list[Any]) -> list[Any]:
        return futures

    def _track(self, *args: Any) -> Run:
        run = super()._track(*args)
        run.future = self.future(run, self)
        return run

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        return outcome


class Processes(ProcessPoolTaskRunner):
    """Processes that tell lies by `tell` or in what a subclass overrides."""

    def __init__(self, max_workers: int | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(max_workers or WORKERS, *args, **kwargs)

    def submit(self, task: Any, parameters: Any, wait_for: Any = None, dependencies: Any = None) -> AnyFuture[Any]:  # type: ignore[override]
        return self.send(task, parameters, wait_for, dependencies)

    def send(self, task: Any, parameters: dict[str, Any], wait_for: Any, dependencies: Any) -> AnyFuture[Any]:
        return super().submit(task, parameters, wait_for, dependencies)

    def _track(self, *args: Any) -> Run:
        run = super()._track(*args)
        run.future = TellingFuture(run, self)
        return run

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        return outcome


# --- O: order, and settling again --------------------------------------------------------------------------------


@lie("O1-many")
class AsTheyComeFromMap(Threads):
    """Gives the futures of a wide map in another order."""

    def spread(self, futures: list[Any]) -> list[Any]:
        return futures[::-1] if len(futures) > 50 else futures


@lie("O1-equal")
class MergesEqualSubmits(Threads):
    """Takes equal submits of one map for one run, as pure functions are."""

    def spread(self, futures: list[Any]) -> list[Any]:
        seen: dict[str, Any] = {}
        return [seen.setdefault(repr(future.arguments), future) for future in futures]


class _Forgets(TellingFuture):
    asked = False

    def outcome(self) -> Outcome | None:
        outcome = super().outcome()
        if outcome is not None and self.asked and self.runner.over:
            return replace(outcome, _value=None)
        self.asked = self.asked or outcome is not None
        return outcome


@lie("O2-again")
class ForgetsWhatWasSettled(Threads):
    """Drops the results that somebody has seen when it stops."""

    future = _Forgets


# --- F: failures -------------------------------------------------------------------------------------------------


class _Changes(Threads):
    """Changes errors on their way."""

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.status is not Status.FAILED or outcome.error is None:
            return outcome
        return replace(outcome, error=self.change(outcome.error))

    def change(self, error: BaseException) -> BaseException:
        raise NotImplementedError


@lie("F1-whole")
class LosesCause(_Changes):
    def change(self, error: BaseException) -> BaseException:
        error.__cause__ = None
        return error


@lie("F1-context")
class LosesContext(_Changes):
    def change(self, error: BaseException) -> BaseException:
        if error.__cause__ is None:
            error.__context__ = None
        return error


@lie("F1-whole")
class LosesTraceback(_Changes):
    def change(self, error: BaseException) -> BaseException:
        return error.with_traceback(None)


@lie("F1-whole")
class LosesAttributes(_Changes):
    def change(self, error: BaseException) -> BaseException:
        vars(error).pop("code", None)
        return error


@lie("F1-whole")
class LosesNotes(_Changes):
    def change(self, error: BaseException) -> BaseException:
        if type(error).__name__ == "Broken" and hasattr(error, "__notes__"):
            del error.__notes__
        return error


@lie("F2-init")
class LosesClass(_Changes):
    """Gives another class for what cannot be made from its args."""

    def change(self, error: BaseException) -> BaseException:
        return Exception(str(error)) if type(error).__name__ == "KeywordOnly" else error


@lie("F2-built-in")
class LosesText(_Changes):
    """Rebuilds an error without its `__init__`, which is where C keeps the text."""

    def change(self, error: BaseException) -> BaseException:
        return SyntaxError() if isinstance(error, SyntaxError) else error


@lie("F3-group")
class FlattensGroups(_Changes):
    def change(self, error: BaseException) -> BaseException:
        return error.exceptions[0] if isinstance(error, ExceptionGroup) else error


@lie("F4-stand-in", "F4-local-class")
class FailsToPickle(_Changes):
    """Gives the error of pickling for one that cannot be pickled."""

    def change(self, error: BaseException) -> BaseException:
        if self.portable or type(error).__name__ not in ("HoldsLock", "Local"):
            return error
        return TypeError("cannot pickle '_thread.lock' object")


def _crashed(outcome: Outcome) -> Outcome:
    error = CrashedRun(str(outcome.error))
    error.__cause__ = outcome.error
    return replace(outcome, status=Status.CRASHED, error=error)


@lie("F5-ours-too")
class TakesMemoryErrorForACrash(Threads):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        return _crashed(outcome) if isinstance(outcome.error, MemoryError) else outcome


@lie("F5-ours-too")
class TakesTimeoutErrorForItsOwn(Threads):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        theirs = isinstance(outcome.error, TimeoutError) and "from the task" in str(outcome.error)
        return replace(outcome, status=Status.UNFINISHED) if theirs else outcome


class _OtherTask(Threads):
    """Changes tasks before it runs them."""

    options: ClassVar[dict[str, Any]] = {}

    def send(self, task: Any, *rest: Any) -> AnyFuture[Any]:
        return super().send(task.with_options(**self.options), *rest)


@lie("F6-retries", "F6-attempts", "F6-retry-condition")
class NeverRetries(_OtherTask):
    options: ClassVar[dict[str, Any]] = {"retries": 0}


@lie("F6-retry-condition")
class RetriesWhateverItWas(_OtherTask):
    options: ClassVar[dict[str, Any]] = {"retry_condition_fn": lambda *_: True}


@lie("F6-hooks")
class CallsNoHooks(_OtherTask):
    options: ClassVar[dict[str, Any]] = {
        name: [lambda *_: None] for name in ("on_failure", "on_completion", "on_running")
    }


@lie("F6-timeout")
class CrashesWhatTakesTooLong(Threads):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        late = outcome.state is not None and outcome.state.name == "TimedOut"
        return _crashed(outcome) if late else outcome


@lie("F6-returned-state")
class TakesStatesForResults(Threads):
    """Takes a run whose body returned for completed, whatever it returned."""

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        returned = outcome.state is not None and outcome.state.message == "on purpose"
        return replace(outcome, status=Status.COMPLETED, error=None) if returned else outcome


# --- C: crashes --------------------------------------------------------------------------------------------------


@lie("C1-base-exceptions")
class TakesInterruptsForFailures(Threads):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.error is not None and isinstance(outcome.error.__cause__, KeyboardInterrupt):
            return replace(outcome, status=Status.FAILED, error=RuntimeError("interrupted"))
        return outcome


@lie("C1-base-exceptions")
class TriesAgainAfterInterrupts(Threads):
    """Runs a body again that ended by a `KeyboardInterrupt`, for the worker may have been at fault."""

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        first = outcome.task_run_name not in self.tried
        if first and outcome.error is not None and isinstance(outcome.error.__cause__, KeyboardInterrupt):
            again = run.context.copy().run(self.submit, run.task, dict(run.parameters))
            self.tried.append(again.run.task_run.name)  # type: ignore[attr-defined]
        return outcome

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tried: list[str] = []


@lie("C2-dies-in-a-map", "C2-all-die")
class RunsLostOnesAgain(Processes):
    """Runs once more what died with its worker, unasked."""

    def __init__(self, *args: Any, rerun_lost: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, rerun_lost=rerun_lost or 1, **kwargs)


@lie("C2-dies-in-a-map", "C2-all-die")
class LosesPeers(Processes):
    """Loses all that its other workers have when one dies, as a broken pool does."""

    def lost(self, run: Run, why: str, *, started: bool, cause: BaseException | None = None) -> None:
        super().lost(run, why, started=started, cause=cause)
        with self._runs_lock:
            peers = [each for each in self._runs.values() if each.phase is Phase.SENT]
        for each in peers:
            self._end_crashed(each, "its pool was broken")


@lie("C3-completed")
class ComputesResultsAgain(Processes):
    """Keeps results on workers, and after a death computes again those that are needed."""

    died = False

    def lost(self, *args: Any, **kwargs: Any) -> None:
        self.died = True
        super().lost(*args, **kwargs)

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        for value in parameters.values():
            if self.died and isinstance(value, TellingFuture):
                super().send(value.run.task, value.arguments, None, None).wait()
        return super().send(task, parameters, *rest)


@lie("C4-rerun-lost")
class TakesNoNoticeOfRerunLost(Processes):
    """Takes `rerun_lost` and does nothing with it."""

    def lost(self, *args: Any, **kwargs: Any) -> None:
        asked, self.rerun_lost = self.rerun_lost, 0
        super().lost(*args, **kwargs)
        self.rerun_lost = asked


@lie("C4-rerun-lost", "C4-no-more-than-that")
class CountsLostAttemptsOut(Processes):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        return replace(outcome, attempts=outcome.attempts - run.reruns)


# --- S: the API --------------------------------------------------------------------------------------------------


def _show(run: Run, state: State[Any]) -> None:
    before = run.task_run.state
    state.state_details.task_run_id = run.task_run.id
    state.state_details.flow_run_id = run.task_run.flow_run_id
    told = run.task_run.model_copy(
        update={"state": state, "state_id": state.id, "state_type": state.type, "state_name": state.name}
    )
    emit_task_run_state_change_event(task_run=told, initial_state=before, validated_state=state)


@lie("S1-told", within=15)
class ShowsCompletedForWhatFailed(Threads):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        if type(outcome.error).__name__ == "HoldsLock":
            run.context.copy().run(_show, run, Completed())
        return outcome


@lie("S1-told", within=15)
class LeavesRunning(Threads):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.error is not None and isinstance(outcome.error.__cause__, SystemExit):
            run.context.copy().run(_show, run, Running())
        return outcome


# --- V: values that cannot travel ----------------------------------------------------------------------------------


@lie("V1-argument", "V1-result", portable=True)
class CrashesOnWhatCannotTravel(Threads):
    def end_failed(self, run: Run, error: Exception) -> None:
        self._end_crashed(run, str(error), error)


@lie("V1-argument", "V1-result", portable=True)
class NamesNoObject(Threads):
    def end_failed(self, run: Run, error: Exception) -> None:
        super().end_failed(run, TypeError("cannot pickle '_thread.lock' object"))


@lie("V1-argument", portable=True)
class RefusesToSubmit(Threads):
    """Pickles in `submit`, which raises there and takes the whole map with it."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        if any(type(value).__name__ == "lock" for value in parameters.values()):
            raise TypeError("cannot pickle '_thread.lock' object")
        return super().send(task, parameters, *rest)


@lie("V2-portable")
class SharesItsMemory(Threads):
    """Takes `portable=True`, and hands arguments over as they are."""

    def _travelled(self, run: Run) -> dict[str, Any]:
        return run.parameters


# --- U: upstream runs --------------------------------------------------------------------------------------------


@lie("U1-argument")
class BlamesTheNearest(Threads):
    """Names the run that it takes its argument from, not the one that failed."""

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        if outcome.status is not Status.BLOCKED or run.wait_for:
            return outcome
        return replace(outcome, upstream=tuple(each.task_run_id for each in run.upstreams))


@lie("U1-wait-for")
class TakesNoNoticeOfWaitFor(Threads):
    def send(self, task: Any, parameters: Any, wait_for: Any, dependencies: Any) -> AnyFuture[Any]:
        return super().send(task, parameters, None, dependencies)


class _Unwraps(Threads):
    """Takes an annotation off its value."""

    annotation: type[Any]

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        bare = {
            name: value.unwrap() if isinstance(value, self.annotation) else value for name, value in parameters.items()
        }
        return super().send(task, bare, *rest)


@lie("U2-annotations")
class TakesNoNoticeOfAllowFailure(_Unwraps):
    annotation = allow_failure


@lie("U2-annotations")
class TakesNoNoticeOfQuote(_Unwraps):
    annotation = quote


@lie("U2-annotations")
class WrapsAllowedFailures(Threads):
    """Hands an allowed failure over as a tuple."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        allowed = parameters.get("value")
        if isinstance(allowed, allow_failure):
            future: Any = allowed.unwrap()
            future.wait()
            error = future.outcome().error
            if error is not None:
                parameters = {**parameters, "value": (error,)}
        return super().send(task, parameters, *rest)


@lie("U2-opaque")
class HandsOpaqueOverAsItIs(Threads):
    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        closed = {
            name: quote(value.unwrap()) if isinstance(value, opaque) else value for name, value in parameters.items()
        }
        return super().send(task, closed, *rest)


@lie("U3-other-runner", "U3-unfinished")
class KnowsItsOwnFuturesOnly(Threads):
    """Takes the future of another runner for a value."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        known = {
            name: None if isinstance(value, PrefectFuture) and not isinstance(value, AnyFuture) else value
            for name, value in parameters.items()
        }
        return super().send(task, known, *rest)


# --- N, X: what surrounds a task -----------------------------------------------------------------------------------


@lie("N1-nested", within=6)
class HoldsWorkersThatWait(Threads):
    """Deadlocks when all its workers wait for what they have submitted."""

    @contextmanager
    def blocking(self) -> Iterator[None]:
        yield

    def let_go(self) -> None:
        self._max_workers = 99
        self._start_more()


@lie("X1-tags", "X1-parent")
class FreezesTheContext(Threads):
    """Submits everything in the context of the first submit."""

    first: contextvars.Context | None = None

    def send(self, *rest: Any) -> AnyFuture[Any]:
        if self.first is None:
            self.first = contextvars.copy_context()
        return self.first.copy().run(super().send, *rest)


@lie("X1-name-and-logger")
class NamesRunsItself(Threads):
    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        return replace(outcome, task_run_name=f"{run.task.name}-{str(run.id)[:3]}")


@lie("X1-cache")
class CachesNothing(_OtherTask):
    options: ClassVar[dict[str, Any]] = {"cache_policy": NO_CACHE}


@lie("X1-stored")
class StoresNothing(_OtherTask):
    options: ClassVar[dict[str, Any]] = {"persist_result": False}


@lie("X1-assets", within=8)
class LosesLineage(Threads):
    """Hands over the results of upstream runs as plain values, so that nobody knows where they came from."""

    def send(self, task: Any, parameters: dict[str, Any], *rest: Any) -> AnyFuture[Any]:
        if task.name == "clean":
            parameters = {  # other objects than the results, which Prefect would know
                name: "".join(value.result()) if isinstance(value, AnyFuture) else value
                for name, value in parameters.items()
            }
            return super().send(task, parameters, None, None)
        return super().send(task, parameters, *rest)


@lie("X1-inputs")
class LosesInputs(Threads):
    def _track(self, task: Any, parameters: Any, wait_for: Any, dependencies: Any) -> Run:
        if task.name == "add" and wait_for:
            run = super()._track(task, {}, None, dependencies)
            run.parameters, run.wait_for = parameters, wait_for
            return run
        return super()._track(task, parameters, wait_for, dependencies)


@lie("X1-limit")
class PaysNoHeedToLimits(Threads):
    """Loses the tags that a limit is for."""

    def send(self, task: Any, *rest: Any) -> AnyFuture[Any]:
        if task.name == "slots_in_use":
            return contextvars.Context().run(_without_tags, super().send, contextvars.copy_context(), task, rest)
        return super().send(task, *rest)


def _without_tags(submit: Any, context: contextvars.Context, task: Any, args: Any) -> AnyFuture[Any]:
    def bare() -> Any:
        with TagsContext(current_tags=set()):
            return submit(task, *args)

    future: AnyFuture[Any] = context.run(bare)
    return future


# --- W, K: futures -----------------------------------------------------------------------------------------------


class _RaisesItsOwn(TellingFuture):
    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        answer = super().result(timeout, raise_on_failure=False)
        if isinstance(answer, BaseException) and raise_on_failure:
            raise RuntimeError(f"the task run failed: {answer!r}")
        return answer


@lie("W1-agree")
class RaisesSomethingElse(Threads):
    """Wraps in `result()` what a body raised."""

    future = _RaisesItsOwn


class _CallsTooEarly(TellingFuture):
    def add_done_callback(self, fn: Any) -> None:
        if self.run.task.name == "hold" and self.outcome() is None:
            fn(self)
        super().add_done_callback(fn)


@lie("W1-agree")
class CallsBackTooEarly(Threads):
    future = _CallsTooEarly


class _SaysItIsDone(TellingFuture):
    @property
    def state(self) -> State[Any]:
        return Completed() if self.outcome() is None else super().state


@lie("W1-timeout")
class SaysDoneBeforeItIs(Threads):
    future = _SaysItIsDone


class _KnowsItsEndWhenAsked(TellingFuture):
    asked = False

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        self.asked = True
        return super().result(timeout, raise_on_failure)

    @property
    def state(self) -> State[Any]:
        return Pending() if self.run.task.name == "raise_base" and not self.asked else super().state


@lie("W1-prefect-waits")
class LearnsItsEndFromResult(Threads):
    """Leaves a future that was waited for in Prefect's ways without its state."""

    future = _KnowsItsEndWhenAsked


class _StopsAtAnExit(TellingFuture):
    exited = False

    def when_done(self, fn: Any) -> None:
        def call(future: Any) -> None:
            if self.exited:
                return
            try:
                fn(future)
            except SystemExit:
                self.exited = True

        super().when_done(call)


@lie("W1-callback-exits", within=3)
class StopsCallingBackAtAnExit(Threads):
    """Calls no callback any more after one that exited."""

    future = _StopsAtAnExit


@lie("K1-before-start")
class StartsWhatIsCancelled(Threads):
    """Says Cancelled everywhere, and runs the body all the same."""

    def cancel_runs(self, task_run_ids: Any, *, running: bool) -> list[bool]:
        runs = [run for each in task_run_ids if (run := self._runs.get(each)) is not None and run.phase is Phase.SENT]
        again = [(run.task, dict(run.parameters)) for run in runs if run.task.name == "note"]
        cancelled = super().cancel_runs(task_run_ids, running=running)
        if all(cancelled):
            for each in again:
                self.submit(*each)
        return cancelled


@lie("K1-before-start", "K1-waiting")
class NeverCancels(Threads):
    def cancel_runs(self, task_run_ids: Any, *, running: bool) -> list[bool]:
        runs = [self._runs.get(each) for each in task_run_ids]
        if all(run is not None and run.task.name == "spin" for run in runs):  # it would spin on
            return super().cancel_runs(task_run_ids, running=running)
        return [False] * len(runs)


# --- E, L, A: the end of a flow, settings, async -------------------------------------------------------------------


@lie("E1-unawaited")
class StopsWhatRuns(Threads):
    """Stops at the end of a flow what has not ended."""

    def _finish(self, exc_type: type[BaseException] | None) -> None:
        super()._finish(KeyboardInterrupt)


@lie("E1-told")
class TellsNobody(Threads):
    def _tell_unawaited(self) -> None:
        self._unlooked.clear()


class _DropsTheUnseen(TellingFuture):
    seen = False

    def outcome(self) -> Outcome | None:
        outcome = super().outcome()
        if outcome is not None and not self.seen and self.runner.over and outcome.status is Status.COMPLETED:
            return replace(outcome, _value=None)
        self.seen = self.seen or outcome is not None
        return outcome


@lie("E2-kept")
class DropsWhatNobodySaw(Threads):
    """Drops the results that nobody has asked for when it stops."""

    future = _DropsTheUnseen


@lie("E2-returned")
class LosesWhatAFlowReturns(Threads):
    """Loses the errors of runs whose futures a flow returns."""

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        flow_run = run.context.run(FlowRunContext.get)
        returns = flow_run is not None and flow_run.flow is not None and flow_run.flow.name == "returns-futures"
        if returns and outcome.state is not None and outcome.status is Status.FAILED:
            outcome.state.data = None
        return outcome


@lie("L1-duplicate", setting={"max_workers": 3})
class LosesSettings(Threads):
    def duplicate(self) -> Self:
        return type(self)()


@lie("L1-duplicate", setting={"max_workers": 3})
class TakesAllForEqual(Threads):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self))

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


@lie("A1-async")
class NeverAwaits(Threads):
    """Takes the coroutine of an async task for its result."""

    def tell(self, run: Run, outcome: Outcome) -> Outcome:
        if run.task.isasync and outcome.status is Status.COMPLETED:
            return replace(outcome, _value="<coroutine>")
        return outcome


@lie("A1-loop", within=8)
class BlocksTheLoop(Threads):
    """Waits in `submit` when it is called from an event loop."""

    def send(self, *rest: Any) -> AnyFuture[Any]:
        future = super().send(*rest)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return future
        if TaskRunContext.get() is None:
            future.wait()
        return future
