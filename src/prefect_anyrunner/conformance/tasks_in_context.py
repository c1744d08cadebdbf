"""Tasks of the cases about hooks, caches, stored results, assets and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun

from prefect_anyrunner.conformance.task_errors import Broken


def _write_state(task: Any, run: TaskRun, state: State[Any]) -> None:
    with open(run.name, "a") as file:  # a hook does not see the arguments, but the name holds the path
        file.write(f"{state.type.value}\n")


@task(task_run_name="{path}", on_running=[_write_state], on_completion=[_write_state], on_failure=[_write_state])
def hooked(path: str, fail: bool) -> str:
    """Return or raise; hooks write each state to the file `path`."""
    if fail:
        raise Broken("with hooks")
    return path


def _is_broken(task: Any, run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, Broken)


@task(retries=3, retry_condition_fn=_is_broken)
def retried_on_condition(path: str) -> None:
    """Fail with an error that is retried, then with one that is not."""
    with open(path, "a") as file:
        file.write("x\n")
    if len(Path(path).read_text().splitlines()) < 2:
        raise Broken("again")
    raise KeyError("no more")


@task(cache_policy=INPUTS)
def cached(path: str, number: int) -> int:
    """Append a line to `path`, unless the result for these arguments is in the cache."""
    with open(path, "a") as file:
        file.write("x\n")
    return number * 2


@task(persist_result=True)
def stored(number: int) -> int:
    """Return a result that Prefect stores."""
    return number * 2


def pass_on(value: str) -> str:
    """Return the argument; the case makes tasks of this function that materialize its own assets."""
    return value


@task
def slots_in_use(tag: str) -> int:
    """Return the number of slots in use of a tag's concurrency limit while the task runs."""
    with get_client(sync_client=True) as client:
        return len(client.read_concurrency_limit_by_tag(tag).active_slots)
