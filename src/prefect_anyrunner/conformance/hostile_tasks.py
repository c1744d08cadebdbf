"""Tasks and objects that misbehave, in a module that every worker can import."""

from __future__ import annotations

import contextvars
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed, Pending

from prefect_anyrunner import as_settled, asettle, settle
from prefect_anyrunner.conformance import tasks
from prefect_anyrunner.conformance.processes import kill_this_process


class NoText(Exception):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Refuses:
    """An object that raises an exception when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise OSError("refuses to be unpickled")


class Exits:
    """An object that raises `SystemExit` when it is unpickled, like a module that calls `sys.exit` on import."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, ("no",)


class KillsReader:
    """An object that kills every other process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _kill_unless, (os.getpid(),)


def _kill_unless(process_id: int) -> None:
    if os.getpid() != process_id:
        kill_this_process()


@task
def raise_without_text() -> None:
    """Raise an exception that cannot be printed."""
    raise NoText(3)


@task
def refuse(how: str) -> Any:
    """Return an object that cannot be unpickled, or the word itself for "live"."""
    return {"refuse": Refuses, "exit": Exits}.get(how, lambda: how)()


@task
def return_pending() -> Any:
    """Return a state that is not final."""
    return Pending(message="not yet")


@task
def return_future(number: int) -> Any:
    """Return futures of runs without waiting for them."""
    return [tasks.double.submit(number), {"failed": tasks.raise_rich.submit()}]


@task
def submit_chain(number: int) -> Any:
    """Submit a task and another one that takes its result, and wait for the second one."""
    first: Any = tasks.double.submit(number)
    future: Any = tasks.double.submit(first)
    return future.result(timeout=100)


@task
def wait_in_vain(started: str, go: str) -> Any:
    """Wait with a timeout for a run that goes on, and then for the first of two runs to end."""
    holding: Any = tasks.hold.submit(started, go)
    try:
        holding.wait(0.01)
        answers = [settle(holding, timeout=0.01)[0].status.value]
        first = next(iter(as_settled([holding, tasks.double.submit(1)])))
        answers.append(first.task_name)
    finally:
        Path(go).touch()
    return [*answers, holding.result()]


@task
async def wait_in_vain_async(started: str, go: str) -> Any:
    """Do the same as `wait_in_vain`, in an event loop."""
    holding: Any = tasks.hold.submit(started, go)
    try:
        answers = [(await asettle(holding, timeout=0.01))[0].status.value]
        async for outcome in as_settled([holding, tasks.double.submit(1)]):
            answers.append(outcome.task_name)
            Path(go).touch()
    finally:
        Path(go).touch()
    return [*answers[:2], holding.result()]


def _touch(task: Any, run: TaskRun, state: State[Any]) -> None:
    Path(run.name).touch()  # a hook does not see the arguments, but the name holds the path


@task(task_run_name="{go}", on_completion=[_touch])
def submit_and_leave(started: str, go: str) -> Any:
    """Submit tasks that run until this one has completed, and more tasks behind them; wait for none."""
    children: list[Any] = [tasks.hold.submit(started, go) for _ in range(4)]
    children += [tasks.double.submit(number) for number in range(20)]
    children.append(tasks.echo.submit(children[0]))
    return [child.task_run_id for child in children]


@task
def submit_from_thread() -> Any:
    """Submit a task and wait for it in a thread that this task has started."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(context.run, lambda: tasks.double.submit(4).result()).result()


@task
def fail_with_data() -> Any:
    """Return a failed state whose data is not an exception."""
    return Failed(message="on purpose", data=123)


@task
def submit_late(started: str, go: str) -> Any:
    """Wait until the flow is about to end, then submit another task and wait for it."""
    Path(started).touch()
    while not Path(go).exists():
        time.sleep(0.02)
    return tasks.double.submit(2).result()
