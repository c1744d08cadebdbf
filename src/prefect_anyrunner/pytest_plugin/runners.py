"""The engines, the Prefect server and the settings of a test run, started when a test needs them."""

from __future__ import annotations

import pprint
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prefect import Flow
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_UI_URL, temporary_settings

from prefect_anyrunner import AnyTaskRunner, BackendUnavailable, RunnerSpec, SpecError, TaskRunsFailed, use_runner
from prefect_anyrunner._choosing.engine import shared_engine
from prefect_anyrunner._provisioning.server import server_environment
from prefect_anyrunner._reports.render import group_lines
from prefect_anyrunner.backends import _registry
from prefect_anyrunner.backends._record import Capability

F = TypeVar("F", bound=Flow[..., Any])


class AnyRunner:
    """The runner that a test runs on: `name` is its backend, `spec` its `RunnerSpec`."""

    def __init__(self, spec: RunnerSpec) -> None:
        self.spec = spec
        self.name = spec.backend
        self.recorded: dict[str, str] = {}

    def flow(self, flow: F) -> F:
        """Return a copy of `flow` that runs on this runner."""
        moved: F = flow.with_options(task_runner=AnyTaskRunner(self.spec))  # type: ignore[assignment]  # a flow of the same class
        return moved

    def record(self, name: str, value: Any) -> None:
        """Record a value that must be the same on all runners; if it differs, the test run fails.

        Values are compared as `pprint` prints them, with dicts and sets sorted, under the name of the test and `name`.
        """
        self.recorded[name] = pprint.pformat(value, width=100)

    def __repr__(self) -> str:
        return f"AnyRunner({str(self.spec)!r})"


class Runners:
    """The engines and the Prefect server of a test run, each started when it is first needed."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._engines: dict[str, RunnerSpec] = {}
        self._server: dict[Any, Any] | None = None

    @contextmanager
    def ready(self, text: str, needs: Iterable[str], strict: bool) -> Iterator[AnyRunner]:
        """Yield the runner of a spec, chosen for all flows in the block.

        Skip the test if its backend is not installed (or fail it if `strict`) or lacks a capability in `needs`.
        """
        try:
            spec = RunnerSpec.load(text, place="--anyrunner")
            backend = _registry.get(spec.backend)
            assert backend is not None, "a spec names a known backend"
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
                pytest.fail(f"unknown capability {need!r}: choose from {', '.join(Capability.__members__)}", False)
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
            configured = bool(PREFECT_API_URL.value())
            environment = self._stack.enter_context(server_environment())
            self._server = {}
            if not configured:
                self._server[PREFECT_API_URL] = environment["PREFECT_API_URL"]
                self._server[PREFECT_UI_URL] = environment["PREFECT_UI_URL"]
                self._server[PREFECT_HOME] = Path(environment["PREFECT_HOME"])
        return self._server


def compact(excinfo: Any, item: pytest.Item) -> str:
    """Return a combined failure as text: the message, the lines of the test, the groups of alike failures."""
    failure: TaskRunsFailed = excinfo.value
    lines = [f"TaskRunsFailed: {failure.message}"]  # pytest repeats the first line in its last words about the test
    for entry in excinfo.traceback:
        if Path(str(entry.path)) == item.path:
            lines.append(f"{item.path.name}:{entry.lineno + 1}: {str(entry.statement).strip()}")
    return "\n".join([*lines, *(f"  {line}" for line in group_lines(failure.outcomes))])
