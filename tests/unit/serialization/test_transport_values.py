"""Arguments and results travel, or the error names the part that does not (rules V1, V2)."""

import copyreg
import dataclasses
import subprocess
import sys
import threading
import traceback
import types
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Failed
from tblib import pickling_support

from prefect_anyrunner import CannotTravel
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error
from prefect_anyrunner._serialization.values import dumps, loads
from tests.unit.serialization import transport_classes
from tests.unit.serialization.transport_cases import raised
from tests.unit.serialization.transport_facts import facts


@dataclasses.dataclass
class Connection:
    name: str
    inner: Any


class Slots:
    __slots__ = ("lock", "name")

    def __init__(self) -> None:
        self.name, self.lock = "n", threading.Lock()


def round_trip(value: Any, *, what: str) -> Any:
    return loads(dumps(value, what=what), what=what)


def closure_over_a_lock() -> Any:
    lock = threading.Lock()
    return lambda: lock


def closure_over_what_has_no_value() -> Any:
    gone, lock = None, threading.Lock()

    def function() -> Any:
        return gone, lock  # noqa: F821  # it is deleted below

    del gone
    return function


@pytest.mark.parametrize("value", [1, "text", {"a": [1, (2, 3)]}, Connection("c", {1}), Connection, len])
def test_values_arrive_equal(value: Any) -> None:
    assert round_trip(value, what="it") == value


def test_local_functions_travel() -> None:
    offset = 3
    assert round_trip(lambda number: number + offset, what="it")(4) == 7


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"conn": [1, Connection("c", {"lock": threading.Lock()})]}, "['conn'][1].inner['lock']"),
        ([(1, threading.Lock())], "[0][1]"),
        (Slots(), ".lock"),
        (closure_over_a_lock(), " variable 'lock'"),
        ({"deep": closure_over_a_lock()}, "['deep'] variable 'lock'"),
        (closure_over_what_has_no_value(), " variable 'lock'"),
    ],
    ids=["nested", "tuple", "slots", "closure", "closure in dict", "closure over what has no value"],
)
def test_the_part_that_cannot_travel_is_named(value: Any, path: str) -> None:
    with pytest.raises(CannotTravel) as caught:
        dumps(value, what="argument 'conn' of task 'load'")
    text = str(caught.value)
    assert text.startswith("argument 'conn' of task 'load' cannot travel to another process: it holds, at ")
    assert f"at {path.strip()}," in text.replace("at  ", "at ")
    assert "an object of type _thread.lock" in text
    assert "<unlocked _thread.lock object at 0x" in text
    assert isinstance(caught.value.__cause__, TypeError)


class Refusing:
    __slots__ = ("never_set",)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{name} is not yours to ask for")

    def __reduce__(self) -> Any:
        raise TypeError("stay here")


def test_a_value_that_refuses_to_be_looked_at_is_named_itself() -> None:
    with pytest.raises(CannotTravel, match=r"at \[0\], .*an object of type \S+Refusing"):
        dumps([Refusing()], what="x")


def test_a_value_that_cannot_travel_by_itself_is_named() -> None:
    with pytest.raises(
        CannotTravel, match=r"^the result of task 't' cannot travel .*: it is an object of type generator"
    ):
        dumps((item for item in ""), what="the result of task 't'")


def test_error_of_a_value_is_itself_portable() -> None:
    with pytest.raises(CannotTravel) as caught:
        dumps(threading.Lock(), what="x")
    made = unpack_error(pack_error(caught.value))
    assert type(made) is CannotTravel
    assert str(made) == str(caught.value)
    assert type(made.__cause__) is TypeError


class Refuses:
    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


def refuse() -> None:
    raise OSError("refuses to be rebuilt")


class EndsItsReader:
    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, ("not here",)


def test_a_value_that_exits_while_it_is_rebuilt_cannot_travel() -> None:
    with pytest.raises(CannotTravel, match=r"^it cannot be rebuilt in this process: sys\.exit failed with SystemExit"):
        round_trip(EndsItsReader(), what="it")


class RefusesToPickle:
    def __reduce__(self) -> tuple[Any, ...]:
        raise ZeroDivisionError("refuses to pickle")

    def __repr__(self) -> str:
        raise ZeroDivisionError("refuses to be shown")


def test_refusing_objects_are_named() -> None:
    text = r"^it cannot be rebuilt in this process: \S*\.refuse failed with OSError: refuses to be rebuilt"
    with pytest.raises(CannotTravel, match=text):
        round_trip(Refuses(), what="it")
    with pytest.raises(CannotTravel, match=r"at \[0\], an object of type \S*RefusesToPickle, which cannot be pickled"):
        dumps([RefusesToPickle()], what="it")


def test_a_value_that_is_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CannotTravel, match="deep recursion"):
        dumps(value, what="it")


def test_missing_module_is_named() -> None:
    module = types.ModuleType("only_there")
    exec("class Missing:\n    pass", module.__dict__)
    sys.modules["only_there"] = module
    try:
        data = dumps(module.__dict__["Missing"](), what="it")
    finally:
        del sys.modules["only_there"]
    with pytest.raises(
        CannotTravel, match=r"^it cannot be rebuilt in this process: module 'only_there' cannot be"
    ) as e:
        loads(data, what="it")
    assert isinstance(e.value.__cause__, ModuleNotFoundError)


def test_exceptions_inside_values_travel_whole() -> None:
    error = raised("two_arguments")
    state: State[Any] = Failed(data=error, message="m")
    value = {"errors": [error, Connection("c", error)], "state": state}
    made = round_trip(value, what="it")
    assert facts(made["errors"][0]) == facts(error)
    assert made["errors"][1].inner is made["errors"][0]
    assert facts(made["state"].data) == facts(error)


