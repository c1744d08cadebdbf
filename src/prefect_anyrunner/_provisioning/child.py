"""A child process that takes messages, sends messages, and is stopped together with everything that it has started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.2
"""Seconds between two checks that a silent child process is still running."""
STOP_SECONDS = 15.0
"""Seconds that a process gets to end after a signal before it is killed."""


class ChildEnded(Exception):
    """The child process has ended; the text says how."""


class Child:
    """`python -m MODULE FD` in a session of its own, connected by a pipe; its output goes to a log.

    `folder` is a temporary folder for both processes; it holds the log and is removed by `stop`. Ctrl-C reaches this
    process alone, which then decides how the child ends.
    """

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="anyrunner-"))
        self._log = self.folder / "output.log"
        self._pipe, theirs = Pipe()
        try:
            with theirs, self._log.open("wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", module, str(theirs.fileno())],
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    **_with_pipe(theirs.fileno()),
                )
        except BaseException:  # nothing else knows the folder
            self._pipe.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def send(self, message: Any) -> None:
        """Send a message. Raises OSError when the child has closed its end."""
        self._pipe.send(message)

    def receive(self, seconds: float | None = None) -> Any:
        """Return the next message. Raises ChildEnded, or TimeoutError when none has come after `seconds`."""
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            try:
                if self._pipe.poll(POLL_SECONDS):
                    return self._pipe.recv()
            except (EOFError, OSError):
                break
            # A process that the child has forked may hold the pipe open, so an open pipe does not mean a live child.
            if self._process.poll() is not None and not self._pipe.poll(0):
                break
        else:
            raise TimeoutError
        try:
            code = self.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise ChildEnded("it is running but has closed the connection") from None
        raise ChildEnded(
            f"killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        )

    def wait(self, seconds: float) -> int:
        """Wait for the child to end and return its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(seconds)

    def tail(self, lines: int = 15) -> list[str]:
        """Return the last lines of the child's output."""
        return self._log.read_text(errors="replace").strip().splitlines()[-lines:]

    def stop(self, *, by: int = signal.SIGTERM, seconds: float = STOP_SECONDS, keep_output: Path | None = None) -> None:
        """Send the child a signal if it is running, kill what is left after `seconds`, and remove the folder.

        `keep_output`: the file that its output is copied to first.
        """
        stop_process(self._process, by=by, seconds=seconds)
        self._pipe.close()
        if keep_output is not None:
            shutil.copyfile(self._log, keep_output)
        shutil.rmtree(self.folder, ignore_errors=True)


class Parent:
    """The child's end of the connection; any thread may send."""

    def __init__(self, descriptor: int) -> None:
        # The child's own children must not hold the pipe open.
        if sys.platform == "win32":
            from multiprocessing.connection import PipeConnection

            os.set_handle_inheritable(descriptor, False)
            self._pipe = PipeConnection(descriptor)
        else:
            os.set_inheritable(descriptor, False)
            self._pipe: Connection[Any, Any] = Connection(descriptor)
        self._sending = threading.Lock()

    def send(self, message: Any) -> None:
        """Send a message."""
        with self._sending:
            self._pipe.send(message)

    def receive(self) -> Any:
        """Return the next message. Raises EOFError when the parent is gone."""
        return self._pipe.recv()


def stop_process(process: subprocess.Popen[bytes], *, by: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> None:
    """End a process that was started in a session of its own, and everything that it has left behind there."""
    if sys.platform == "win32":  # there are no sessions, and no signal that asks a process to end
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True)
        process.wait()
        return
    if process.poll() is None:
        process.send_signal(by)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _with_pipe(descriptor: int) -> dict[str, Any]:
    """Return arguments of Popen for a child that inherits one end of a pipe, and no Ctrl-C."""
    if sys.platform == "win32":
        os.set_handle_inheritable(descriptor, True)
        startup = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [descriptor]})
        return {"startupinfo": startup, "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"pass_fds": [descriptor], "start_new_session": True}
