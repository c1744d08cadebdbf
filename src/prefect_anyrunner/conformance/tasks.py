"""The tasks of the cases, in a module that every worker can import.

Tasks show by files that they have run, and wait for files, so that no case depends on the speed of a machine.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import get_client, get_run_logger, runtime, task
from prefect.client.schemas.objects import State
from prefect.context import TaskRunContext
from prefect.exceptions import ObjectNotFound
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from prefect_anyrunner.conformance.processes import kill_this_process
from prefect_anyrunner.conformance.task_errors import BASES as BASES
from prefect_anyrunner.conformance.task_errors import OURS_TOO as OURS_TOO
from prefect_anyrunner.conformance.task_errors import Broken as Broken
from prefect_anyrunner.conformance.task_errors import HoldsLock as HoldsLock
from prefect_anyrunner.conformance.task_errors import KeywordOnly as KeywordOnly
from prefect_anyrunner.conformance.task_errors import NoArguments as NoArguments
from prefect_anyrunner.conformance.task_errors import OwnBase as OwnBase
from prefect_anyrunner.conformance.task_errors import TwoArguments as TwoArguments


def _await_file(path: str) -> None:
    end = time.monotonic() + 150
    while not Path(path).exists():
        if time.monotonic() > end:
            raise RuntimeError(f"the file {path} was not created in time")
        time.sleep(0.02)


def _await_running(task_run_id: UUID) -> None:
    end = time.monotonic() + 150
    with get_client(sync_client=True) as client:
        while True:
            try:
                if client.read_task_run(task_run_id).state_name == "Running":
                    return
            except ObjectNotFound:
                pass
            if time.monotonic() > end:
                raise RuntimeError(f"the API never showed task run {task_run_id} running")
            time.sleep(0.05)


def _append(path: str) -> None:
    with open(path, "a") as file:
        file.write("x\n")


@task
def double(number: int) -> int:
    """Return twice the number."""
    return number * 2


@task
def echo(value: Any) -> Any:
    """Return the argument."""
    return value


@task
def add(one: Any, other: Any) -> Any:
    """Return the sum."""
    return one + other


@task
def note(path: str, value: Any = None) -> Any:
    """Append a line to a file."""
    _append(path)
    return value


@task
def raise_rich() -> None:
    """Raise an exception with attributes, a note and a cause."""
    try:
        raise KeyError("inner")
    except KeyError as inner:
        error = Broken("outer", 3)
        error.code = 42  # type: ignore[attr-defined]
        error.add_note("look here")
        raise error from inner


@task
def raise_while_handling() -> None:
    """Raise an exception while another one is handled."""
    try:
        raise KeyError("first")
    except KeyError:
        raise Broken("second")  # noqa: B904  # without `from`, because the case is about the implicit context


@task
def raise_built_in(which: str) -> None:
    """Raise a built-in exception that keeps its text in fields of C."""
    match which:
        case "syntax":
            compile("a = ", "user.py", "exec")
        case "unicode":
            b"\xff".decode()
        case "os":
            raise FileNotFoundError(2, "No such file", "missing.csv")


@task
def raise_special(which: str) -> None:
    """Raise an exception whose `__init__` takes other arguments than `args`, or that cannot be pickled."""
    match which:
        case "two":
            raise TwoArguments(7, "why")
        case "keyword":
            raise KeywordOnly(shard=4)
        case "none":
            raise NoArguments()
        case "group":
            raise ExceptionGroup("several", [TwoArguments(1, "one"), ExceptionGroup("more", [KeywordOnly(shard=2)])])
        case "lock":
            error = HoldsLock("holds a lock")
            error.add_note("look here")
            raise error
        case "local":

            class Local(LookupError):
                def __reduce__(self) -> tuple[Any, ...]:
                    raise TypeError("stays here")

            raise Local("of a local class")


@task
def raise_ours_too(which: str) -> None:
    """Raise an exception that runners raise themselves."""
    raise OURS_TOO[which]("from the task")


@task
def raise_base(path: str, which: str) -> int:
    """Append a line, then raise a `BaseException` that is no `Exception`; return 1 for `"none"`."""
    _append(path)
    if which != "none":
        raise BASES[which](3)
    return 1


@task
def live_or_die(path: str, how: str) -> str:
    """Append a line, then return, be killed, or exit."""
    _append(path)
    if how == "kill":
        kill_this_process()
    elif how == "exit":
        os._exit(7)
    return how


@task
def die_the_first_time(path: str) -> str:
    """Append a line; be killed if it is the first line."""
    _append(path)
    if len(Path(path).read_text().splitlines()) == 1:
        kill_this_process()
    return "alive"


@task
def take_memory(path: str) -> int:
    """Append a line, then take more memory than a worker has, until the engine stops the worker."""
    _append(path)
    taken = []
    for _ in range(60):
        taken.append(bytearray(os.urandom(1) * (25 * 2**20)))
        time.sleep(0.1)  # the engine checks the memory of its workers a few times a second
    return len(taken)


@task
def hold(started: str, go: str) -> str:
    """Append a line to `started`, then wait for the file `go`."""
    _append(started)
    _await_file(go)
    return "done"


@task
def spin(started: str) -> str:
    """Append a line, then compute in Python for some minutes, until the run is cancelled."""
    _append(started)
    end = time.monotonic() + 150
    while time.monotonic() < end:
        sum(range(100))
    return "not stopped"


@task(timeout_seconds=1)
def too_slow() -> str:
    """Compute for longer than its timeout allows."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        sum(range(100))
    return "not stopped"