def test_exception_that_holds_its_holder() -> None:
    error: Any = transport_classes.Plain("held")
    error.holder = {"error": error}
    made = round_trip(error.holder, what="it")["error"]
    assert made.holder["error"] is made


def test_exception_with_a_lock_does_not_stop_a_value() -> None:
    made = round_trip([raised("holds_lock")], what="it")[0]
    assert issubclass(type(made), transport_classes.HoldsLock)
    assert made.original_type == f"{transport_classes.__name__}.HoldsLock"


def test_tracebacks_travel_the_same_with_and_without_global_reducers() -> None:
    error = raised("zero_division")
    expected = traceback.format_tb(error.__traceback__)
    assert traceback.format_tb(round_trip(error.__traceback__, what="it")) == expected
    before = dict(copyreg.dispatch_table)
    pickling_support.install()
    try:
        assert types.TracebackType in copyreg.dispatch_table
        assert traceback.format_tb(round_trip(error.__traceback__, what="it")) == expected
    finally:
        # In place: the C pickler keeps this very dict.
        copyreg.dispatch_table.clear()
        copyreg.dispatch_table.update(before)


WORKER_MODULE = """
from prefect_anyrunner._serialization.values import dumps
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._serialization.pack import pack_error

def call_packed(data):
    try:
        return "value", dumps(loads(data)(), what="the result")
    except BaseException as error:
        return "error", pack_error(error)

def call_by_name(function):
    try:
        function()
    except Exception as error:
        return pack_error(error)
"""

MAIN_SCRIPT = """
import asyncio, sys, threading, multiprocessing, concurrent.futures, dataclasses
import worker_module
from prefect_anyrunner._serialization.values import dumps
from prefect_anyrunner._serialization.values import loads
from prefect_anyrunner._serialization.unpack import unpack_error

class Mine(ValueError):
    made = 0
    def __init__(self, code, *, extra):
        super().__init__(f"code {code}")
        self.code, self.extra = code, extra
        Mine.made += 1
    def shout(self):
        return str(self).upper()

class Locked(Mine):
    def __init__(self):
        super().__init__(9, extra=None)
        self.lock = threading.Lock()

@dataclasses.dataclass
class Result:
    size: int

class Group(ExceptionGroup):
    pass

def fails(): raise Mine(1, extra=Result(2))
def fails_locked(): raise Locked()
def fails_local():
    class Local(Mine): pass
    raise Local(3, extra=None)
def fails_group(): raise Group("g", [Mine(4, extra=None), Locked()])
def returns(): return [Result(5), Mine(6, extra=None)]

def main():
    shout = Mine.shout
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        def run(function):
            kind, data = pool.submit(worker_module.call_packed, dumps(function, what="f")).result()
            return unpack_error(data) if kind == "error" else loads(data)
        for _ in range(2):
            error = run(fails)
            assert type(error) is Mine and error.code == 1 and str(error) == "code 1", error
            assert type(error.extra) is Result and error.extra == Result(2)
            assert error.shout() == "CODE 1"
        try:
            raise run(fails_locked)
        except Mine as error:
            assert isinstance(error, Locked) and type(error) is not Locked and error.code == 9
        try:
            raise run(fails_local)
        except Mine as error:
            assert type(error).__qualname__ == "fails_local.<locals>.Local" and error.code == 3
        try:
            raise run(fails_group)
        except* Locked as group:
            assert len(group.exceptions) == 1
        except* Mine as group:
            assert [type(member) for member in group.exceptions] == [Mine]
        assert type(run(fails_group)) is Group
        result, error = run(returns)
        assert result == Result(5) and type(error) is Mine
        # Found by name on the worker, where this script is the module __mp_main__.
        error = unpack_error(pool.submit(worker_module.call_by_name, fails).result())
        assert type(error) is Mine and type(error.extra) is Result, type(error)
        # What came back has not touched what is here.
        assert Mine.shout is shout and Mine.made == 0, Mine.made
    print("as expected")

if __name__ == "__main__":
    main()
"""


def test_classes_of_main_come_back_as_themselves(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(MAIN_SCRIPT)
    (tmp_path / "worker_module.py").write_text(WORKER_MODULE)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("as expected\n", 0), done.stderr


class Login:
    def __init__(self, password: str) -> None:
        self.password = password

    def __repr__(self) -> str:
        return f"Login(user='me', password={self.password!r})"

    def __reduce__(self) -> Any:
        raise TypeError(f"cannot copy https://me:{self.password}@host")


@pytest.mark.parametrize(
    "value", [Login("hunter2"), {"a": [Login("hunter2")]}, {Login("hunter2")}, {Login("hunter2"): 1}]
)
def test_a_value_that_cannot_travel_is_named_without_secrets(value: Any) -> None:
    with pytest.raises(CannotTravel, match="Login") as caught:
        dumps(value, what="argument 'login' of task 'load'")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("what", ["argument 'token' of task 'load'", "the result of task 'get_token'"])
def test_a_secret_that_cannot_travel_is_hidden(what: str) -> None:
    with pytest.raises(CannotTravel, match=r"the object is \*\*\*$"):
        dumps(Refusing(), what=what)


def test_the_user_can_hide_values_that_cannot_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYRUNNER_INPUTS", "hide")
    with pytest.raises(CannotTravel, match=r"the object is \*\*\*$"):
        dumps(Refusing(), what="argument 'day' of task 'load'")
