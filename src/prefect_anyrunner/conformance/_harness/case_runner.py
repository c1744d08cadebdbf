"""Cases run in a child process: one that hangs or ends its process fails, and the next ones still run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, Self

from prefect_anyrunner import AnyRunnerError, RunnerSpec
from prefect_anyrunner._provisioning.child import Child, ChildEnded
from prefect_anyrunner._provisioning.environment import child_environment
from prefect_anyrunner.backends import _registry
from prefect_anyrunner.conformance.report import CaseResult
from prefect_anyrunner.conformance.table import Case

START_SECONDS = 180.0
"""Seconds that the engine gets to start."""
STOP_SECONDS = 30.0
"""Seconds that the engine gets to stop before its processes are killed."""
KILL_SECONDS = 3.0
"""Seconds that a process which does not stop by itself gets after SIGTERM."""


class CaseReply(NamedTuple):
    """The child's answer to one case. `clean`: whether the case can have left nothing behind."""

    passed: bool
    detail: str = ""
    traceback: str = ""
    clean: bool = True


class CaseRunner:
    """Runs cases on one runner, in a child process that holds the engine.

    The child is used for one case after the other. It is replaced after a case that failed and may have left something
    behind, which could fail others. `seconds`: seconds after which a case counts as hung. `environment`: variables for
    the child, the API's address among them. Use it in a `with` statement, which stops the engine.
    """

    def __init__(self, spec: RunnerSpec, *, seconds: float = 150.0, environment: Mapping[str, str] | None = None):
        backend = _registry.get(spec.backend)
        assert backend is not None, "a spec names a known backend"
        self.spec = spec
        self.lacks = backend.lacks
        self._seconds = seconds
        self._environment = dict(environment or {})
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            with suppress(OSError, subprocess.TimeoutExpired):
                self._child.send(None)
                self._child.wait(STOP_SECONDS)
        self._stop()

    def start(self) -> Child:
        """Start the engine if it is not running, and return its process. Raises AnyRunnerError if it does not start."""
        if self._child is not None:
            return self._child
        environment = {
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            **child_environment(self.spec),
            **self._environment,
        }
        self._child = child = Child("prefect_anyrunner.conformance._harness.child", environment)
        try:
            child.send((self.spec, self._seconds, str(child.folder)))
            problem = child.receive(START_SECONDS)
        except TimeoutError:
            problem = f"it was not ready after {START_SECONDS:g} s"
        except (ChildEnded, OSError) as ended:
            problem = f"its process ended: {ended}"
        if problem is not None:
            tail = child.tail()
            self._stop()
            raise AnyRunnerError("\n".join([f"{self.spec} did not start: {problem}", *tail]))
        return child

    def run(self, case: Case) -> CaseResult:
        """Run one case and return its result; never raises because of the runner."""
        reasons = [self.lacks[need] for need in case.needs if need in self.lacks]
        began = time.monotonic()
        reply = self._ask(case)
        seconds = time.monotonic() - began
        if not reply.passed and not reply.clean:
            self._stop()
        if reasons and reply.passed:
            return CaseResult(case.id, case.rule, "fail", f"declared as lacking ({reasons[0]}), but works", seconds)
        if reasons:
            return CaseResult(case.id, case.rule, "skip", reasons[0], seconds)
        if reply.passed:
            return CaseResult(case.id, case.rule, "pass", reply.detail, seconds)
        return CaseResult(case.id, case.rule, "fail", reply.detail, seconds, reply.traceback)

    def _ask(self, case: Case) -> CaseReply:
        try:
            child = self.start()
            child.send(case.id)
            reply: CaseReply = child.receive(self._seconds)
        except TimeoutError:
            problem = f"hung: no end after {self._seconds:g} s"
        except ChildEnded as ended:
            problem = f"the process of the flow ended: {ended}"
        except (AnyRunnerError, OSError) as error:
            return CaseReply(False, str(error), clean=False)
        else:
            return reply
        tail = child.tail()
        detail = f"{problem}; its last output: {tail[-1]}" if tail else problem
        return CaseReply(False, detail, "\n".join(tail), clean=False)

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.stop(seconds=KILL_SECONDS)