@task(timeout_seconds=1)
def too_long_in_one_call() -> str:
    """Take longer than its timeout allows, in one call into C."""
    time.sleep(30)
    return "not stopped"


@task(retries=2)
def third_time(path: str) -> int:
    """Fail twice."""
    _append(path)
    count = len(Path(path).read_text().splitlines())
    if count < 3:
        raise Broken(count)
    return count


@task
def return_failed() -> State[Any]:
    """Return a failed state."""
    return Failed(message="on purpose")


@task
def return_completed(value: Any) -> State[Any]:
    """Return a completed state with a value."""
    return Completed(data=value)


@task
def make_lock() -> Any:
    """Return an object that cannot be pickled."""
    return threading.Lock()


@task
def lock_or(value: Any) -> Any:
    """Return the argument, or an object that cannot be pickled if the argument is None."""
    return threading.Lock() if value is None else value


@task
def describe(value: Any) -> tuple[str, str]:
    """Return the type and the text of the argument."""
    return type(value).__name__, str(value)


@task
def holds_future(values: Any) -> bool:
    """Return whether the first of the values is a future."""
    return isinstance(values[0], PrefectFuture)


@task
def process_id() -> int:
    """Return the id of the process that the task runs in."""
    return os.getpid()


@task
def identity(value: Any) -> int:
    """Change the argument in place and return its identity."""
    value.append("changed")
    return id(value)


@task
def descend(levels: int) -> int:
    """Submit a task that does the same, `levels` deep, and wait for it."""
    if levels == 0:
        return 0
    future: Any = descend.submit(levels - 1)
    below: int = future.result()
    return below + 1


@task
def submit_one() -> tuple[str, str]:
    """Submit a task and wait for it; return both task run ids."""
    context = TaskRunContext.get()
    assert context is not None
    future: Any = double.submit(1)
    future.wait()
    return str(context.task_run.id), str(future.task_run_id)


@task(task_run_name="named-{number}")
def who_am_i(number: int) -> dict[str, Any]:
    """Return ids, names and tags from the run logger and from the context."""
    context = TaskRunContext.get()
    assert context is not None
    logger: Any = get_run_logger()
    logger.info("hello")
    return {
        "id": str(context.task_run.id),
        "logger_id": str(logger.extra["task_run_id"]),
        "logger_name": str(logger.extra["task_run_name"]),
        "flow_run_id": str(context.task_run.flow_run_id),
        "tags": sorted(context.task_run.tags),
    }


@task
def runtime_values(number: int) -> dict[str, Any]:
    """Return the values of `prefect.runtime`."""
    return {
        "task": runtime.task_run.task_name,
        "name": runtime.task_run.name,
        "parameters": runtime.task_run.parameters,
        "flow": runtime.flow_run.flow_name,
        "flow parameters": runtime.flow_run.parameters,
    }


@task
async def double_async(number: int) -> int:
    """Return twice the number, in a coroutine."""
    return number * 2


@task
async def raise_async() -> None:
    """Raise an exception."""
    raise Broken("async")


@task
def submit_and_die(started: str, go: str, child: str) -> None:
    """Submit a task, write its id to `child`, and be killed once it runs and the API shows that."""
    future: Any = hold.submit(started, go)
    Path(child).write_text(str(future.task_run_id))
    _await_file(started)
    _await_running(future.task_run_id)
    kill_this_process()
