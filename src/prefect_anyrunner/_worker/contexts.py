"""Contexts of flow runs, entered once per worker and reused from body to body."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import pickle
import threading
from collections import OrderedDict
from contextlib import ExitStack
from typing import Any

from prefect.client.orchestration import get_client
from prefect.context import SyncClientContext, hydrated_context

from prefect_anyrunner._base.versions import refuse_skew, running
from prefect_anyrunner._serialization.values import dumps, loads
from prefect_anyrunner._worker.api_check import api_problem, unreachable
from prefect_anyrunner._worker.cache import _kept
from prefect_anyrunner._worker.messages import WorkerHost

_MAX_CONTEXTS = 8  # more flow runs than that at a time enter theirs anew for each body
_MAX_FREE = max(32, os.cpu_count() or 1)  # of each; a worker of more threads than CPUs waits more than it computes


_here: contextvars.ContextVar[WorkerHost | None] = contextvars.ContextVar("anyrunner_worker", default=None)


def current_worker() -> WorkerHost | None:
    """Return the worker host whose body the calling code is part of, or None outside of one."""
    return _here.get()


class EnteredContext:
    """A run's context, entered once: settings, flow run, one API client, one event loop if needed.

    A `contextvars.Context` keeps what was entered; each body runs in a copy of it, so no body sees another's changes.
    One body at a time has it, in whatever thread: what it submits is waited for at its end by the runner in here.
    """

    def __init__(self, serialized: dict[str, Any], host: WorkerHost) -> None:
        self.context = contextvars.copy_context()  # the engine's own variables (Dask's current worker) stay in it
        self._stack = ExitStack()
        self._runner: asyncio.Runner | None = None
        _entered.add(self)
        self.context.run(self._enter, serialized, host)

    def _enter(self, serialized: dict[str, Any], host: WorkerHost) -> None:
        _here.set(host)
        with hydrated_context({"settings_context": serialized["settings_context"]}):  # the client is made from them
            client = get_client(sync_client=True)
        api = str(client.api_url)
        if (
            why := api_problem(api)
        ) is not None:  # the client itself would try for minutes where nothing answers at all
            raise unreachable(f"{host.backend} worker {host.name()}", api, why)
        self._stack.enter_context(hydrated_context(serialized, client=client))
        self._stack.enter_context(SyncClientContext())

    def run_async(self, coroutine: Any) -> Any:
        """Run a coroutine in a loop that is kept; what it leaves behind is cancelled."""
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
        _entered.discard(self)
        if self._runner is not None:
            self._runner.close()
        self.context.run(self._stack.close)


_entered: set[EnteredContext] = (
    set()
)  # kept until closed: a context that is dropped would be left in whatever context drops it


@atexit.register
def _leave_all() -> None:
    for warm in list(_entered):
        warm.close()


class ContextPool:
    """The contexts that no body has at the moment, of the flow runs that were served last.

    They belong to no thread: on Dask, a task that waits gives its place to a new thread, and its own ends with it.
    """

    def __init__(self) -> None:
        self._free: OrderedDict[tuple[str, str], list[EnteredContext]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, host: WorkerHost, digest: str) -> EnteredContext:
        """Return a context for one body, until `give_back`; raises what entering it raises."""
        with self._lock:
            if free := self._free.get((digest, host.name())):
                return free.pop()
        return EnteredContext(load_context(host, digest), host)

    def give_back(self, host: WorkerHost, digest: str, warm: EnteredContext) -> None:
        """Keep `warm` for the next body, and close what is too much."""
        key = (digest, host.name())  # threads may be workers of their own: LocalCluster(processes=False)
        with self._lock:
            free = self._free.setdefault(key, [])
            self._free.move_to_end(key)
            free.append(warm)
            surplus = [free.pop(0)] if len(free) > _MAX_FREE else []
            while len(self._free) > _MAX_CONTEXTS:
                surplus += self._free.popitem(last=False)[1]
        for each in surplus:
            each.close()


contexts = ContextPool()


def dump_context(serialized: dict[str, Any], engine: tuple[str, ...]) -> bytes:
    """Return a context as bytes for workers, under the versions that they must have; `engine`: modules it needs."""
    return pickle.dumps((engine, dict(running(*engine)), dumps(serialized, what="the context of the flow run")))


def load_context(host: WorkerHost, digest: str) -> dict[str, Any]:
    engine, versions, data = pickle.loads(_kept.get(host, digest))
    refuse_skew(f"{host.backend} worker {host.name()}", running(*engine), versions)  # before anything of Prefect's
    context: dict[str, Any] = loads(data, what="the context of the flow run")
    return context
