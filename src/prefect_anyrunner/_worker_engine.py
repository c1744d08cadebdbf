"""Prefect's task engine as workers run it: it tells the API of every state but the last, which is the driver's to tell.

So nothing says Completed that did not arrive (rule S1): the driver emits the very event that is left out here, with the
same id, once the outcome is in its hands, and another one when it is not. An event costs about as much as a third of
the engine itself, so one that is made only to be held back is worth leaving out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine
from prefect.utilities.engine import link_state_to_task_run_result

from ._prefect import ResultRecord, raise_if_suspended


class _SyncEngine(SyncTaskRunEngine[Any, Any]):
    def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        if not state.is_final() or self.task_run is None:
            return super().set_state(state, force=force)
        end(self.task_run, state)
        self._telemetry.update_state(state)
        return state


class _AsyncEngine(AsyncTaskRunEngine[Any, Any]):
    async def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        if not state.is_final() or self.task_run is None:
            return await super().set_state(state, force=force)
        end(self.task_run, state)
        self._telemetry.update_state(state)
        return state


def run_sync(**engine: Any) -> None:
    """Run a task run to its end as `prefect.task_engine.run_task_sync` does; its state is then on it."""
    running = _SyncEngine(**engine)
    with running.start(task_run_id=engine["task_run"].id):
        while running.is_running():
            running.wait_until_ready()
            with running.asset_context(), running.run_context(), running.transaction_context() as transaction:
                running.call_task_fn(transaction)
            raise_if_suspended()


async def run_async(**engine: Any) -> None:
    """Run a task run to its end as `prefect.task_engine.run_task_async` does; its state is then on it."""
    running = _AsyncEngine(**engine)
    async with running.start(task_run_id=engine["task_run"].id):
        while running.is_running():
            await running.wait_until_ready()
            async with running.asset_context(), running.run_context(), running.transaction_context() as transaction:
                await running.call_task_fn(transaction)
            raise_if_suspended()


def end(task_run: TaskRun, state: State[Any]) -> None:
    """Put a final state on `task_run` as Prefect's engine does before it emits the event."""
    before = task_run.state
    place(task_run, state)
    if before is not None and before.is_running():
        task_run.total_run_time += state.timestamp - before.timestamp
    link_state_to_task_run_result(state, state.data.result if isinstance(state.data, ResultRecord) else state.data)


def place(task_run: TaskRun, state: State[Any]) -> None:
    """Put `state` on `task_run`: a later one than the one before, with the ids of its run."""
    before = task_run.state
    if before is not None and before.timestamp >= state.timestamp:
        state.timestamp = before.timestamp + timedelta(microseconds=1)
    state.state_details.task_run_id = task_run.id
    state.state_details.flow_run_id = task_run.flow_run_id
    task_run.state = state
    task_run.state_id, task_run.state_type, task_run.state_name = state.id, state.type, state.name
    if state.is_final() and task_run.end_time is None and task_run.start_time is not None:
        task_run.end_time = state.timestamp  # type: ignore[assignment]  # Prefect's DateTime is one
