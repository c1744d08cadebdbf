"""The upstream runs of a run: wait for them, find those that block it, and name the root of a failure (rules U1-U3)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.exceptions import UpstreamTaskError
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import allow_failure, quote
from prefect.utilities.collections import StopVisiting, visit_collection

from prefect_anyrunner._base.safe_text import described
from prefect_anyrunner._base.status import Status
from prefect_anyrunner._driver.future import AnyFuture
from prefect_anyrunner._driver.run import Run
from prefect_anyrunner._prefect.private import final_state
from prefect_anyrunner._prefect.states import because, error_of, status_of

_SCALARS = (int, float, str, bool, bytes, type(None))


class UpstreamWaiter:
    """Waits for the upstream runs of each run, without holding a worker.

    `on_ready(run)` is called once all upstream runs of `run` have ended: at once in the calling thread, or later in a
    thread of this waiter, because the thread that ends an upstream run belongs to the runner of that run. If
    `on_ready` raises in that thread, `on_error(run, error)` is called.
    """

    def __init__(
        self, name: str, on_ready: Callable[[Run], None], on_error: Callable[[Run, BaseException], None]
    ) -> None:
        self._name = name
        self._on_ready = on_ready
        self._on_error = on_error
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def watch(self, run: Run) -> None:
        """Find the upstream runs of `run`, and call `on_ready` once they have ended."""
        run.upstreams = find_upstreams(run.parameters, run.wait_for)
        unfinished = [each for each in run.upstreams if isinstance(each, PrefectFuture) and not has_ended(each)]
        if not unfinished:
            self._on_ready(run)
            return
        pending = len(unfinished)

        def one_ended(_: PrefectFuture[Any]) -> None:
            nonlocal pending
            with self._lock:
                pending -= 1
                all_ended = pending == 0
            if all_ended:
                self.hand_over(run)

        for future in unfinished:
            if isinstance(future, AnyFuture):
                future.when_done(one_ended)
            else:
                future.add_done_callback(one_ended)

    def hand_over(self, run: Run) -> None:
        """Call `on_ready` in the thread of this waiter, or in the calling thread once the waiter has stopped."""
        with self._lock:
            if not self._stopped:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._serve, name=f"{self._name}-upstreams", daemon=True)
                    self._thread.start()
                self._ready.put(run)
                return
        self._call_on_ready(run)

    def stop(self) -> None:
        """End the thread of this waiter, because every run has ended."""
        with self._lock:
            self._stopped = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._ready.put(None)
            thread.join()

    def _serve(self) -> None:
        while (run := self._ready.get()) is not None:
            self._call_on_ready(run)

    def _call_on_ready(self, run: Run) -> None:
        try:
            self._on_ready(run)
        except BaseException as exc:  # an error here ends this run, never the thread
            self._on_error(run, exc)


def find_upstreams(parameters: dict[str, Any], wait_for: Any) -> list[Any]:
    """Return the futures and states anywhere in the arguments, except those inside `quote`."""
    if wait_for is None and all(isinstance(value, _SCALARS) for value in parameters.values()):
        return []
    found: list[Any] = []

    def visit(expr: Any, context: dict[str, Any]) -> Any:
        if isinstance(context.get("annotation"), quote):
            raise StopVisiting()
        if isinstance(expr, PrefectFuture | State):
            found.append(expr)
        return expr

    visit_collection([parameters, wait_for], visit_fn=visit, return_data=False, max_depth=-1, context={})
    return found


def blockers(parameters: dict[str, Any], wait_for: Any) -> list[Any]:
    """Return the ended futures and states among the arguments that keep a task from running by Prefect's rules."""
    found: list[Any] = []

    def visit(expr: Any, context: dict[str, Any]) -> Any:
        annotation = context.get("annotation")
        if isinstance(annotation, quote):
            raise StopVisiting()
        if isinstance(expr, PrefectFuture | State):
            if isinstance(expr, PrefectFuture) and not has_ended(expr):
                with suppress(Exception):  # it has ended, as its state then says; the API may learn that later
                    expr.wait()
            state = expr if isinstance(expr, State) else expr.state
            status = status_of(state)
            forgiven = isinstance(annotation, allow_failure) and status in (Status.FAILED, Status.BLOCKED)
            if status is not Status.COMPLETED and not forgiven:
                found.append(expr)
        return expr

    visit_collection([parameters, wait_for], visit_fn=visit, return_data=False, max_depth=-1, context={})
    return found


def root_causes(blocking: list[Any]) -> tuple[tuple[UUID, ...], UpstreamTaskError]:
    """Return the ids of the runs at the root of a blocked run, and the error that names the first (rule U1)."""
    roots: dict[UUID, tuple[str, BaseException | None]] = {}
    for each in blocking:
        outcome = each.outcome() if isinstance(each, AnyFuture) else None
        if outcome is not None and outcome.status is Status.BLOCKED and outcome.error is not None:
            text = str(outcome.error)
            for root in outcome.upstream:
                roots.setdefault(root, (text, outcome.error.__cause__))
        elif outcome is not None and outcome.task_run_id is not None and outcome.status is not Status.COMPLETED:
            roots.setdefault(
                outcome.task_run_id,
                (
                    f"Upstream task run {outcome.task_run_name!r} ({outcome.task_run_id}) "
                    f"ended {outcome.status.value}: {_described(outcome.error)}",
                    outcome.error,
                ),
            )
        else:
            state: State[Any] = each if isinstance(each, State) else each.state
            task_run_id = state.state_details.task_run_id or getattr(each, "task_run_id", None)
            if task_run_id is not None:
                cause = error_of(state)
                why = described(cause) if cause is not None else state.message or state.name
                roots.setdefault(task_run_id, (f"Upstream task run '{task_run_id}' ended {state.name}: {why}", cause))
    text, cause = next(iter(roots.values()), ("An upstream task run did not complete.", None))
    return tuple(roots), because(UpstreamTaskError(text), cause)


def _described(error: BaseException | None) -> str:
    return described(error) if error is not None else "no error is known"


def has_ended(future: PrefectFuture[Any]) -> bool:
    """Return whether an upstream future of any runner has ended, without asking the API."""
    if isinstance(future, AnyFuture):
        return future.outcome() is not None
    return final_state(future) is not None
