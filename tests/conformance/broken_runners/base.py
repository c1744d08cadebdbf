"""The base of the broken runners: our thread and process runners, with one place to break each promise.

A broken runner overrides a method of `Threads`, `Processes` or `ChangedFuture` that is described here. Only this file
overrides or calls private methods of the package.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from prefect.client.schemas.objects import State
from prefect.exceptions import CrashedRun
from prefect.futures import PrefectFutureList
from prefect.utilities.engine import emit_task_run_state_change_event

from prefect_anyrunner import Outcome, Status
from prefect_anyrunner._driver import ends
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Phase, Run
from prefect_anyrunner.backends.process import ProcessPoolTaskRunner
from prefect_anyrunner.backends.thread import ThreadPoolTaskRunner

WORKERS = 2
"""Number of task runs that a broken runner executes at a time."""


@dataclass(frozen=True)
class BrokenRunner:
    """A runner that breaks one promise.

    `cases`: the ids of the cases that must fail, all of one rule. `within`: the seconds that these cases wait, if they
    wait for something that never happens. `portable`: the runner pickles as a cluster does, so that cases about objects
    that cannot be pickled make sense. `setting`: see `Subject`.
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


BROKEN_RUNNERS: list[BrokenRunner] = []


def breaks(*cases: str, **more: Any) -> Callable[[Any], Any]:
    """Add a class of runners to `BROKEN_RUNNERS`, with the cases that must fail on it."""

    def add(runner: Any) -> Any:
        BROKEN_RUNNERS.append(BrokenRunner(runner, cases, process=issubclass(runner, ProcessPoolTaskRunner), **more))
        return runner

    return add


class ChangedFuture(AnyFuture[Any]):
    """A future whose outcome its runner may change."""

    def __init__(self, run: Run, runner: Any) -> None:
        original = run.future
        super().__init__(
            original.task_run_id,
            task_name=original.task_name,
            runner_name=original.runner_name,
            map_index=original.map_index,
            runner=runner,
        )
        self.run = run
        self.source = runner
        self.arguments = dict(run.parameters)

    def resolve(self, outcome: Outcome) -> bool:
        return super().resolve(self.source.change(self.run, outcome))

    def when_done(self, fn: Any) -> None:
        super().when_done(self.callback(fn))

    def callback(self, fn: Any) -> Any:
        """Return the function that is called in place of a done callback."""
        return fn


class Changes:
    """The places at which runs of a broken runner can be changed."""

    def send(self, task: Any, parameters: dict[str, Any], wait_for: Any, dependencies: Any) -> AnyFuture[Any]:
        """Submit a task."""
        return super().submit(task, parameters, wait_for, dependencies)  # type: ignore[misc,no-any-return]

    def change(self, run: Run, outcome: Outcome) -> Outcome:
        """Return the outcome that the future of a run gets."""
        return outcome

    def track(self, task: Any, parameters: Any, wait_for: Any, dependencies: Any) -> Run:
        """Return the record of a new run."""
        run: Run = super()._track(task, parameters, wait_for, dependencies)  # type: ignore[misc]
        return run

    def crash(self, run: Run, why: str, cause: BaseException | None = None) -> None:
        """End a run as crashed."""
        self.end(run, ends.crashed(run, why, cause))  # type: ignore[attr-defined]

    def sent_runs(self) -> list[Run]:
        """Return the runs that the engine has and that have not ended."""
        return [run for run in self.ledger.open_runs() if run.phase is Phase.SENT]  # type: ignore[attr-defined]


class Threads(Changes, ThreadPoolTaskRunner):
    """Our thread runner, with places at which it can be broken."""

    future: type[ChangedFuture] = ChangedFuture
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

    def __hash__(self) -> int:  # type: ignore[override]  # needed for `alive`
        return id(self)

    def submit(self, task: Any, parameters: Any, wait_for: Any = None, dependencies: Any = None) -> AnyFuture[Any]:  # type: ignore[override]
        return self.send(task, parameters, wait_for, dependencies)

    def map(self, *args: Any, **kwargs: Any) -> Any:
        return PrefectFutureList(self.spread(list(super().map(*args, **kwargs))))  # type: ignore[abstract]  # it is not

    def spread(self, futures: list[Any]) -> list[Any]:
        """Return the futures that `map` returns."""
        return futures

    def _track(self, *args: Any) -> Run:
        run = self.track(*args)
        run.future = self.future(run, self)
        return run

    def cancel_runs(self, task_run_ids: Any, *, running: bool) -> list[bool]:
        return self.cancel([self.ledger.get(each) for each in task_run_ids], running)

    def cancel(self, runs: list[Run | None], running: bool) -> list[bool]:
        """Cancel runs and return which of them are cancelled; None stands for a run that has ended."""
        return super().cancel_runs([run.id for run in runs if run is not None], running=running)


class Processes(Changes, ProcessPoolTaskRunner):  # type: ignore[misc]  # `Changes` calls the methods of the other base
    """Our process runner, with places at which it can be broken."""

    def __init__(self, max_workers: int | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(max_workers or WORKERS, *args, **kwargs)

    def submit(self, task: Any, parameters: Any, wait_for: Any = None, dependencies: Any = None) -> AnyFuture[Any]:  # type: ignore[override]
        return self.send(task, parameters, wait_for, dependencies)

    def _track(self, *args: Any) -> Run:
        run = self.track(*args)
        run.future = ChangedFuture(run, self)
        return run

    def on_worker_lost(self, run: Run, *args: Any, **kwargs: Any) -> None:
        with self.losing(run):
            super().on_worker_lost(run, *args, **kwargs)

    @contextmanager
    def losing(self, run: Run) -> Iterator[None]:
        """Surround the treatment of a run whose worker has died."""
        yield


class OtherTask(Threads):
    """Changes the options of tasks before it runs them."""

    options: ClassVar[dict[str, Any]] = {}

    def send(self, task: Any, *rest: Any) -> AnyFuture[Any]:
        return super().send(task.with_options(**self.options), *rest)


def crashed(outcome: Outcome) -> Outcome:
    """Return a crashed outcome with the error of another one as its cause."""
    error = CrashedRun(str(outcome.error))
    error.__cause__ = outcome.error
    return replace(outcome, status=Status.CRASHED, error=error)


def show(run: Run, state: State[Any]) -> None:
    """Let the Prefect API show a state for a run."""
    before = run.task_run.state
    state.state_details.task_run_id = run.task_run.id
    state.state_details.flow_run_id = run.task_run.flow_run_id
    changed = run.task_run.model_copy(
        update={"state": state, "state_id": state.id, "state_type": state.type, "state_name": state.name}
    )
    emit_task_run_state_change_event(task_run=changed, initial_state=before, validated_state=state)
