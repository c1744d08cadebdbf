"""The one Ray that this process can be connected to: its first user starts it, its last one stops it.

Task runners of several flow runs use it at once. A connection that the user's own code made is used and never stopped.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

import ray
from ray.runtime_context import get_runtime_context  # unlike `ray.get_runtime_context`, it never starts a Ray

from prefect_anyrunner._base.environment import restore_environment
from prefect_anyrunner._base.errors import EngineUnreachable
from prefect_anyrunner.backends._ray.addresses import OWN, connected_to, is_same, set_token
from prefect_anyrunner.backends._ray.last_words import request_all
from prefect_anyrunner.backends._ray.signals import signals_kept
from prefect_anyrunner.backends._ray.store import job_prefix

_lock = threading.Lock()
_current: Connection | None = None
_environment: dict[str, str | None] = {}
"""Environment variables that have changed since Ray started here, with their values before."""
_LOGGERS = "ray._private.worker", "ray._private.authentication.authentication_token_setup"
_NO_NEWS = "SIGTERM handler is not set", "Token authentication is enabled"
"""Beginnings of warnings of these loggers that say what this module does on purpose."""
_START_LIMIT = "RAY_raylet_start_wait_time_s", "120"
"""The setting of Ray that says how many seconds it may take to start. Its default, 30, is too few on a busy machine."""


class Connection:
    """A connection of this process to a Ray, as long as it lasts."""

    def __init__(self, *, ours: bool, ended: threading.Event | None = None) -> None:
        self.ours = ours
        self.users = 0
        self._ended = ended
        self._identity = _identity()
        self.prefix = job_prefix()  # of keys in Ray's store

    def lasts(self) -> bool:
        """Return whether the process is still connected to the same Ray: anybody may call `ray.shutdown()`."""
        try:
            return ray.is_initialized() and _identity() == self._identity
        except Exception:  # it was shut down between two lines
            return False

    def end(self) -> None:
        """Stop Ray if it was started here and nobody has stopped it yet, after its workers have sent their logs."""
        try:
            if self.ours and self.lasts():
                request_all()
                with signals_kept():
                    ray.shutdown()
        finally:
            if self._ended is not None:
                self._ended.set()


def join(address: str | None, start: Callable[[], Any]) -> Connection:
    """Return the connection of this process, made by `start` if there is none; `leave` must follow.

    Raises EngineUnreachable when the process is connected to another Ray than the one at `address`; without an address,
    or with "local", any Ray is accepted, because there can be no second one. Raises what `start` raises.
    """
    global _current
    with _lock:
        if not ray.is_initialized():
            _current = _started(start, own=address in (None, OWN))
        else:
            if address not in (None, OWN):
                check_same(address)
            if _current is None or not _current.lasts():
                _current = Connection(ours=False)
        _current.users += 1
        return _current


def leave(connection: Connection) -> None:
    """End the use of `connection`; the last user's call stops the Ray that was started here."""
    global _current
    with _lock:
        connection.users -= 1
        if connection.users == 0:
            connection.end()
            if _current is connection:
                _current = None
                restore_environment(_environment)


def in_worker() -> bool:
    """Return whether this process is a worker of Ray, where a task that waits for Ray frees its CPU."""
    return bool(get_runtime_context().worker.mode == ray.WORKER_MODE)


def check_same(address: str) -> None:
    """Raise EngineUnreachable if this process is connected to another Ray than the one at `address`."""
    wanted = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    connected = connected_to()
    if wanted == "auto" or is_same(wanted, connected):
        return
    raise EngineUnreachable(
        f"The task runner is to use the Ray cluster at {wanted}, but this process is connected to the one at "
        f"{connected}, and can only use one: give each flow run a process of its own, call ray.shutdown() first, or "
        "leave the address out to use that one.",
        address=wanted,
    )


def _started(start: Callable[[], Any], *, own: bool) -> Connection:
    restore_environment(_environment)  # of a Ray that somebody else has stopped
    before = dict(os.environ)
    ended = threading.Event()
    try:
        with signals_kept():
            if own:
                set_token()
                os.environ.setdefault(*_START_LIMIT)
            with _without_warnings():
                _in_lasting_thread(start, ended)
            _note_environment(before)
            return Connection(ours=True, ended=ended)
    except BaseException:
        with signals_kept():
            ray.shutdown()  # what has come up so far
        ended.set()
        _note_environment(before)
        restore_environment(_environment)
        raise


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Leave out, in a block, what Ray warns of and what is as it should be: where it starts, and its token."""

    def is_news(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_NO_NEWS)

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_news)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_news)


def _in_lasting_thread(start: Callable[[], Any], ended: threading.Event) -> None:
    """Call `start` in a thread that lives until `ended` is set.

    Linux kills the processes of a Ray as soon as the thread that started them ends, and the thread of a flow may end
    before other flows that use the same Ray. In the main thread, Ray would replace the handler of SIGTERM by one that
    leaves the start half done.
    """
    result: Future[None] = Future()

    def run() -> None:
        try:
            start()
        except BaseException as exc:
            result.set_exception(exc)
            return
        result.set_result(None)
        ended.wait()

    threading.Thread(target=run, name="anyrunner-ray", daemon=True).start()
    try:
        result.result()
    except BaseException:
        wait([result])  # the calling thread alone may have been interrupted
        raise


def _identity() -> object:
    client = ray.util.client.ray.get_context()  # type: ignore[no-untyped-call]
    if client.is_connected():
        return client.client_worker
    context = get_runtime_context()
    return context.gcs_address, context.get_job_id(), context.get_node_id()


def _note_environment(before: dict[str, str]) -> None:
    for name in {*before, *os.environ}:
        # Another thread may change the environment meanwhile; these are Ray's.
        if (name.startswith("RAY_") or name == "PYTHONBREAKPOINT") and before.get(name) != os.environ.get(name):
            _environment[name] = before.get(name)
