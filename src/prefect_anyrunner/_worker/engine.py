"""Prefect's task engine as runners use it: bodies can be interrupted, and other code publishes the states.

The engine runs the user's own task with the user's own function, because cache policies, hooks and conditions look at
both. So the engine itself marks where the body begins and ends: Prefect's `call_task_fn` calls the user's function,
then `handle_success`.

The engine publishes no state itself. It passes each state to `events`, which decides whether and when the API gets it.
Making an event costs about a third of what the engine costs, so no event is made only to be dropped.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from prefect.client.schemas.objects import State, TaskRun
from prefect.results import should_persist_result
from prefect.states import Cancelled
from prefect.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine
from prefect.tasks import Task
from prefect.transactions import AsyncTransaction, Transaction

from prefect_anyrunner._prefect.private import ResultRecord, raise_if_suspended
from prefect_anyrunner._prefect.states import put_engine_state
from prefect_anyrunner._publishing.change import Change
from prefect_anyrunner._worker.forks import end_if_forked
from prefect_anyrunner._worker.interrupt import (
    async_sleep,
    is_interruption,
    leave_body,
    run_async_body,
    run_body,
    sleep,
)

WHILE_RUNNING = "It was cancelled while it ran."
"""The message of the state of a run whose body was stopped."""


class StateEvents(Protocol):
    """The publisher of the states that an engine puts on its task run."""

    def changed(self, new: Change) -> None:
        """Publish a change."""
        ...


@dataclass
class SyncEngine(SyncTaskRunEngine[Any, Any]):
    """Prefect's task engine; `interrupt(claim)` stops the body that it runs, and the wait for another attempt."""

    claim: str = ""
    events: StateEvents | None = None
    published: bool = False
    process: int = field(default_factory=os.getpid)

    def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        """Put `state` on the task run and publish it."""
        _set_state(self, state)
        return state

    def wait_until_ready(self) -> None:
        """Wait until the next attempt is due."""
        if (seconds := _seconds_until_due(self)) > 0:
            sleep(self.claim, seconds)
        super().wait_until_ready()

    def call_task_fn(self, transaction: Transaction) -> Any:
        """Run the body, or read its result if an earlier run has stored it."""
        if transaction.is_committed():
            return super().call_task_fn(transaction)
        return run_body(self.claim, self._call_body, transaction)

    def _call_body(self, transaction: Transaction) -> Any:
        try:
            return super().call_task_fn(transaction)
        except BaseException as exc:
            end_if_forked(self.process, exc)
            raise

    def handle_success(self, result: Any, transaction: Transaction) -> Any:
        """Store and report what the body has returned."""
        end_if_forked(self.process)
        leave_body(self.claim)
        return super().handle_success(result, transaction)

    def handle_crash(self, exc: BaseException) -> None:
        """End the run as crashed, or as cancelled if `interrupt` has stopped it."""
        if not is_interruption(exc):
            super().handle_crash(exc)
            return
        self.logger.info(WHILE_RUNNING)
        self.set_state(Cancelled(message=WHILE_RUNNING), force=True)
        self._raised = exc
        self._telemetry.end_span_on_failure(WHILE_RUNNING)


@dataclass
class AsyncEngine(AsyncTaskRunEngine[Any, Any]):
    """`SyncEngine` for tasks that are coroutine functions."""

    claim: str = ""
    events: StateEvents | None = None
    published: bool = False
    process: int = field(default_factory=os.getpid)

    async def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        """Put `state` on the task run and publish it."""
        _set_state(self, state)
        return state

    async def wait_until_ready(self) -> None:
        """Wait until the next attempt is due."""
        if (seconds := _seconds_until_due(self)) > 0:
            await async_sleep(self.claim, seconds)
        await super().wait_until_ready()

    async def call_task_fn(self, transaction: AsyncTransaction) -> Any:
        """Run the body, or read its result if an earlier run has stored it."""
        if transaction.is_committed():
            return await super().call_task_fn(transaction)
        return await run_async_body(self.claim, self._call_body, transaction)

    async def _call_body(self, transaction: AsyncTransaction) -> Any:
        try:
            return await super().call_task_fn(transaction)
        except BaseException as exc:
            end_if_forked(self.process, exc)
            raise

    async def handle_success(self, result: Any, transaction: AsyncTransaction) -> Any:
        """Store and report what the body has returned."""
        end_if_forked(self.process)
        leave_body(self.claim)
        return await super().handle_success(result, transaction)

    async def handle_crash(self, exc: BaseException) -> None:
        """End the run as crashed, or as cancelled if `interrupt` has stopped it."""
        if not is_interruption(exc):
            await super().handle_crash(exc)
            return
        self.logger.info(WHILE_RUNNING)
        await self.set_state(Cancelled(message=WHILE_RUNNING), force=True)
        self._raised = exc
        self._telemetry.end_span_on_failure(WHILE_RUNNING)


def _set_state(engine: SyncEngine | AsyncEngine, state: State[Any]) -> None:
    task_run = engine.task_run
    assert task_run is not None
    assert engine.events is not None
    before = task_run.state
    put_engine_state(task_run, state)
    metadata = state.data.metadata if isinstance(state.data, ResultRecord) and should_persist_result() else None
    engine.events.changed(Change(task_run, before, state, metadata, follows=engine.published))
    engine.published = True
    engine._telemetry.update_state(state)


def _seconds_until_due(engine: SyncEngine | AsyncEngine) -> float:
    due = engine.state.state_details.scheduled_time
    return (due - datetime.now(UTC)).total_seconds() if due is not None else 0.0


def run_sync(engine: SyncEngine) -> None:
    """Run a task run to its end as `prefect.task_engine.run_task_sync` does, and leave its state on it."""
    assert engine.task_run is not None
    with engine.start(task_run_id=engine.task_run.id):
        while engine.is_running():
            engine.wait_until_ready()
            with engine.asset_context(), engine.run_context(), engine.transaction_context() as transaction:
                engine.call_task_fn(transaction)
            raise_if_suspended()


async def run_async(engine: AsyncEngine) -> None:
    """Run a task run to its end as `prefect.task_engine.run_task_async` does, and leave its state on it."""
    assert engine.task_run is not None
    async with engine.start(task_run_id=engine.task_run.id):
        while engine.is_running():
            await engine.wait_until_ready()
            async with engine.asset_context(), engine.run_context(), engine.transaction_context() as transaction:
                await engine.call_task_fn(transaction)
            raise_if_suspended()


def run_engine(
    task: Task[Any, Any],
    task_run: TaskRun,
    parameters: dict[str, Any],
    events: StateEvents,
    *,
    claim: str,
    wait_for: Any = None,
) -> None:
    """Run Prefect's task engine for one task run in the flow's process, and leave its state on `task_run`.

    `events` publishes its states, and `claim` is the name under which `interrupt` stops the body. Raises what the
    engine lets through.
    """
    engine: dict[str, Any] = {
        "task": task,
        "task_run": task_run,
        "parameters": parameters,
        "claim": claim,
        "events": events,
        "wait_for": wait_for,
    }
    if task.isasync:
        asyncio.run(run_async(AsyncEngine(**engine)))
    else:
        run_sync(SyncEngine(**engine))
