"""Every public name says in tracebacks and pickles where users find it, however it was imported."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pickle
import subprocess
import sys
import typing
from typing import Any

import cloudpickle
import pydantic
import pytest

import prefect_anyrunner
from prefect_anyrunner import _HOMES, FailurePolicy, Outcome, RunnerSpec, SpecError, TaskRunsFailed

CLASSES = [name for name in _HOMES if isinstance(getattr(prefect_anyrunner, name), type)]


@pytest.mark.parametrize("name", _HOMES)
def test_a_public_name_says_that_it_is_in_the_package(name: str) -> None:
    thing = getattr(prefect_anyrunner, name)
    assert (thing.__module__, thing.__qualname__) == ("prefect_anyrunner", name)


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps])
@pytest.mark.parametrize("name", _HOMES)
def test_a_pickle_refers_to_the_public_name(name: str, dumps: Any) -> None:
    thing = getattr(prefect_anyrunner, name)
    data = dumps(thing)
    assert b"prefect_anyrunner." not in data, "it names a file of ours"
    assert pickle.loads(data) is thing


@pytest.mark.parametrize("home", sorted({*_HOMES.values()}))
def test_the_public_name_does_not_depend_on_what_is_imported_first(home: str) -> None:
    """A worker imports the defining module without a look at the package's own names."""
    names = [name for name, where in _HOMES.items() if where == home]
    code = f"""
import pickle
from prefect_anyrunner.{home} import {", ".join(names)}
things = [{", ".join(names)}]
assert [each.__module__ for each in things] == ["prefect_anyrunner"] * {len(names)}, things
assert [pickle.loads(pickle.dumps(each)) for each in things] == things
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", CLASSES)
def test_the_annotations_of_a_public_class_can_be_read(name: str) -> None:
    cls = getattr(prefect_anyrunner, name)
    own = inspect.get_annotations(cls)
    hints = typing.get_type_hints(cls)
    assert {field: hints[field] for field in own} == own
    if dataclasses.is_dataclass(cls):
        assert {field.name: field.type for field in dataclasses.fields(cls)} == own


@pytest.mark.parametrize("name", [name for name in _HOMES if name not in CLASSES])
def test_the_annotations_of_a_public_function_are_read_where_it_is_defined(name: str) -> None:
    function = getattr(prefect_anyrunner, name)
    home = importlib.import_module(f"prefect_anyrunner.{_HOMES[name]}")
    assert inspect.unwrap(function).__globals__ is vars(home)


def test_a_public_dataclass_can_be_a_parameter_of_a_flow() -> None:
    """Prefect validates parameters with pydantic, which reads the fields of a dataclass by their annotations."""
    adapter = pydantic.TypeAdapter(FailurePolicy)
    assert adapter.validate_python({"tolerate": "5%", "then": "drain"}) == FailurePolicy("5%", "drain")
    with pytest.raises(pydantic.ValidationError):
        adapter.validate_python({"then": "stop"})


def test_tracebacks_show_the_public_name() -> None:
    import traceback

    error = SpecError("argument spec: no runner is named")
    assert "".join(traceback.format_exception_only(error)).startswith("prefect_anyrunner.SpecError: ")
    group = TaskRunsFailed("1 of 1 task run failed", [ValueError()])
    assert "".join(traceback.format_exception_only(group)).startswith("prefect_anyrunner.TaskRunsFailed: ")


def test_public_dataclasses_still_copy_and_compare() -> None:
    outcome = Outcome(task_name="load", status=prefect_anyrunner.Status.COMPLETED)
    assert dataclasses.replace(outcome, index=3).index == 3
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert pickle.loads(pickle.dumps(RunnerSpec("thread"))) == RunnerSpec("thread")
