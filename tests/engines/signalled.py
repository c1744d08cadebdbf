"""A flow in a process of its own that gets signals, and every process that it has started."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.engines.own_server import OwnServer

LONG = 200.0
"""Seconds in which a busy machine gets everything done."""
_MARK = "ANYRUNNER_TEST_MARK"


class Signalled:
    """A run of `signalled_flow`; its processes are known by a variable in their environment.

    `sleeps`: the seconds that a task sleeps at once, and how often it does.
    """

    def __init__(
        self, server: OwnServer, spec: str, moment: str, folder: Path, *, sleeps: tuple[float, int] = (4, 1)
    ) -> None:
        self.folder = folder
        self._server = server
        self._environment = {**server.environment, _MARK: str(folder), "PREFECT_LOGGING_LEVEL": "INFO"}
        self._log = folder / "output.log"
        with self._log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.engines.signalled_flow", spec, moment, str(folder), *map(str, sleeps)],
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, moment: str) -> None:
        """Wait until the flow run starts its engine, submits, waits for its runs, or ends while some of them run."""
        match moment:
            case "start":
                self.wait_until(lambda: self.flow_run() is not None)
            case "submit":
                self.wait_until(lambda: (self.folder / "submitted-20").exists())
            case "wait":
                self.wait_until(lambda: (self.folder / "submitted-49").exists() and self._runs())
            case "end":
                self.wait_until(lambda: self._runs() and (self.flow_run() or {}).get("state_name") == "Completed")

    def _runs(self) -> bool:
        return any(self.folder.glob("runs-*"))

    def wait_until(self, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + LONG
        while not reached():
            assert self.process.poll() is None and time.monotonic() < end, self.output()
            time.sleep(0.02)

    def started(self) -> list[psutil.Process]:
        """Return the processes that are left of the run."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def left(self) -> list[str]:
        """Return the command lines of the processes that are left when the run has ended, after some seconds."""
        _, left = psutil.wait_procs(self.started(), timeout=15)
        found = []
        for process in left:
            try:
                found.append(" ".join(process.cmdline())[:200])
            except psutil.Error:
                continue
        return found

    def flow_run(self) -> dict[str, Any] | None:
        """Return the flow run as the API knows it, None if it does not."""
        found = self._server.ask("/flow_runs/filter", {"flow_runs": {"name": {"any_": [self.folder.name]}}})
        return found[0] if found else None

    def flow_run_id(self) -> str:
        found = self.flow_run()
        assert found is not None
        return str(found["id"])

    def output(self) -> str:
        return self._log.read_text(errors="replace")[-6000:]

    def end(self) -> None:
        for process in self.started():
            process.kill()
        self.process.wait()
