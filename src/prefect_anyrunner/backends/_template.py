"""The program of the template in `_fork_server.py`: it imports what workers need, and forks them."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module
from multiprocessing import forkserver, reduction
from socket import socket

from prefect.plugins import load_prefect_collections

_MODULES = ("prefect.flow_engine", "prefect_anyrunner.backends._process.worker", "prefect_anyrunner.backends.process")
_BARE = "without collections"


def main(listener: int, alive: int) -> None:
    """Fork a worker for each request on the socket `listener`, until the other end of the pipe `alive` is closed."""
    for module in _MODULES:
        import_module(module)
    if _BARE not in sys.argv:
        load_prefect_collections()  # Prefect does so in each worker, before its first run
        if len(os.listdir("/proc/self/task")) > 1:  # a fork leaves out a thread of one of them, which may hold a lock
            os.execv(sys.executable, [*sys.orig_argv, _BARE])
    sys.stdout.flush()  # otherwise each worker would write an integration's unflushed output
    _survive_failed_forks()
    forkserver.main(listener, alive, [])


def _survive_failed_forks() -> None:
    # The stock server ends when it cannot fork, as at the limit of processes, and its workers would end with it. It
    # goes on after ECONNABORTED, and the other side sees by the closed descriptors that it has no worker.
    receive, fork = reduction.recvfds, os.fork
    received: list[int] = []

    def remembered(sock: socket, size: int) -> list[int]:
        received[:] = receive(sock, size)
        return list(received)

    def tried() -> int:
        try:
            return fork()
        except OSError as exc:
            for descriptor in received:
                os.close(descriptor)
            raise ConnectionAbortedError(errno.ECONNABORTED, f"no process could be forked: {exc}") from exc

    reduction.recvfds = remembered
    os.fork = tried
