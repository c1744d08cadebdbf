"""Runners that are chosen when a run starts: `AnyTaskRunner`, `pick`, `use_runner`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NoReturn, Self

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from prefect_anyrunner._base.errors import AnyRunnerError, SpecError
from prefect_anyrunner._base.public import public
from prefect_anyrunner._choosing.engine import kept_engine
from prefect_anyrunner._choosing.spec import RunnerSpec
from prefect_anyrunner._prefect.flow_run import SPEC_ATTRIBUTE
from prefect_anyrunner._prefect.flow_start import end_flow_run_instead, log_in_flow_run

Spec = str | Mapping[str, Any] | RunnerSpec


_forced: ContextVar[RunnerSpec | None] = ContextVar("prefect_anyrunner_forced", default=None)


@public
@contextmanager
def use_runner(spec: Spec, *, keep: bool = False) -> Iterator[RunnerSpec]:
    """Make every `AnyTaskRunner` inside the block resolve to `spec`, whatever other sources ask for.

    `spec`: a URL, a mapping, a named runner or a `RunnerSpec`; it is read when the block is entered and yielded as a
    `RunnerSpec`. It applies to flows called inside the block, to their subflows, and to subflows called by their tasks.
    The innermost block wins. Raises SpecError.
    `keep`: start the temporary Dask or Ray of the spec here, once, for all flow runs of the block, and stop it when the
    block ends; raises BackendUnavailable, too. With threads, processes and existing clusters, it changes nothing.
    """
    if spec is None:
        raise SpecError("use_runner: a runner is a URL, a mapping or a name, not None")
    loaded = RunnerSpec.load(spec, place="use_runner")
    with kept_engine(loaded) if keep else nullcontext(loaded) as used:
        token = _forced.set(used)
        try:
            yield used
        finally:
            _forced.reset(token)


@public
def pick(spec: Spec | None = None) -> TaskRunner[Any]:
    """Return the task runner that configuration asks for, not started.

    A surrounding `use_runner` comes first, then the sources of `RunnerSpec.load` in their order. Raises SpecError for a
    wrong spec, BackendUnavailable (with the install line) for a backend that is not installed.
    """
    return resolve(spec).runner()


def resolve(spec: Spec | None = None, default: Spec | None = None) -> RunnerSpec:
    """Return the spec that a run starting now would use: a surrounding `use_runner`, else `RunnerSpec.load`."""
    return _surrounding() or RunnerSpec.load(spec, default=default)


def _surrounding() -> RunnerSpec | None:
    forced = _forced.get()
    if forced is None and (run := FlowRunContext.get()) is not None and run.flow is not None:
        # A worker runs in its own context, so the flow's runner carries the choice of the block.
        runner = run.flow.task_runner
        forced = runner._pinned_by_block if isinstance(runner, AnyTaskRunner) else None
    return forced


@public
class AnyTaskRunner(TaskRunner[Any]):
    """A task runner that stands for the one that configuration chooses, each time a run starts.

    Use it as `@flow(task_runner=AnyTaskRunner())` or in `flow.with_options(...)`. Prefect's flow engine asks it for a
    runner once per run and gets the backend's own; it never runs a task itself.
    `spec`: a runner chosen in the code, which overrides environment and files. `default`: the runner to use if no
    other source names one; see `RunnerSpec.load` for the whole order. Both are read when a run starts, so a bad one
    fails that run with SpecError (BackendUnavailable if the backend is not installed), not the import.
    If it is pickled during a run, it carries the spec that it resolved to, so that a worker does not resolve again.
    """

    def __init__(self, spec: Spec | None = None, *, default: Spec | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.spec = spec
        self.default = default
        self._pinned: RunnerSpec | None = None
        self._pinned_by_block: RunnerSpec | None = None

    def resolve(self) -> RunnerSpec:
        """Return the spec that a run starting now would use. Raises SpecError."""
        forced = _forced.get()
        return forced or self._pinned or resolve(self.spec, self.default)

    def duplicate(self) -> Any:
        """Return the backend's task runner for one run, not started.

        Prefect's flow engine calls it once per run; if there is no such runner, the flow run ends Failed. Any other
        caller gets SpecError or BackendUnavailable.
        """
        try:
            spec = self.resolve()
            runner = spec.runner()
        except Exception as exc:  # backends of others may raise anything
            if not end_flow_run_instead(exc):
                raise
            return _NoRunner()
        setattr(runner, SPEC_ATTRIBUTE, spec)
        log_in_flow_run(f"Task runner: {spec.summary()}, from {spec.source}.")
        return runner

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
        dependencies: dict[str, set[Any]] | None = None,
    ) -> NoReturn:
        """Raise AnyRunnerError, because only the runner that it resolves to runs tasks."""
        self._refuse("submit")

    def map(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[PrefectFuture[Any]] | None = None,
    ) -> NoReturn:
        """Raise AnyRunnerError, because only the runner that it resolves to runs tasks."""
        self._refuse("map")

    def __enter__(self) -> NoReturn:
        """Raise AnyRunnerError, because only the runner that it resolves to can be started."""
        self._refuse("with")

    def _refuse(self, use: str) -> NoReturn:
        raise AnyRunnerError(
            f"AnyTaskRunner runs no task itself, so it cannot {'be entered' if use == 'with' else use}: give it to a "
            "flow (@flow(task_runner=AnyTaskRunner())), or use prefect_anyrunner.pick() for a runner of your own"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AnyTaskRunner):
            return NotImplemented
        return (self.spec, self.default, self._pinned) == (other.spec, other.default, other._pinned)

    __hash__ = None  # type: ignore[assignment]  # equal by settings, as Prefect's own runners are

    def __repr__(self) -> str:
        if self._pinned is not None:
            return f"AnyTaskRunner(resolved to {self._pinned})"
        if self.spec is None and self.default is None:
            return "AnyTaskRunner()"
        return "AnyTaskRunner(...)"  # an unread spec may hold a password anywhere

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (self.spec, self.default, self._to_pin(), _surrounding())

    def _to_pin(self) -> RunnerSpec | None:
        """Return the spec for a worker: the one that the current run resolved to, or would for a flow called in it."""
        if self._pinned is not None:
            return _forced.get() or self._pinned
        run = FlowRunContext.get()
        if run is None:
            return _forced.get()
        if run.flow is not None and run.flow.task_runner is self:
            resolved: RunnerSpec | None = getattr(run.task_runner, SPEC_ATTRIBUTE, None)
            if resolved is not None:
                return resolved
        return self.resolve()


class _NoRunner(TaskRunner[Any]):
    """The runner of a flow run that ends before it has run anything."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def duplicate(self) -> Self:
        return type(self)()

    def submit(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AnyRunnerError("this flow run has no task runner")


def _unpickle(
    spec: Spec | None, default: Spec | None, pinned: RunnerSpec | None, by_block: RunnerSpec | None
) -> AnyTaskRunner:
    made = AnyTaskRunner(spec, default=default)
    made._pinned, made._pinned_by_block = pinned, by_block
    return made
