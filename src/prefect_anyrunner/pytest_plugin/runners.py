"""What the pytest plugin does once a test needs a runner: engines, a Prefect server, settings."""

from __future__ import annotations

import pprint
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prefect import Flow
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from prefect_anyrunner import AnyTaskRunner, BackendUnavailable, RunnerSpec, SpecError, TaskRunsFailed, use_runner
from prefect_anyrunner._outcomes.render import group_lines
from prefect_anyrunner._provisioning.engine import shared_engine
from prefect_anyrunner._provisioning.server import server_environment
from prefect_anyrunner.backends import _registry
from prefect_anyrunner.backends._record import Capability

F = TypeVar("F", bound=Flow[..., Any])


class AnyRunner:
    """The runner that a test runs on.

    `name`: its backend. `spec`: where it is, as a `RunnerSpec`.
    """

    def __init__(self, spec: RunnerSpec) -> None:
        self.spec = spec
        self.name = spec.backend
        self.recorded: dict[str, str] = {}

    def flow(self, flow: F) -> F:
        """Return a flow that runs on this runner, whatever runner `flow` has."""
        moved: F = flow.with_options(task_runner=AnyTaskRunner(self.spec))  # type: ignore[assignment]  # the same flow
        return moved

    def record(self, name: str, value: Any) -> None:
        """Have `value` compared with what the same test records under `name` on the other runners.

        Values are compared as `pprint` shows them, dicts sorted, sets too; where they differ the test run fails.
        """
        self.recorded[name] = pprint.pformat(value, width=100)

    def __repr__(self) -> str:
        return f"AnyRunner({str(self.spec)!r})"


class Runners:
    """The engines and the Prefect server of a test run, each started when first needed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._engines: dict[str, RunnerSpec] = {}
        self._server: dict[Any, Any] | None = None

    @contextmanager
    def ready(self, text: str, needs: Iterable[str], strict: bool) -> Iterator[AnyRunner]:
        """Yield the runner of a spec, in use; skip the test where there is none, or fail it if `strict`."""
        try:
            spec = RunnerSpec.load(text, place="--anyrunner")
            backend = _registry.get(spec.backend)
            assert backend is not None, "a spec is checked"
            if missing := backend.missing():
                raise BackendUnavailable(_registry.unavailable(backend, missing))
        except SpecError as error:
            raise pytest.UsageError(str(error)) from None
        except BackendUnavailable as error:
            if strict:
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        for need in needs:
            if (capability := Capability.__members__.get(need)) is None:
                pytest.fail(f"no capability is called {need!r}: there are {', '.join(Capability.__members__)}", False)
            if capability in backend.lacks:
                pytest.skip(f"{spec.backend}: {backend.lacks[capability]}")
        with temporary_settings(self._settings()), ExitStack() as stack:
            if text not in self._engines:
                self._engines[text] = self._stack.enter_context(shared_engine(spec)).spec
            runner = AnyRunner(self._engines[text])
            stack.enter_context(use_runner(runner.spec))
            yield runner

    def _settings(self) -> dict[Any, Any]:
        if self._server is None:
            here = bool(PREFECT_API_URL.value())
            environment = self._stack.enter_context(server_environment())
            self._server = {}
            if not here:
                self._server[PREFECT_API_URL] = environment["PREFECT_API_URL"]
                self._server[PREFECT_HOME] = Path(environment["PREFECT_HOME"])
        return self._server


def compact(excinfo: Any, item: pytest.Item) -> str:
    """Return a combined failure as text: where in the test, the message, groups of alike failures."""
    failure: TaskRunsFailed = excinfo.value
    lines = []
    for entry in excinfo.traceback:
        if Path(str(entry.path)) == item.path:
            lines.append(f"{item.path.name}:{entry.lineno + 1}: {str(entry.statement).strip()}")
    lines.append(f"TaskRunsFailed: {failure.message}")
    return "\n".join([*lines, *(f"  {line}" for line in group_lines(failure.outcomes))])
