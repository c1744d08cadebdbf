"""Cases run in a process of their own: one that hangs or ends its process is a failure, and the others go on."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple, Self

from prefect_anyrunner import AnyRunnerError, RunnerSpec
from prefect_anyrunner._provisioning.server import stop
from prefect_anyrunner.backends import _registry
from prefect_anyrunner.conformance.report import CaseResult
from prefect_anyrunner.conformance.table import Case

START_SECONDS = 180.0
"""How long the engine may take to start."""
STOP_SECONDS = 30.0
"""How long the engine may take to stop before its processes are killed."""


class Said(NamedTuple):
    """What the child says of a case. `clean`: nothing of it can be left behind."""

    passed: bool
    detail: str = ""
    traceback: str = ""
    clean: bool = True


class Bench:
    """Runs cases on one runner, in a child process that holds the engine.

    The child lives on from case to case and starts anew after one that failed, so that what it left behind cannot fail
    others. `seconds`: after how long a case has hung. `environment`: variables for the child, the API's address among
    them. For `with`: leaving stops the engine. Raises AnyRunnerError when the engine does not start.
    """

    def __init__(self, spec: RunnerSpec, *, seconds: float = 150.0, environment: Mapping[str, str] | None = None):
        backend = _registry.get(spec.backend)
        assert backend is not None, "a spec is checked"
        self.spec = spec
        self.lacks = backend.lacks
        self._seconds = seconds
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop(gently=True)

    def start(self) -> None:
        """Start the engine if it is not running. Raises AnyRunnerError when it does not start."""
        if self._child is not None:
            return
        self._folder = Path(tempfile.mkdtemp(prefix="anyrunner-"))
        self._pipe, theirs = Pipe()
        with theirs, (self._folder / "output.log").open("wb") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "prefect_anyrunner.conformance._harness.child", str(theirs.fileno())],
                env={**_quiet(), **os.environ, **self._environment},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # what it leaves behind can be ended with it
            )
        self._pipe.send((self.spec, self._seconds, str(self._folder)))
        problem = self._hear(START_SECONDS, f"it was not ready after {START_SECONDS:g} s")
        if isinstance(problem, str):
            tail = self._tail()
            self._stop(gently=False)
            raise AnyRunnerError("\n".join([f"{self.spec} did not start: {problem}", *tail]))

    def run(self, case: Case) -> CaseResult:
        """Run one case and return what became of it; never raises for the runner."""
        reasons = [self.lacks[need] for need in case.needs if need in self.lacks]
        began = time.monotonic()
        said = self._ask(case)
        seconds = time.monotonic() - began
        if not said.passed and not said.clean:
            self._stop(gently=False)
        if reasons and said.passed:
            return CaseResult(case.id, case.rule, "fail", f"declared as lacking ({reasons[0]}), but works", seconds)
        if reasons:
            return CaseResult(case.id, case.rule, "skip", reasons[0], seconds)
        verdict = "pass" if said.passed else "fail"
        return CaseResult(case.id, case.rule, verdict, said.detail, seconds, said.traceback)  # type: ignore[arg-type]

    def _ask(self, case: Case) -> Said:
        try:
            self.start()
            assert self._pipe is not None
            self._pipe.send(case.id)
        except (AnyRunnerError, OSError) as error:
            return Said(False, str(error), clean=False)
        said: Said | str = self._hear(self._seconds, f"hung: no end after {self._seconds:g} s")
        if not isinstance(said, str):
            return said
        tail = self._tail()
        return Said(False, f"{said}; its last words: {tail[-1]}" if tail else said, "\n".join(tail), clean=False)

    def _hear(self, seconds: float, silence: str) -> Any:
        """Return what the child says next, or a text that tells why it says nothing."""
        assert self._pipe is not None and self._child is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self._pipe.poll(0.2):
                    return self._pipe.recv()
            except (EOFError, OSError):
                break
            if self._child.poll() is not None and not self._pipe.poll(0):
                break
        else:
            return silence
        try:
            code = self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return "the process of the flow says nothing more"
        how = f"killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        return f"the process of the flow ended: {how}"

    def _tail(self) -> list[str]:
        assert self._folder is not None
        return (self._folder / "output.log").read_text(errors="replace").strip().splitlines()[-15:]

    def _stop(self, *, gently: bool) -> None:
        child, pipe, folder = self._child, self._pipe, self._folder
        self._child = self._pipe = self._folder = None
        if child is None or pipe is None or folder is None:
            return
        if gently:
            try:
                pipe.send(None)
                child.wait(STOP_SECONDS)
            except (OSError, subprocess.TimeoutExpired):
                pass
        pipe.close()
        stop(child, seconds=3)
        shutil.rmtree(folder, ignore_errors=True)


def _quiet() -> dict[str, str]:
    """Return variables for the child, for where the user has set none."""
    quiet = {
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if "RAY_AUTH_MODE" not in os.environ:
        # A Ray that is started without a token writes one into the user's home folder.
        quiet |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return quiet
