"""Runners do as the threads of the installed Prefect where its releases differ (rules F6 and X1)."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import INPUTS
from prefect.states import Completed, Failed
from prefect.task_runners import TaskRunner
from prefect.transactions import Transaction, get_transaction

from prefect_anyrunner import settle
from tests.engines.four_runners import OURS, made


class Always:
    """A condition that is no function."""

    def __call__(self, *_: Any) -> bool:
        return True


def awaitable(*_: Any) -> Coroutine[Any, Any, bool]:
    """Return an awaitable, and be no coroutine function."""

    async def answer() -> bool:
        return False

    return answer()


def note(folder: str, what: str) -> int:
    """Write down that `what` has happened; return how often it has."""
    (Path(folder) / f"{what} {uuid.uuid4()}").touch()
    return len(list(Path(folder).glob(f"{what} *")))


@task(retries=1, retry_condition_fn=Always())
def asks_an_object(folder: str) -> None:
    note(folder, "asks_an_object")
    raise ValueError("It is tried again if the object is asked.")


@task(retries=1, retry_condition_fn=awaitable)
def asks_an_awaitable(folder: str) -> None:
    note(folder, "asks_an_awaitable")
    raise ValueError("It is not tried again if the answer is awaited.")


@task(persist_result=True, cache_policy=INPUTS)
def returns_failed(folder: str) -> Any:
    note(folder, "returns_failed")
    here = get_transaction()
    assert here is not None
    here.set("folder", folder)
    return Failed(message="no such day")


@returns_failed.on_rollback
def undo(rolled_back: Transaction) -> None:
    note(rolled_back.get("folder"), "undone")


@task(retries=1, persist_result=True, cache_policy=INPUTS)
def returns_failed_once(folder: str) -> Any:
    times = note(folder, "returns_failed_once")
    return Failed(message="once") if times == 1 else Completed(message="at last", data=times)


TASKS: tuple[Any, ...] = (asks_an_object, asks_an_awaitable, returns_failed, returns_failed_once)


def facts(runner: TaskRunner[Any], folder: Path) -> Any:
    """Return how runs of each task end, the second of them with what the first has stored, and what they did."""
    folder.mkdir()

    @flow(task_runner=runner)
    def run() -> list[Any]:
        ended = [settle([each.submit(str(folder))])[0] for each in TASKS for _ in range(2)]
        return [(each.status, str(each.error)) for each in ended]

    return run(), Counter(path.name.partition(" ")[0] for path in folder.iterdir())


@pytest.mark.parametrize("kind", OURS)
def test_retry_conditions_and_returned_states(runner: TaskRunner[Any], tmp_path: Path) -> None:
    assert facts(runner, tmp_path / "ours") == facts(made("stock", ""), tmp_path / "stock")
