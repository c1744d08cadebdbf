"""Whatever looks at a task while it runs sees the user's own task and function, on every runner as on stock threads."""

from __future__ import annotations

import functools
import inspect
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.task_runners import TaskRunner
from prefect.tasks import Task, task_input_hash

from prefect_anyrunner import Outcome, settle
from tests.engines.four_runners import OURS, RUNNERS, made

# --- code without source ---------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from prefect import flow, task
from prefect_anyrunner import pick
from prefect.task_runners import ThreadPoolTaskRunner

@task(persist_result=True)
def add(x):
    return x + x

@task(persist_result=True)
def text(x):
    return "<" + str(x) + ">"

@task(persist_result=True)
def power(x):
    return x * 3

@flow(task_runner=ThreadPoolTaskRunner() if sys.argv[1] == "stock" else pick(sys.argv[1]))
def three():
    futures = [each.submit(5) for each in (add, text, power)]
    return [future.result() for future in futures]

if __name__ == "__main__":
    print(three())
"""


@pytest.mark.parametrize("kind", RUNNERS)
def test_tasks_whose_source_cannot_be_read_are_told_apart(kind: str, address: str, tmp_path: Path) -> None:
    """The cache policy then looks at the code of `task.fn`: of one code for all, one result would be that of all."""
    spec = {"dask": f"dask://{address.removeprefix('tcp://')}", "ray": "ray://auto"}.get(kind, kind)
    engine = {"RAY_ADDRESS": address} if kind == "ray" else {}
    done = subprocess.run(
        [sys.executable, "-", spec],
        input=SCRIPT,
        env=os.environ | engine | {"PREFECT_LOCAL_STORAGE_PATH": str(tmp_path), "PREFECT_LOGGING_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.stdout.strip() == "[10, '<5>', 15]", done.stderr


# --- who looks at the task -------------------------------------------------------------------------------------------


def seen(one: Task[Any, Any]) -> dict[str, Any]:
    """Describe a task as it looks from here; `object`: which of this process's it is."""
    fn: Any = one.fn
    return {
        "name": fn.__name__,
        "code": fn.__code__.co_name,
        "source": inspect.getsource(fn).splitlines()[-1].strip(),
        "parameters": list(inspect.signature(fn).parameters),
        "kind": type(fn).__name__,
        "coroutine": inspect.iscoroutinefunction(fn),
        "mark": fn.mark,
        "wraps": hasattr(fn, "__wrapped__"),
        "object": f"{os.getpid()} {id(one)} {id(fn)}",
    }


def note(who: str, one: Task[Any, Any]) -> None:
    assert one.description is not None
    with open(os.path.join(one.description, who), "a") as file:
        file.write(json.dumps(seen(one)) + "\n")


def hook(task: Task[Any, Any], task_run: Any, state: Any) -> None:
    note(f"hook of {state.type.value}", task)


def cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
    note("cache_key_fn", context.task)
    return task_input_hash(context, parameters)


def condition(task: Task[Any, Any], task_run: Any, state: Any) -> bool:
    note("retry_condition_fn", task)
    return True


def look_in_body() -> None:
    context = TaskRunContext.get()
    assert context is not None
    note("body", context.task)
    if context.task_run.run_count == 1:
        raise ValueError("Once more.")


def watched(fn: Any, folder: Path) -> Task[Any, Any]:
    return Task(
        fn,
        description=str(folder),  # where whoever looks at it leaves a note
        retries=1,
        retry_condition_fn=condition,
        cache_key_fn=cache_key,
        on_running=[hook],
        on_completion=[hook],
    )


def sync_body(folder: str) -> str:
    look_in_body()
    return "synchronous"


async def async_body(folder: str) -> str:
    look_in_body()
    return "asynchronous"


sync_body.mark = async_body.mark = "of the user's own"  # type: ignore[attr-defined]


