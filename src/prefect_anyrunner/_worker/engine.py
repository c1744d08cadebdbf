"""Prefect's task engine as workers run it: it tells the API of every state but the last, which is the driver's to tell.

So nothing says Completed that did not arrive (rule S1): the driver emits the very event that is left out here, with the
same id, once the outcome is in its hands, and another one when it is not. An event costs about as much as a third of
the engine itself, so one that is made only to be held back is worth leaving out.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import AsyncTaskRunEngine, SyncTaskRunEngine, run_task_async, run_task_sync
from prefect.tasks import Task

from prefect_anyrunner._prefect.private import (
    raise_if_suspended,
)
from prefect_anyrunner._prefect.states import put_final_state


def run_engine(task: Task[Any, Any], task_run: TaskRun, parameters: dict[str, Any], *, wait_for: Any = None) -> None:
    """Run Prefect's engine for one task run in the driver's process; its state is then on `task_run`.

    Raises what the engine lets through.
    """
    kwargs: dict[str, Any] = {
        "task": task,
        "task_run": task_run,
        "task_run_id": task_run.id,
        "parameters": parameters,
        "wait_for": wait_for,
        "return_type": "state",
    }
    if task.isasync:
        asyncio.run(run_task_async(**kwargs))
    else:
        run_task_sync(**kwargs)


class _SyncEngine(SyncTaskRunEngine[Any, Any]):
    def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        if not state.is_final() or self.task_run is None:
            return super().set_state(state, force=force)
        put_final_state(self.task_run, state)
        self._telemetry.update_state(state)
        return state


class _AsyncEngine(AsyncTaskRunEngine[Any, Any]):
    async def set_state(self, state: State[Any], force: bool = False) -> State[Any]:
        if not state.is_final() or self.task_run is None:
            return await super().set_state(state, force=force)
        put_final_state(self.task_run, state)
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
