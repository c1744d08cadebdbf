"""A function that travels by value keeps its file, its lines and its names: a traceback shows its source (rule F1)."""

from __future__ import annotations

import subprocess
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error
from prefect_anyrunner._serialization.values import dumps, loads

SOURCE = '''\
"""A script of a user's."""

SCALE = 2


def decorator(function):
    def inner(*args):
        return [function(arg) for arg in args]

    return inner


class Table:
    def read(self, rows):
        return {row: (lambda: 1 / row)() for row in rows}


@decorator
def load(number):
    def divide(by):
        return (
            SCALE
            / by
        )

    return [divide(each) for each in range(number, -1, -1)]


async def wait_for_it():
    return [each async for each in load(1)]
'''


def round_trip(value: Any, *, what: str) -> Any:
    return loads(dumps(value, what=what), what=what)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[types.ModuleType]:
    """A module whose functions travel by value, as those of a script do."""
    file = tmp_path / "script_of_a_user.py"
    file.write_text(SOURCE)
    module = types.ModuleType(file.stem)
    module.__file__ = str(file)
    exec(compile(SOURCE, str(file), "exec"), module.__dict__)
    sys.modules[module.__name__] = module
    cloudpickle.register_pickle_by_value(module)
    yield module
    cloudpickle.unregister_pickle_by_value(module)
    del sys.modules[module.__name__]


def code_facts(code: types.CodeType) -> list[Any]:
    """Return what a traceback shows of `code` and of all code objects inside it."""
    inside = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    own = (code.co_filename, code.co_name, code.co_qualname, code.co_firstlineno, list(code.co_positions()))
    return [own, *(fact for each in inside for fact in code_facts(each))]


@pytest.mark.parametrize("name", ["decorator", "wait_for_it"])
def test_a_function_keeps_its_file_and_its_lines(script: types.ModuleType, name: str) -> None:
    function = getattr(script, name)
    made = round_trip(function, what="it")
    assert made is not function and made.__code__ is not function.__code__
    assert made.__code__.co_filename == script.__file__
    assert code_facts(made.__code__) == code_facts(function.__code__)


def test_inner_functions_keep_their_file_and_their_lines(script: types.ModuleType) -> None:
    (load,) = [cell.cell_contents for cell in script.load.__closure__]
    (made,) = [cell.cell_contents for cell in round_trip(script.load, what="it").__closure__]
    facts = code_facts(made.__code__)
    assert {fact[1] for fact in facts} >= {"load", "divide"}
    assert {fact[0] for fact in facts} == {script.__file__}
    assert facts == code_facts(load.__code__)


def test_methods_keep_their_file_and_their_lines(script: types.ModuleType) -> None:
    """The class is defined anew in another process, so it is looked at there."""
    data = dumps(script.Table.read, what="it")
    code = subprocess.run(
        [sys.executable, "-c", f"import pickle; print(pickle.loads({data!r}).__code__.co_filename)"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert code.stdout.strip() == script.__file__, code.stderr


def printed(function: Callable[[int], object]) -> list[str]:
    """Return the printed frames of the script, and the error, after that has travelled as well."""
    try:
        function(1)
    except ZeroDivisionError as error:
        return traceback.format_exception(unpack_error(pack_error(error)))[2:]
    raise AssertionError("nothing was raised")


def test_the_traceback_of_a_function_that_travelled_shows_its_source(script: types.ModuleType) -> None:
    lines = printed(round_trip(script.load, what="it"))
    assert lines == printed(script.load)
    *_, step, error = lines
    assert step.startswith(f'  File "{script.__file__}", line 22, in divide\n    SCALE\n')
    assert error == "ZeroDivisionError: division by zero\n"


def test_a_function_without_a_file_keeps_the_name_in_its_place() -> None:
    function = eval("lambda: 1 / 0")
    assert round_trip(function, what="it").__code__.co_filename == "<string>"
