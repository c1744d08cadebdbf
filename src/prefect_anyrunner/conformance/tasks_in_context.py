"""Tasks whose cases are about what surrounds them: hooks, caches, stored results, assets, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import INPUTS
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun

from prefect_anyrunner.conformance.task_errors import Broken


def _tell_state(task: Any, run: TaskRun, state: State[Any]) -> None:
    with open(run.name, "a") as file:  # the one thing of the run's arguments that a hook sees
        file.write(f"{state.type.value}\n")


@task(task_run_name="{path}", on_running=[_tell_state], on_completion=[_tell_state], on_failure=[_tell_state])
def hooked(path: str, fail: bool) -> str:
    """Have hooks tell each state to the file `path`."""
    if fail:
        raise Broken("with hooks")
    return path


def _is_broken(task: Any, run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, Broken)


@task(retries=3, retry_condition_fn=_is_broken)
def retried_on_condition(path: str) -> None:
    """Fail with an error that is worth another try, then with one that is not."""
    with open(path, "a") as file:
        file.write("x\n")
    if len(Path(path).read_text().splitlines()) < 2:
        raise Broken("again")
    raise KeyError("no more")


@task(cache_policy=INPUTS)
def cached(path: str, number: int) -> int:
    """Append a line to `path`; a second run with the same arguments does not get here."""
    with open(path, "a") as file:
        file.write("x\n")
    return number * 2


@task(persist_result=True)
def stored(number: int) -> int:
    """Return a number that Prefect stores."""
    return number * 2


def pass_on(value: str) -> str:
    """Return the argument: the body of tasks that materialize assets, whose keys are the case's own."""
    return value


@task
def slots_in_use(tag: str) -> int:
    """Return how many slots of a tag's concurrency limit are taken while this runs."""
    with get_client(sync_client=True) as client:
        return len(client.read_concurrency_limit_by_tag(tag).active_slots)
