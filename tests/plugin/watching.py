"""The processes and folders that a pytest run leaves behind, and a signal in the middle of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

WITHIN = 200.0
"""Seconds that a pytest run gets to reach its test, and seconds that it gets to end after a signal."""


class Watched:
    """All processes and folders of a pytest run, found by their `TMPDIR`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def nothing_left(self) -> None:
        """Assert that no process and no folder is left, after processes that are ending have ended."""
        self.no_process_left()
        assert [path.name for path in self.folder.iterdir()] == []

    def no_process_left(self) -> None:
        end = time.monotonic() + 20
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        assert [" ".join(each.cmdline()) for each in left] == []


def interrupt(pytester: pytest.Pytester, *words: str, by: signal.Signals = signal.SIGINT) -> None:
    """Run a test that uses each runner and one that hangs; send pytest a signal there, and wait for its end."""
    pytester.makepyfile(
        test_waits="""
        import threading
        from pathlib import Path
        from flows import doubles

        def test_first(any_runner):
            assert doubles([1, 2]) == [2, 4]

        def test_waits():
            Path("ready").touch()
            threading.Event().wait()
        """
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    with (pytester.path / "output.log").open("wb") as output:
        running = subprocess.Popen(command, cwd=pytester.path, stdout=output, stderr=output, start_new_session=True)
    try:
        end = time.monotonic() + WITHIN
        while not (pytester.path / "ready").exists():
            output_so_far = (pytester.path / "output.log").read_text()
            assert running.poll() is None and time.monotonic() < end, output_so_far
            time.sleep(0.05)
        os.kill(running.pid, by)
        expected = pytest.ExitCode.INTERRUPTED if by == signal.SIGINT else -by
        assert running.wait(WITHIN) == expected, (pytester.path / "output.log").read_text()
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()
