"""A task run that travels as its differences from a template arrives as it left."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest
from prefect import task
from prefect.client.schemas.objects import TaskRun
from prefect.context import tags
from pydantic import BaseModel

from prefect_anyrunner._prefect.models import copy_with, differences, restored
from prefect_anyrunner._prefect.private import create_task_run


@task(retries=2, tags=["of the task"])
def load(number: int) -> int:
    return number


def made(number: int) -> TaskRun:
    run: TaskRun = create_task_run(task=load, parameters={"number": number}, wait_for=None, extra_task_inputs=None)
    return run


def there_and_back(run: TaskRun, template: TaskRun) -> TaskRun:
    arrived: TaskRun = restored(pickle.loads(pickle.dumps(differences(run, template))), template)
    return arrived


def have_the_same_set(one: BaseModel, other: BaseModel) -> None:
    one.model_fields_set.update(other.model_fields_set)
    other.model_fields_set.update(one.model_fields_set)
    for name, value in vars(one).items():
        if isinstance(value, BaseModel) and isinstance(getattr(other, name), BaseModel):
            have_the_same_set(value, getattr(other, name))


def change_nothing(run: TaskRun) -> None:
    """The next run of the same task."""


def change_much(run: TaskRun) -> None:
    run.labels["team"] = "etl"
    run.run_count, run.total_run_time = 3, timedelta(seconds=2)
    assert run.state is not None
    run.state.message = "waiting"
    run.state.state_details.cache_key = "key"
    run.empirical_policy.retries = 7


def change_kinds(run: TaskRun) -> None:
    run.flow_run_id = run.id
    run.state = None


@pytest.mark.parametrize("change", [change_nothing, change_much, change_kinds])
def test_a_run_arrives_as_it_left(change: Any) -> None:
    with tags("of the flow"):
        template = made(0)
    run = made(1)
    change(run)
    have_the_same_set(template, run)
    arrived = there_and_back(run, template)
    assert type(arrived) is TaskRun
    assert arrived == run
    assert arrived.model_dump() == run.model_dump()
    assert arrived.model_dump(exclude_unset=True) == run.model_dump(exclude_unset=True)
    assert list(vars(arrived)) == list(vars(run))
    assert pickle.loads(pickle.dumps(arrived)) == run


def test_nothing_that_can_change_is_shared_with_the_other_one() -> None:
    template = made(0)
    before = template.model_dump()
    arrived = there_and_back(made(1), template)
    arrived.tags.append("mine")
    arrived.labels["mine"] = 1
    arrived.task_inputs["mine"] = []
    arrived.empirical_policy.retries = 9
    assert arrived.state is not None
    arrived.state.state_details.cache_key = "mine"
    arrived.state.message = "mine"
    arrived.estimated_run_time = timedelta(1)
    assert template.model_dump() == before
    assert "mine" not in template.model_fields_set


def test_a_run_with_other_fields_set_has_no_differences() -> None:
    run, template = made(1), made(0)
    run.start_time = run.created
    assert differences(run, template) is None


def test_a_copy_keeps_id_and_time() -> None:
    state = made(1).state
    assert state is not None
    copied = copy_with(state, {"data": 1})
    assert (copied.id, copied.timestamp, copied.data, state.data) == (state.id, state.timestamp, 1, None)
