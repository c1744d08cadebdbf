"""Contexts of flow runs, entered once per worker and reused from body to body."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext, SyncClientContext, hydrated_context

from prefect_anyrunner._base.versions import refuse_skew, running
from prefect_anyrunner._serialization.values import dumps, loads
from prefect_anyrunner._worker.api_check import api_problem, unreachable
from prefect_anyrunner._worker.cache import blobs
from prefect_anyrunner._worker.messages import WorkerHost

_MOST_FLOW_RUNS = 8
"""Maximum number of flow runs whose contexts are kept; with more at a time, each body enters its context anew."""
_MOST_FREE = max(32, os.cpu_count() or 1)
"""Maximum free contexts kept per flow run: a worker with more threads than CPUs waits more than it computes."""
ENVIRONMENT = "environment"
"""Key of the environment variables in a serialized context; a worker that runs several bodies at a time gets none."""


_here: contextvars.ContextVar[WorkerHost | None] = contextvars.ContextVar("anyrunner_worker", default=None)
_own_runner: contextvars.ContextVar[Any] = contextvars.ContextVar("anyrunner_own_runner", default=None)


@contextmanager
def as_worker(host: WorkerHost) -> Iterator[None]:
    """Make `host` the current worker inside the block."""
    token = _here.set(host)
    try:
        yield
    finally:
        _here.reset(token)


def current_worker() -> WorkerHost | None:
    """Return the worker host whose body the calling code is part of, or None outside of one."""
    return _here.get()


def own_runner() -> Any:
    """Return the task runner of the flow whose task the calling code is part of; None while that runner starts."""
    return _own_runner.get()


class EnteredContext:
    """The context of a flow run, entered once: settings, flow run, one API client, one event loop if needed.

    A `contextvars.Context` keeps what was entered. Each body runs in a copy of it, so that no body sees the changes of
    another. One body at a time has the context, in any thread, because the task runner in it waits at the end of the
    body for the runs that the body submitted.
    """

    def __init__(self, serialized: dict[str, Any], host: WorkerHost) -> None:
        self.environment: dict[str, str] | None = serialized.pop(ENVIRONMENT, None)
        self.context = contextvars.copy_context()  # the engine's own variables (Dask's current worker) stay in it
        self._stack = ExitStack()
        self._runner: asyncio.Runner | None = None
        _entered.add(self)
        try:
            self.context.run(self._enter, serialized, host)
        except BaseException:  # no one else can close it
            self.close()
            raise

    def _enter(self, serialized: dict[str, Any], host: WorkerHost) -> None:
        _here.set(host)
        with hydrated_context(
            {"settings_context": serialized["settings_context"]}
        ):  # the client is made from these settings
            client = get_client(sync_client=True)
        api = str(client.api_url)
        why = api_problem(api)  # the client itself would try for minutes if nothing answers
        if why is not None:
            raise unreachable(f"{host.backend} worker {host.name()}", api, why)
        self._stack.enter_context(hydrated_context(serialized, client=client))
        if (flow := FlowRunContext.get()) is not None:
            _own_runner.set(flow.task_runner)
        self._stack.enter_context(SyncClientContext())

    def run_async(self, coroutine: Any) -> Any:
        """Run a coroutine in an event loop that is kept; asyncio tasks that it leaves behind are cancelled."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        try:
            return self._runner.run(coroutine, context=contextvars.copy_context())
        finally:
            loop = self._runner.get_loop()
            if left := asyncio.all_tasks(loop):
                for each in left:
                    each.cancel()
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    def close(self) -> None:
        """Leave the context."""
        _entered.discard(self)
        if self._runner is not None:
            self._runner.close()
        self.context.run(self._stack.close)


# Keep a reference until it is closed. Otherwise garbage collection would exit it in an arbitrary context.
_entered: set[EnteredContext] = set()


@atexit.register
def _leave_all() -> None:
    for entered in list(_entered):
        entered.close()


class ContextPool:
    """The contexts that no body is using, of the flow runs that were served last.

    They belong to no thread, because on Dask a task that waits gives its place to a new thread and ends with its own.
    """

    def __init__(self) -> None:
        self._free: OrderedDict[tuple[str, str], list[EnteredContext]] = OrderedDict()
        self._lock = threading.Lock()

    def acquire(self, host: WorkerHost, digest: str) -> EnteredContext:
        """Return a context for one body, until `release`; raises what entering it raises."""
        with self._lock:
            if free := self._free.get((digest, host.name())):
                return free.pop()
        return EnteredContext(load_context(host, digest), host)

    def release(self, host: WorkerHost, digest: str, entered: EnteredContext) -> None:
        """Keep a context for the next body, and close those above the limits."""
        key = (digest, host.name())  # threads may be workers of their own: LocalCluster(processes=False)
        with self._lock:
            free = self._free.setdefault(key, [])
            self._free.move_to_end(key)
            free.append(entered)
            surplus = [free.pop(0)] if len(free) > _MOST_FREE else []
            while len(self._free) > _MOST_FLOW_RUNS:
                surplus += self._free.popitem(last=False)[1]
        for each in surplus:
            each.close()


contexts = ContextPool()


def dump_context(serialized: dict[str, Any], engine: tuple[str, ...]) -> bytes:
    """Return a context as bytes, with the versions that workers must have; `engine`: modules that workers need."""
    return pickle.dumps((engine, dict(running(*engine)), dumps(serialized, what="the context of the flow run")))


def load_context(host: WorkerHost, digest: str) -> dict[str, Any]:
    """Return the context under `digest`. Raises VersionSkew if its versions and those of this worker do not fit."""
    engine, versions, data = pickle.loads(blobs.get(host, digest))
    refuse_skew(
        f"{host.backend} worker {host.name()}", running(*engine), versions
    )  # before anything of Prefect's is unpickled
    context: dict[str, Any] = loads(data, what="the context of the flow run")
    return context
