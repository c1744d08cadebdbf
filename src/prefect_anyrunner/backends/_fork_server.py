"""Worker processes that are forked from a process which has imported Prefect: they start at once, not after seconds.

That process, the template, starts with the first worker, without the script (rule M1), and has one thread. It is kept
for the workers of later flow runs, and ends with this process. Forking is safe on Linux only; elsewhere
`_worker_process.py` starts workers.

All that we know of multiprocessing's fork server stands here. `tests/unit/backends/test_engine_names.py` fails with a
sentence when a release of Python moves it.
"""

from __future__ import annotations

import ctypes
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing import connection, popen_forkserver, reduction, resource_tracker, util
from multiprocessing.context import BaseContext, set_spawning_popen
from multiprocessing.forkserver import ForkServer, read_signed
from multiprocessing.process import BaseProcess
from typing import Any

from loky.backend.spawn import get_preparation_data

IS_SAFE = sys.platform == "linux" and sys.version_info < (3, 14)
"""Whether workers are forked here: Python 3.14 gives its fork server a key, which is not tried yet."""

_PR_SET_PDEATHSIG = 1
_CHANGES = {"PYTEST_CURRENT_TEST"}
"""Environment variables that change all the time and that nothing reads when it is imported."""
_PROGRAM = """
import signal, sys
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)  # a terminal or systemd sends it to all; this process ends as the last one
sys.path[:] = {path!r}
from prefect_anyrunner.backends._template import main
main({listener}, {alive})
"""


class _Template(ForkServer):
    """A template process, as it was when it started."""

    def __init__(self, key: Any) -> None:
        super().__init__()
        self.key = key
        self._process: subprocess.Popen[bytes] | None = None

    def is_dead(self) -> bool:
        """Return whether its process has ended."""
        return self._process is not None and self._process.poll() is not None

    def ensure_running(self) -> None:
        """Start the process, which the stock method cannot do without looking at the script."""
        with self._lock:  # type: ignore[attr-defined]
            resource_tracker.ensure_running()
            if self._process is not None:
                return
            with socket.socket(socket.AF_UNIX) as listener:
                address = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]
                listener.bind(address)
                if not util.is_abstract_socket_namespace(address):
                    os.chmod(address, 0o600)
                listener.listen()
                # The template ends when nobody holds the other end: neither this process nor a worker.
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

    def let_go(self) -> None:
        """Let the process end when its last worker has ended."""
        if self._process is not None:
            os.close(self._forkserver_alive_fd)


_template: _Template | None = None
_replaced: list[_Template] = []
_lock = threading.Lock()


def _current_template() -> _Template:
    """Return a template with the environment and the output of this process as they are now."""
    global _template
    environment = {name: value for name, value in os.environ.items() if name not in _CHANGES}
    key = (os.getpid(), environment, sys.path[:], _file(1), _file(2))
    with _lock:
        if _template is not None and (_template.key != key or _template.is_dead()):
            _template.let_go()
            _replaced.append(_template)
            _template = None
        _replaced[:] = [each for each in _replaced if not each.is_dead()]  # the others are not left as zombies
        if _template is None:
            _template = _Template(key)
        return _template


def _file(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:  # it is closed
        return None
    return found.st_dev, found.st_ino


class _Popen(popen_forkserver.Popen):
    def _launch(self, process_obj: Any) -> None:
        # As the stock method, with another server and without the script.
        template = _current_template()
        data = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump(get_preparation_data(process_obj.name, init_main_module=False), data)
            reduction.dump(process_obj, data)
        finally:
            set_spawning_popen(None)
        self.sentinel, writer = template.connect_to_new_process(self._fds)  # type: ignore[attr-defined]
        kept = os.dup(writer)  # the worker sees the end of this process by it
        self.finalizer = util.Finalize(self, util.close_fds, (kept, self.sentinel))  # type: ignore[attr-defined]
        with open(writer, "wb") as file:
            file.write(data.getbuffer())
        self.pid = read_signed(self.sentinel)


class _Process(BaseProcess):
    """A process that does not import `__main__`; functions and classes of `__main__` reach it by value."""

    _start_method = "forkserver"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A task that uses multiprocessing finds what the script has chosen.
        self._chosen_method = multiprocessing.get_start_method(allow_none=True)
        self._environment = dict(os.environ)

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _Popen(process_obj)

    def run(self) -> None:
        """Run the process's function, in the process."""
        # The template alone can say how this process ends, so it ends with the template.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for name in _CHANGES & self._environment.keys():
            os.environ[name] = self._environment[name]
        if self._chosen_method is not None:
            multiprocessing.set_start_method(self._chosen_method, force=True)
        super().run()


class ForkContext(BaseContext):
    """The multiprocessing context by which our workers are forked."""

    _name = "anyrunner-fork"
    Process = _Process