LOOKERS = {"body", "cache_key_fn", "hook of COMPLETED", "hook of RUNNING", "retry_condition_fn"}


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize("fn", [sync_body, async_body])
def test_everybody_sees_the_users_own_function(runner: TaskRunner[Any], fn: Any, kind: str, tmp_path: Path) -> None:
    one = watched(fn, tmp_path)
    expected = seen(one)

    @flow(task_runner=runner)
    def looked_at() -> Any:
        return one.submit(str(tmp_path)).result()

    assert looked_at() == {"sync_body": "synchronous", "async_body": "asynchronous"}[fn.__name__]
    by_looker = {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in tmp_path.iterdir()}
    assert set(by_looker) == LOOKERS
    objects = {each["object"] for them in by_looker.values() for each in them}
    assert len(objects) == 1, "not all have seen the same task, with the same function"
    if kind in ("stock", "thread"):
        assert objects == {expected["object"]}
    for who, them in by_looker.items():
        for each in them:
            assert {**each, "object": ""} == {**expected, "object": ""}, who


# --- what may stand in for a function --------------------------------------------------------------------------------


class Adder:
    def __init__(self, summand: int) -> None:
        self.summand = summand

    def __call__(self, number: int) -> int:
        return number + self.summand

    def add(self, number: int) -> int:
        return number + self.summand

    def fail(self, number: int) -> int:
        raise ValueError(number)


class AsyncAdder(Adder):
    async def add_later(self, number: int) -> int:
        return number + self.summand


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("It has no text.")

    __repr__ = __str__


def fail_unprintably(number: int) -> None:
    raise Unprintable(number)


class FailsUnprintably:
    def __call__(self, number: int) -> None:
        raise Unprintable(number)


async def three_later(number: int) -> Any:
    for each in range(number):
        yield each


CALLABLES: dict[str, Any] = {
    "callable object": Adder(3),
    "partial": functools.partial(pow, 2),
    "bound method": Adder(4).add,
    "bound coroutine": AsyncAdder(5).add_later,
    "bound method that fails": Adder(4).fail,
    "lambda": lambda number: number * 7,
    "asynchronous generator": three_later,
}


def outcome_of(runner: TaskRunner[Any], one: Any) -> tuple[str, ...]:
    @flow(task_runner=runner)
    def alone() -> Outcome:
        future: Any = one.submit(4)
        return settle(future)[0]

    outcome = alone()
    return outcome.status.value, repr(outcome.value), repr(outcome.error)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("what", CALLABLES)
def test_any_callable_runs_as_on_stock_threads(runner: TaskRunner[Any], what: str) -> None:
    one: Any = Task(fn=CALLABLES[what], cache_policy=NO_CACHE)
    assert outcome_of(runner, one) == outcome_of(made("stock", ""), one)


def three(number: int) -> Any:
    yield from range(number)


@pytest.mark.parametrize("kind", ["stock", "thread"])
def test_a_generator_is_handed_over_as_on_stock_threads(runner: TaskRunner[Any]) -> None:
    @flow(task_runner=runner)
    def generated() -> list[int]:
        future: Any = Task(fn=three, cache_policy=NO_CACHE).submit(3)
        return list(future.result())

    assert generated() == [0, 1, 2]


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("body", [fail_unprintably, FailsUnprintably()], ids=["function", "callable object"])
def test_an_error_without_text_is_the_bodys_whatever_the_body_is(runner: TaskRunner[Any], body: Any) -> None:
    @flow(task_runner=runner)
    def alone() -> tuple[str, str]:
        one: Any = Task(fn=body, cache_policy=NO_CACHE)
        future = one.submit(4)
        outcome = settle(future)[0]
        return outcome.status.value, type(outcome.error).__name__

    assert alone() == ("failed", "Unprintable")


# --- what is interrupted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["thread"])
def test_what_follows_the_body_is_not_interrupted(runner: TaskRunner[Any]) -> None:
    """Storing, committing and reporting belong to Prefect's engine; a body that has returned is too late to stop."""
    entered, asked = threading.Event(), threading.Event()
    ended: list[str] = []

    @task
    def body() -> str:
        return "returned"

    @body.on_commit
    def commit(transaction: Any) -> None:
        entered.set()
        while not asked.is_set():  # in Python code, where an interruption would be seen
            pass
        ended.append("committed")

    @flow(task_runner=runner)
    def cancelled_late() -> Any:
        future: Any = body.submit()
        entered.wait()
        future.cancel()
        asked.set()
        outcome = settle(future)[0]
        return outcome.status.value, outcome.value

    assert cancelled_late() == ("completed", "returned")
    assert ended == ["committed"]
