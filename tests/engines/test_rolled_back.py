"""Runs submitted in a transaction that fails are rolled back as on threads, or the backend declares a lack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner
from prefect.transactions import Transaction, get_transaction, transaction

from prefect_anyrunner import settle
from prefect_anyrunner.backends import Capability
from prefect_anyrunner.backends._builtin import BUILT_IN
from prefect_anyrunner.conformance.checks import until
from tests.engines.four_runners import RUNNERS


@task(persist_result=True)
def child(folder: Path, number: int) -> int:
    (folder / f"ran {number}").touch()
    here = get_transaction()
    assert here is not None
    here.set("undo", folder / f"undone {number}")
    return number


@child.on_rollback
def undo(rolled_back: Transaction) -> None:
    rolled_back.get("undo").touch()


def submit_children(folder: Path) -> None:
    futures: Any = [child.submit(folder, number) for number in range(2)]
    assert [outcome.value for outcome in settle(futures)] == [0, 1]


@task
def parent(folder: Path) -> None:
    submit_children(folder)
    raise ValueError("The parent fails once its children have completed.")


def fail_in_task(folder: Path) -> None:
    future: Any = parent.submit(folder)
    assert type(settle(future)[0].error) is ValueError


def fail_in_flow(folder: Path) -> None:
    with pytest.raises(ValueError, match="The transaction"), transaction():
        submit_children(folder)
        raise ValueError("The transaction fails once what was submitted in it has completed.")


def states_of(flow_run_id: Any) -> list[str]:
    """Return the names of the children's states in the API."""
    with get_client(sync_client=True) as client:
        found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
    return [str(run.state_name) for run in found if run.name.startswith("child")]


@pytest.mark.parametrize("kind", RUNNERS)
@pytest.mark.parametrize(
    ("fail", "capability"),
    [(fail_in_task, Capability.ROLL_BACK_IN_TASK), (fail_in_flow, Capability.ROLL_BACK_IN_FLOW)],
    ids=["task", "flow"],
)
def test_children_are_rolled_back_or_the_lack_is_declared(
    runner: TaskRunner[Any], kind: str, fail: Callable[[Path], None], capability: Capability, tmp_path: Path
) -> None:
    @flow(task_runner=runner)
    def failing() -> Any:
        fail(tmp_path)
        context = FlowRunContext.get()
        assert context is not None
        assert context.flow_run is not None
        return context.flow_run.id

    flow_run_id = failing()
    lacks = kind in BUILT_IN and capability in BUILT_IN[kind].lacks
    undone = set() if lacks else {"undone 0", "undone 1"}
    assert {path.name for path in tmp_path.iterdir()} == {"ran 0", "ran 1", *undone}
    until(lambda: states_of(flow_run_id) == ["Completed" if lacks else "RolledBack"] * 2)
