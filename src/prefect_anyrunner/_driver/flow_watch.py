"""Watches the flow run of a runner: whether it has been cancelled in the API, and whether it has timed out.

A Prefect worker ends the process of a cancelled flow run. Nothing does so for a script, a notebook or a served flow:
the flow run would stay Cancelling while all of its tasks run (rule Q1). So the API is asked every few seconds.
"""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from prefect_anyrunner._prefect.api import own_client

SECONDS = 5.0
"""Seconds between two requests for the state of the flow run."""
LAST_ANSWER_SECONDS = 1.0
"""Seconds to wait for a pending answer when the flow run ends, because Prefect itself retries for minutes."""
_MANAGED = "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"
"""Environment variable by which Prefect's worker says that it cancels the flow run itself."""


class FlowWatch:
    """Watches the flow run of one started runner, from its first submit until it stops.

    `on_cancelled` is called once, in a thread of its own, when the flow run or one that it is part of is cancelled.
    """

    def __init__(self, on_cancelled: Callable[[], None], logger: logging.Logger) -> None:
        self._on_cancelled = on_cancelled
        self._logger = logger
        self._flow_run: FlowRun | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_cancelled = False
        self._ancestors: list[UUID] = []
        self._beginning = threading.Lock()

    def begin(self) -> None:
        """Begin to watch the flow run of the calling code, if there is one."""
        context = FlowRunContext.get()
        with self._beginning:  # several threads may submit
            if self._flow_run is not None or context is None or context.flow_run is None:
                return
            self._flow_run = context.flow_run
        if os.environ.get(_MANAGED, "true").lower() == "true":
            run = contextvars.copy_context().run
            self._thread = threading.Thread(target=run, args=(self._run,), name="anyrunner-flow-watch", daemon=True)
            self._thread.start()

    def is_over(self) -> bool:
        """Return whether the flow run was cancelled or has timed out, so that running bodies must be stopped."""
        state = self._flow_run.state if self._flow_run is not None else None
        return self._is_cancelled or (state is not None and state.name == "TimedOut")

    def end(self) -> None:
        """Stop watching, and end a cancelled flow run as Cancelled, because all of its task runs have ended."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(LAST_ANSWER_SECONDS)
        if not self._is_cancelled or self._flow_run is None:
            return
        try:
            with own_client() as client:
                state = client.read_flow_run(self._flow_run.id).state
                if state is not None and not state.is_final():
                    client.set_flow_run_state(self._flow_run.id, Cancelled(), force=True)
        except (httpx.HTTPError, ObjectNotFound) as exc:
            self._logger.warning("Could not report to the API that the flow run is cancelled: %s", exc)

    def _run(self) -> None:
        if self._stopped.wait(SECONDS):  # most flow runs are over before the first request
            return
        assert self._flow_run is not None
        with own_client() as client:
            while not self._stopped.is_set():
                try:
                    cancelled = self._ask(client, self._flow_run)
                except (httpx.HTTPError, ObjectNotFound) as exc:  # the next request may succeed
                    self._logger.debug("Could not ask whether the flow run is cancelled: %s", exc)
                    cancelled = False
                if cancelled and not self._stopped.is_set():
                    self._is_cancelled = True
                    self._logger.info(
                        "The flow run is cancelled, so that no task run starts and those that run are stopped."
                    )
                    self._on_cancelled()
                    return
                self._stopped.wait(SECONDS)

    def _ask(self, client: SyncPrefectClient, flow_run: FlowRun) -> bool:
        if _is_cancelled(client, flow_run.id):
            return True
        self._ancestors = self._ancestors or _ancestors(client, flow_run)
        return any(_is_cancelled(client, flow_run_id) for flow_run_id in self._ancestors)


def _ancestors(client: SyncPrefectClient, flow_run: FlowRun) -> list[UUID]:
    """Return the ids of the flow runs that a flow run is part of. Raises ObjectNotFound if the API lacks one."""
    ids: list[UUID] = []
    while (parent := flow_run.parent_task_run_id) is not None:
        parent_id = client.read_task_run(parent).flow_run_id
        if parent_id is None:
            break
        ids.append(parent_id)
        flow_run = client.read_flow_run(parent_id)
    return ids


def _is_cancelled(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    state = client.read_flow_run(flow_run_id).state
    return state is not None and (state.is_cancelling() or state.is_cancelled())
