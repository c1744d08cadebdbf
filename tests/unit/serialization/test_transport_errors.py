"""Exceptions travel whole (rules F1 to F5), in this process and between two, whatever tblib has installed globally."""

import gc
import json
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from prefect_anyrunner._serialization.introspect import can_be_made_bare
from prefect_anyrunner._serialization.nodes import StandIn
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error
from tests.unit.serialization import transport_classes, transport_facts
from tests.unit.serialization.transport_cases import CASES, STAND_INS, raised
from tests.unit.serialization.transport_facts import facts

TBLIB = {"plain": (), "tblib": ("--tblib",)}


def run_cases(*arguments: str) -> str:
    command = [sys.executable, "-m", transport_facts.__name__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files that a process packed, without and with tblib's reducers in it."""
    files = {name: tmp_path_factory.mktemp("packed") / name for name in TBLIB}
    for name, file in files.items():
        run_cases("pack", str(file), *TBLIB[name])
    return files


@pytest.fixture(scope="module", params=["plain-plain", "plain-tblib", "tblib-plain", "tblib-tblib"])
def crossing(request: pytest.FixtureRequest, packed: dict[str, Path]) -> dict[str, Any]:
    """Facts of the error in the process that raised it, and of the one that arrived in another, by case."""
    there, here = request.param.split("-")
    arrived = json.loads(run_cases("check", str(packed[there]), *TBLIB[here]))
    sent = pickle.loads(packed[there].read_bytes())
    return {name: (through_json(sent[name][0]), *arrived[name]) for name in CASES}


def through_json(found: dict[str, Any]) -> dict[str, Any]:
    """Return the facts as they are after the other process printed them: tuples become lists."""
    loaded: dict[str, Any] = json.loads(json.dumps(found))
    return loaded


def shortened(lines: list[Any]) -> list[Any]:
    return lines if len(lines) <= 100 else [*lines[:50], *lines[-49:]]


def assert_itself(sent: dict[str, Any], got: dict[str, Any], name: str) -> None:
    if name == "deep_recursion":
        assert len(sent["lines"]) > 900
        assert len(got["lines"]) == 100
        assert "left out" in got["lines"].pop(50)[0]
        sent = {**sent, "lines": shortened(sent["lines"])}
    if name == "drops_lock":
        del sent["attributes"]["lock"]
    assert got == sent


def assert_stand_in(sent: dict[str, Any], got: dict[str, Any], mro: list[str], name: str) -> None:
    base = STAND_INS[name]
    assert f"{base.__module__}.{base.__qualname__}" in mro[1:]
    for key in ("type", "text", "lines", "suppress"):
        assert got[key] == sent[key], key
    assert got["attributes"]["original_type"] == repr(sent["type"])
    assert len(got["args"]) == len(sent["args"])
    if name != "huge_args":
        assert got["args"][1] == sent["args"][1]
    for key, value in sent["attributes"].items():
        if key != "code":
            assert key in got["attributes"]
        else:
            assert got["attributes"][key] == value
    assert got["notes"][-1].startswith("Stand-in for ")
    assert [member["type"] for member in got.get("members", [])] == [m["type"] for m in sent.get("members", [])]


@pytest.mark.parametrize("name", CASES)
def test_round_trip_in_process(name: str) -> None:
    error = raised(name)
    sent = through_json(facts(error))
    data = pack_error(error)
    made = unpack_error(data)
    got = through_json(facts(made))
    if name in STAND_INS and name != "missing_module":
        assert isinstance(made, StandIn)
        assert_stand_in(sent, got, transport_facts.mro_names(made), name)
    else:
        assert type(made) is type(error)
        assert_itself(sent, got, name)
    # A second hop changes nothing: what a task in a task raises comes home through two workers.
    assert through_json(facts(unpack_error(pack_error(made)))) == through_json(facts(made))
    assert len(data) < 200_000


@pytest.mark.parametrize("name", CASES)
def test_round_trip_between_processes(crossing: dict[str, Any], name: str) -> None:
    sent, got, is_stand_in, mro, again = crossing[name]
    assert again == got, "a stand-in survives plain pickle"
    assert is_stand_in == (name in STAND_INS)
    if name in STAND_INS:
        assert_stand_in(sent, got, mro, name)
    else:
        assert_itself(sent, got, name)


def test_traceback_prints_the_lines_of_the_task() -> None:
    error = raised("cause")
    made = unpack_error(pack_error(error))
    assert traceback.format_exception(made) == traceback.format_exception(error)


def test_group_splits_as_before() -> None:
    made = unpack_error(pack_error(transport_classes.Group("g", [ValueError(1), TypeError(2)], 5)))
    assert isinstance(made, transport_classes.Group)
    matched, rest = made.split(ValueError)
    assert isinstance(matched, transport_classes.Group) and isinstance(rest, transport_classes.Group)
    assert (matched.code, rest.code) == (5, 5)


def test_stand_in_group_splits() -> None:
    made = unpack_error(pack_error(raised("locked_group")))
    assert isinstance(made, StandIn)
    try:
        raise made
    except* transport_classes.TwoArguments as caught:
        assert caught.exceptions[0].args == ("1 is not 2",)


@pytest.mark.parametrize("library", [pickle, cloudpickle])
@pytest.mark.parametrize("name", [name for name in STAND_INS if name != "missing_module"])
def test_stand_in_survives_pickle(library: Any, name: str) -> None:
    made = unpack_error(pack_error(raised(name)))
    again = library.loads(library.dumps(made))
    assert type(again) is type(made), "one stand-in class for one original"
    assert through_json(facts(again)) == through_json(facts(made))


def test_only_what_cannot_travel_is_replaced() -> None:
    made: Any = unpack_error(pack_error(raised("holds_lock")))
    assert issubclass(type(made), transport_classes.HoldsLock)
    assert made.code == 7
    assert isinstance(made.lock, str) and "lock" in made.lock
    assert made.__notes__ == [
        f"Stand-in for {transport_classes.__name__}.HoldsLock: "
        "attribute 'lock' could not travel, the repr stands instead."
    ]
    arguments = unpack_error(pack_error(raised("lock_arg"))).args
    assert (arguments[0], arguments[2]) == ("locked", 3)


def test_object_of_an_attribute_error_travels_if_it_can() -> None:
    made = unpack_error(pack_error(raised("attribute_error")))
    assert isinstance(made, AttributeError)
    assert (made.name, made.obj) == ("nothing", [])
    made = unpack_error(pack_error(raised("attribute_error_on_lock")))
    assert type(made) is AttributeError
    assert (made.name, made.obj) == ("nothing", None)


def test_modules_registered_by_value_are_not_expected_on_the_other_side() -> None:
    cloudpickle.register_pickle_by_value(transport_classes)
    try:
        data = pack_error(transport_classes.Plain("x"))
    finally:
        cloudpickle.unregister_pickle_by_value(transport_classes)
    assert b"_make_skeleton_class" in data
    assert type(unpack_error(data)) is transport_classes.Plain


def test_same_exception_twice_is_one_exception() -> None:
    member = ValueError("once")
    group = ExceptionGroup("g", [member, member])
    group.__cause__ = member
    made = unpack_error(pack_error(group))
    assert isinstance(made, ExceptionGroup)
    assert made.exceptions[0] is made.exceptions[1] is made.__cause__


def test_exception_in_its_own_args_and_attributes() -> None:
    error: Any = transport_classes.Plain("self")
    error.args = ("self", error)
    error.me = [error]
    made = unpack_error(pack_error(error))
    assert made.args[1] is made
    assert made.me[0] is made


def test_long_chain_is_cut() -> None:
    last = ValueError(0)
    for number in range(1, 1000):
        error = ValueError(number)
        error.__context__ = last
        last = error
    made: BaseException | None = unpack_error(pack_error(last))
    seen = []
    while made is not None:
        seen.append(made.args[0])
        made = made.__context__
    assert seen == [*range(999, 898, -1)]


def test_deeply_nested_group() -> None:
    group: ExceptionGroup[Exception] = ExceptionGroup("0", [ValueError("leaf")])
    for depth in range(1, 400):
        group = ExceptionGroup(str(depth), [group])
    made: BaseException = unpack_error(pack_error(group))
    for _ in range(400):
        assert isinstance(made, ExceptionGroup)
        made = made.exceptions[0]
    assert repr(made) == "ValueError('leaf')"


def test_wide_group() -> None:
    made = unpack_error(pack_error(ExceptionGroup("wide", [ValueError(number) for number in range(2000)])))
    assert isinstance(made, ExceptionGroup)
    assert [member.args[0] for member in made.exceptions] == [*range(2000)]


class Multiplies(ValueError):
    """Holds a new exception of its kind every time anybody looks."""

    def __init__(self) -> None:
        self.held = Holder()


class Holder:
    def __getstate__(self) -> dict[str, Any]:
        return {"next": Multiplies()}


class Exits(ValueError):
    def __str__(self) -> str:
        raise SystemExit(1)

    def __reduce__(self) -> tuple[Any, ...]:
        raise KeyboardInterrupt


class TextOfOwnKind(str):
    def __str__(self) -> str:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


class StrangeText(ValueError):
    def __str__(self) -> str:
        return TextOfOwnKind("strange")


class StrangeNames(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise RuntimeError

    @property
    def __mro__(cls) -> Any:
        raise RuntimeError

    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError("no attribute of the class")

    def __instancecheck__(cls, instance: object) -> bool:
        raise RuntimeError

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def of_strange_metaclass() -> ValueError:
    class OfStrangeMetaclass(ValueError, metaclass=StrangeNames):
        pass

    return OfStrangeMetaclass("x")


@pytest.fixture
def no_classes_left() -> Iterator[None]:
    """Remove local classes: tblib, when distributed is imported, walks all exception classes and would trip on ours."""
    yield
    gc.collect()


def noted(notes: object) -> ValueError:
    error = ValueError("noted")
    error.__notes__ = notes  # type: ignore[assignment]
    return error


HOSTILE: dict[str, Callable[[], BaseException]] = {
    "multiplies": Multiplies,
    "exits": lambda: Exits("x"),
    "strange text": lambda: StrangeText("x"),
    "strange metaclass": of_strange_metaclass,
    "strange class as argument": lambda: ValueError(type(of_strange_metaclass())),
    "notes are no list": lambda: noted(5),
    "notes are no text": lambda: noted([1, object(), "text"]),
    "surrogate": lambda: ValueError("\ud800"),
    "strange text as argument": lambda: ValueError(TextOfOwnKind("x")),
    "nan": lambda: ValueError(float("nan")),
}


@pytest.mark.usefixtures("no_classes_left")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_objects_arrive_caught_by_their_base(name: str) -> None:
    made = unpack_error(pack_error(HOSTILE[name]()))
    assert issubclass(type(made), ValueError)
    again = unpack_error(pack_error(made))
    assert type(again) is type(made)


@pytest.mark.parametrize("data", [b"", b"garbage", pickle.dumps([]), pickle.dumps([{}]), pack_error(ValueError())[:-5]])
def test_unpack_never_raises(data: bytes) -> None:
    assert isinstance(unpack_error(data), RuntimeError)


def test_classes_that_hold_c_data_are_never_made_bare() -> None:
    # pydantic's ValidationError keeps Rust data: an instance that nobody filled would take the process down.
    error: Any = raised("validation_error")
    assert not can_be_made_bare(type(error))
    bare = (ValueError, OSError, transport_classes.Slotted, transport_classes.Group, transport_classes.OfRegistry)
    assert all(map(can_be_made_bare, bare))
    error.lock = threading.Lock()
    made = unpack_error(pack_error(error))
    assert type(made) is type(error)
    assert str(made) == str(error)
