"""The examples give the same answers and the same failures on every runner."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prefect_anyrunner import TaskRunsFailed, use_runner

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(
    params=[
        "thread",
        "process",
        pytest.param("dask", marks=pytest.mark.dask),
        pytest.param("ray", marks=pytest.mark.ray),
    ]
)
def runner(request: pytest.FixtureRequest, prefect_server: str) -> Iterator[str]:
    spec = {"thread": "thread://?max_workers=2", "process": "process://?max_workers=2", "ray": "ray"}.get(request.param)
    if request.param == "ray":
        request.getfixturevalue("ray_head")
    with use_runner(spec or f"dask://{request.getfixturevalue('dask_cluster').removeprefix('tcp://')}"):
        yield request.param


def load(name: str) -> ModuleType:
    """Return the example as a module that is pickled by value, as `__main__` is in `python FILE`."""
    import cloudpickle

    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module


def test_census(runner: str, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "one.py").write_text("def f():\n    pass\n\nclass C: ...\n")
    (tmp_path / "good" / "two.py").write_text("async def g(): ...\n")
    (tmp_path / "bad.py").write_text("def broken(:\n")
    (tmp_path / "latin.py").write_bytes(b"name = '\xe9'\n")
    census = load("stdlib_census").census
    with pytest.raises(TaskRunsFailed) as failed:
        census(str(tmp_path))
    errors: list[Any] = list(failed.value.exceptions)
    assert [(type(error), error.filename) for error in errors] == [(SyntaxError, "bad.py"), (SyntaxError, "latin.py")]
    assert errors[0].lineno == 1
    assert str(failed.value).startswith("2 of 4 task runs failed: 2 SyntaxError: ")
    for name in ("bad.py", "latin.py"):
        (tmp_path / name).unlink()
    assert census(str(tmp_path)) == {"good": {"lines": 5, "functions": 2, "classes": 1}}


def test_partial_results(runner: str) -> None:
    weather = load("partial_results").weather
    assert weather(["north", "south", "east", "west"]) == {"north": 4.0, "south": 7.5, "east": None, "west": 2.0}
    with pytest.raises(TaskRunsFailed) as failed:
        weather(["east", "nowhere"])
    assert [type(error) for error in failed.value.exceptions] == [ZeroDivisionError, KeyError]


def test_two_kinds_of_failure(runner: str) -> None:
    convert_all = load("two_kinds_of_failure").convert_all
    assert convert_all(["1", "2", "three", "4", "five"]) == {
        "refused": ["three", "five"],
        "converted later": ["2", "4"],
    }


def test_parent_flow(runner: str) -> None:
    several = load("parent_flow").several
    assert several({"good": [1.0, 4.0], "mixed": [9.0, -1.0]}) == {"good": [1.0, 2.0], "mixed": [3.0, None]}
