"""Worker processes that are forked from a process which has imported Prefect: they start at once, not after seconds.

That process, the template, starts with the first worker, without the script (rule M1), and has one thread. It is kept
for the workers of later flow runs, and ends with this process, or when its place is needed for another one. Where no
template can be used, loky starts the workers. It always does so on systems other than Linux, because forking is not
safe there.

This module uses internals of multiprocessing's fork server. `tests/unit/backends/test_engine_names.py` fails with a
message when a release of Python moves one of them.
"""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from multiprocessing import forkserver, popen_forkserver, reduction, resource_tracker, util
from multiprocessing.context import set_spawning_popen
from pathlib import Path
from typing import Any

from loky.backend.spawn import get_preparation_data

IS_SAFE = sys.platform == "linux" and sys.version_info < (3, 14)
"""Whether workers are forked here. Python 3.14 gives its fork server a key, which this module does not support yet."""

_MOST = 4
"""Maximum number of templates of one process, because each keeps its memory."""
_LONGEST_PATH = 60
"""Longest path of the temporary folder, in bytes: the path of a socket may have 107."""
_PR_SET_PDEATHSIG = 1
_CHANGES = {"PYTEST_CURRENT_TEST"}
"""Environment variables that change all the time and that no module reads when it is imported."""
_PROGRAM = """
import signal, sys
# A terminal or systemd sends these to all processes, and this one ends as the last. A new worker is to see SIGTERM.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
sys.path[:] = {path!r}
from prefect_anyrunner.backends._template import main
main({listener}, {alive})
"""


class NoTemplate(Exception):
    """No worker can be forked now."""


class _Template(forkserver.ForkServer):
    """A template process. It ends when neither this process nor a worker holds the other end of its pipe."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: weakref.WeakSet[ForkedPopen] = weakref.WeakSet()
        self._process: subprocess.Popen[bytes] | None = None

    def is_dead(self) -> bool:
        """Return whether its process has ended."""
        return self._process is not None and self._process.poll() is not None

    def has_workers(self) -> bool:
        """Return whether a worker may be alive; multiprocessing asks for their ends before it starts another one."""
        return any(worker.returncode is None for worker in self.workers)

    def end(self) -> None:
        """End its process, which has no worker."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._forkserver_alive_fd is not None:
            os.close(self._forkserver_alive_fd)

    def ensure_running(self) -> None:
        """Start the process without looking at the script, which the stock method cannot do."""
        resource_tracker.ensure_running()
        if self._process is not None:
            return
        short = len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_PATH
        folder = tempfile.mkdtemp(prefix="anyrunner-", dir=None if short else "/tmp")
        weakref.finalize(self, _remove, folder, os.getpid())
        with socket.socket(socket.AF_UNIX) as listener:
            address = str(Path(folder, "template"))
            listener.bind(address)
            listener.listen()
            alive, self._forkserver_alive_fd = os.pipe()
            program = _PROGRAM.format(
                path=[each or os.getcwd() for each in sys.path],
                listener=listener.fileno(),
                alive=alive,
            )
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", program],
                    pass_fds=[listener.fileno(), alive],
                    stdin=subprocess.DEVNULL,
                )
            finally:
                os.close(alive)
            self._forkserver_address = address


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not in a process that was forked from it
        shutil.rmtree(folder, ignore_errors=True)


_templates: dict[Any, _Template] = {}  # the one that was used last is the last one
_lock = threading.Lock()


def _forget_templates() -> None:
    # In a process that is forked from this one: the templates are not its own, and another thread may hold the lock.
    global _templates, _lock
    _templates, _lock = {}, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_templates)


def _connect(worker: ForkedPopen, descriptors: list[int]) -> tuple[int, int]:
    """Fork `worker` from a template with the environment and the output of this process as they are now.

    Returns the same two descriptors as the stock method. Raises NoTemplate if no template can be used.
    """
    files = [_file(descriptor) for descriptor in range(3)]
    if None in files:  # one of these is closed, so a file of the template may get its number
        raise NoTemplate
    environment = frozenset((name, value) for name, value in os.environ.items() if name not in _CHANGES)
    key = (environment, tuple(sys.path), *files[1:])
    with _lock:
        template = _templates.pop(key, None)
        if template is not None and template.is_dead():
            template.end()
            template = None
        if template is None and len(_templates) >= _MOST:
            _make_room()
        template = _templates[key] = template or _Template()
        template.workers.add(worker)
        try:
            found: tuple[int, int] = template.connect_to_new_process(descriptors)
        except OSError as exc:
            raise NoTemplate from exc
        return found


def _make_room() -> None:
    """End the template without workers whose last use is longest ago. Raises NoTemplate if each has a worker."""
    for key, template in _templates.items():
        if not template.has_workers():
            del _templates[key]
            template.end()
            return
    raise NoTemplate


def _file(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:  # it is closed
        return None
    return found.st_dev, found.st_ino


class ForkedPopen(popen_forkserver.Popen):
    """A forked process. Raises NoTemplate if it cannot be forked."""

    def _launch(self, process_obj: Any) -> None:
        # This is the stock method, with another server and without the script.
        data = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(get_preparation_data(process_obj.name, init_main_module=False), data)
            reduction.dump(process_obj, data)
        finally:
            set_spawning_popen(None)
        self.sentinel, writer = _connect(self, self._fds)  # type: ignore[attr-defined]
        kept = os.dup(writer)  # it closes when this process ends, and the worker sees that
        self.finalizer = util.Finalize(self, util.close_fds, (kept, self.sentinel))  # type: ignore[attr-defined]
        try:
            with open(writer, "wb") as file:
                file.write(data.getbuffer())
            self.pid = forkserver.read_signed(self.sentinel)
        except (OSError, EOFError) as exc:  # the template has ended meanwhile
            raise NoTemplate from exc


def is_forked() -> bool:
    """Return whether this process was forked from a template."""
    return forkserver.get_inherited_fds() is not None


def enter_forked_process() -> None:
    """Set up a forked process like one that started by itself."""
    # Only the template can report how this process ends, so this process ends with the template.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    # Otherwise programs that a body starts would keep the template alive.
    os.set_inheritable(forkserver._forkserver._forkserver_alive_fd, False)  # type: ignore[attr-defined]
    if (tracker := resource_tracker.getfd()) is not None:
        os.set_inheritable(tracker, False)
    if (numpy_random := sys.modules.get("numpy.random")) is not None:  # an integration has imported it
        numpy_random.seed()
