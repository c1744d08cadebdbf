"""Exceptions of every kind, and a process that packs or unpacks them.

    python -m tests.unit.serialization.transport_cases pack|check FILE [--tblib]

`pack` raises each and writes what it was and its packed bytes; `check` unpacks each and prints as JSON what arrived.
`--tblib` installs tblib's global reducers first, as importing distributed does.
"""

import asyncio
import concurrent.futures
import dataclasses
import enum
import json
import pickle
import re
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any, Never

import httpx
import pydantic
from prefect.exceptions import UpstreamTaskError

from prefect_anyrunner._serialization.nodes import StandIn
from prefect_anyrunner._serialization.pack import pack_error
from prefect_anyrunner._serialization.unpack import unpack_error


class Color(enum.Enum):
    RED = 1


class Plain(ValueError):
    pass


class TwoArguments(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} is not {right}")
        self.left, self.right = left, right


class KeywordOnly(LookupError):
    def __init__(self, *, code: int) -> None:
        super().__init__()
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class NoArguments(Exception):
    def __init__(self) -> None:
        super().__init__("always this")


class Forgetful(Exception):
    """Does not tell its bases what it got."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return f"forgot {self.name}"


class Slotted(Exception):
    __slots__ = ("place", "unset")

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place


class OwnReduce(Exception):
    def __init__(self, text: str, *, detail: int) -> None:
        super().__init__(text)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return _own_reduce, (self.args[0], self.detail)


def _own_reduce(text: str, detail: int) -> OwnReduce:
    return OwnReduce(text, detail=detail)


class LossyReduce(Exception):
    def __init__(self, text: str, detail: int = 0) -> None:
        super().__init__(text)
        self.detail = detail

    def __reduce__(self) -> tuple[Any, ...]:
        return LossyReduce, (self.args[0],)


class LeavesLockOut(Exception):
    """Says itself how to travel without its lock."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return LeavesLockOut, (self.args[0],)


class DropsLock(Exception):
    """Says itself how to travel, without what others put on it."""

    lock: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return DropsLock, self.args


class Denied(PermissionError):
    def __init__(self, *, who: str) -> None:
        super().__init__(13, f"{who} is denied")
        self.who = who


class Unshown:
    """Its repr holds its address."""


class RaisingReduce(Exception):
    def __reduce__(self) -> tuple[Any, ...]:
        raise RuntimeError("no reduce")


class RefusesToUnpickle(Exception):
    def __setstate__(self, state: Any) -> None:
        raise RuntimeError("no setstate")


class RaisingInit(Exception):
    armed = False

    def __init__(self, *args: object) -> None:
        if not RaisingInit.armed:
            raise RuntimeError("no init")
        super().__init__(*args)


class RaisingNew(Exception):
    armed = False

    def __new__(cls, *args: object) -> "RaisingNew":
        if not RaisingNew.armed:
            raise RuntimeError("no new")
        return super().__new__(cls, *args)


class RaisingStr(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("no str")

    __repr__ = __str__


class RaisingEq(Exception):
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no eq")


class Hostile(ValueError):
    """Every touch raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attribute")

    def __setattr__(self, name: str, value: Any) -> None:
        raise RuntimeError("no attribute")

    def __str__(self) -> str:
        return "hostile"


class Liar(ValueError):
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return int


class HoldsLock(ValueError):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.code = 7


class HoldsLockBase(BaseException):
    def __init__(self) -> None:
        super().__init__("base")
        self.lock = threading.Lock()


class Registry(type):
    """Takes one class and no more."""

    count = 0

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> "Registry":
        mcs.count += 1
        if mcs.count > 1:
            raise RuntimeError("no more classes")
        return super().__new__(mcs, name, bases, body)


class OfRegistry(ValueError, metaclass=Registry):
    def __init_subclass__(cls) -> None:
        raise RuntimeError("no subclass")

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class DeepTrouble(HoldsLock, OSError):
    """Two builtin bases, of which the second gives the layout."""


class ShadowsField(OSError):
    @property
    def filename(self) -> str:
        return "always this file"


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int
    names: list[str]


class Group(ExceptionGroup[Exception]):
    """Takes more than message and members, and keeps it when split."""

    code: int

    def __new__(cls, message: str, members: list[Exception], code: int) -> "Group":
        made = super().__new__(cls, message, members)
        made.code = code
        return made

    def __init__(self, message: str, members: list[Exception], code: int) -> None:
        super().__init__(message, members)

    def derive(self, members: Any) -> Any:
        return Group(self.message, members, self.code)


class LockedGroup(ExceptionGroup[Exception]):
    lock: Any

    def derive(self, members: Any) -> Any:
        with self.lock:
            return LockedGroup(self.message, members)


class Model(pydantic.BaseModel):
    size: int


class Unloadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> Never:
    raise RuntimeError("refuses to be unpickled")


CASES: dict[str, Callable[[], object]] = {}
STAND_INS: dict[str, type[BaseException]] = {}


def case(function: Callable[[], object]) -> Callable[[], object]:
    CASES[function.__name__] = function
    return function


def stand_in(base: type[BaseException]) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def register(function: Callable[[], object]) -> Callable[[], object]:
        STAND_INS[function.__name__] = base
        return case(function)

    return register


for _name, _make in {
    "value_error": lambda: ValueError("boom", 1, None, [2, (3,)], {"k": float("inf")}),
    "no_args": lambda: ValueError(),
    "key_error": lambda: KeyError("missing"),
    "plain_subclass": lambda: Plain("boom"),
    "enum_arg": lambda: ValueError(Color.RED),
    "class_arg": lambda: ValueError(Plain, int),
    "exception_arg": lambda: ValueError("outer", TwoArguments(1, 2)),
    "object_arg": lambda: ValueError(Model(size=1)),
    "two_arguments": lambda: TwoArguments(1, 2),
    "keyword_only": lambda: KeywordOnly(code=3),
    "no_arguments": lambda: NoArguments(),
    "forgetful": lambda: Forgetful("x"),
    "slotted": lambda: Slotted("here"),
    "own_reduce": lambda: OwnReduce("own", detail=4),
    "lossy_reduce": lambda: LossyReduce("lossy", 5),
    "leaves_lock_out": lambda: LeavesLockOut("left out"),
    "raising_reduce": lambda: RaisingReduce("r", 1),
    "refuses_to_unpickle": lambda: RefusesToUnpickle("r"),
    "raising_str": lambda: RaisingStr("s"),
    "raising_eq": lambda: RaisingEq("e"),
    "hostile": lambda: Hostile("h"),
    "liar": lambda: Liar("l"),
    "shadows_field": lambda: ShadowsField(2, "no such file", "real name"),
    "frozen_dataclass": lambda: Frozen(1, ["a"]),
    "os_error": lambda: OSError(2, "no such file", "from", None, "to"),
    "os_error_text_only": lambda: OSError("just text"),
    "os_error_no_file": lambda: PermissionError(13, "denied"),
    "os_error_keyword": lambda: Denied(who="you"),
    "address_in_text": lambda: ValueError(Unshown()),
    "blocking_io": lambda: BlockingIOError(11, "busy", 7),
    "unicode_decode": lambda: UnicodeDecodeError("utf-8", b"\xff\x00", 0, 1, "invalid start byte"),
    "unicode_encode": lambda: UnicodeEncodeError("ascii", "ä", 0, 1, "ordinal"),
    "unicode_translate": lambda: UnicodeTranslateError("ä", 0, 1, "why"),
    "stop_iteration": lambda: StopIteration(5),
    "stop_async_iteration": lambda: StopAsyncIteration(5),
    "import_error": lambda: ImportError("no", name="n", path="p"),
    "name_error": lambda: NameError("no", name="n"),
    "timeout": lambda: TimeoutError("mine"),
    "cancelled_futures": lambda: concurrent.futures.CancelledError("mine"),
    "cancelled_asyncio": lambda: asyncio.CancelledError("mine"),
    "memory": lambda: MemoryError("mine"),
    "recursion": lambda: RecursionError("mine"),
    "keyboard_interrupt": lambda: KeyboardInterrupt(),
    "system_exit": lambda: SystemExit(3),
    "system_exit_text": lambda: SystemExit("bye"),
    "generator_exit": lambda: GeneratorExit("g"),
    "called_process": lambda: subprocess.CalledProcessError(1, ["ls"], output=b"out"),
    "json_decode": lambda: json.JSONDecodeError("bad", "{x", 1),
    "http_status": lambda: httpx.HTTPStatusError(
        "404",
        request=(request := httpx.Request("GET", "http://there")),
        response=httpx.Response(404, request=request, text="gone"),
    ),
    "prefect": lambda: UpstreamTaskError("upstream"),
    "group": lambda: ExceptionGroup("g", [ValueError(1), TwoArguments(1, 2), KeywordOnly(code=1)]),
    "base_group": lambda: BaseExceptionGroup("g", [SystemExit(1), KeyboardInterrupt()]),
    "nested_group": lambda: ExceptionGroup("g", [ExceptionGroup("h", [NoArguments(), Group("i", [Plain("x")], 2)])]),
    "own_group": lambda: Group("own", [TwoArguments(1, 2)], 9),
}.items():

    def _raise(make: Callable[[], BaseException] = _make) -> object:
        raise make()

    CASES[_name] = _raise


@case
def syntax_error() -> object:
    return compile("x = 1\nx x\n", "made.py", "exec")


@case
def attribute_error() -> object:
    return [].nothing  # type: ignore[attr-defined]


@case
def attribute_error_on_lock() -> object:
    return threading.Lock().nothing  # type: ignore[attr-defined]


@case
def zero_division() -> object:
    return 1 // 0


@case
def file_not_found() -> object:
    return open("/does/not/exist")


@case
def validation_error() -> object:
    return Model(size="much")  # type: ignore[arg-type]


@case
def drops_lock() -> object:
    error = DropsLock("dropped", 1)
    error.lock = threading.Lock()
    raise error


@case
def raising_init() -> object:
    RaisingInit.armed = True
    try:
        raise RaisingInit("i", 2)
    finally:
        RaisingInit.armed = False


@case
def raising_new() -> object:
    RaisingNew.armed = True
    try:
        raise RaisingNew("n", 2)
    finally:
        RaisingNew.armed = False


@case
def changed_args() -> object:
    error = UnicodeDecodeError("utf-8", b"x", 0, 1, "r")
    error.args = ("other",)
    raise error


@case
def notes() -> object:
    error = ValueError("noted")
    error.add_note("first")
    error.add_note("second\nline")
    raise error


@case
def attributes() -> object:
    error = Plain("with attributes")
    error.plain, error.color, error.model = [1, {"a": None}], Color.RED, Model(size=2)  # type: ignore[attr-defined]
    error.error = TwoArguments(3, 4)  # type: ignore[attr-defined]
    raise error


@case
def cause() -> object:
    try:
        CASES["two_arguments"]()
    except TwoArguments as error:
        raise KeywordOnly(code=1) from error
    return None


@case
def context() -> object:
    try:
        CASES["syntax_error"]()
    except SyntaxError:
        CASES["forgetful"]()
    return None


@case
def suppressed_context() -> object:
    try:
        CASES["forgetful"]()
    except Forgetful:
        raise ValueError("from none") from None
    return None


@case
def chain_of_chains() -> object:
    try:
        cause()
    except KeywordOnly:
        try:
            context()
        except Forgetful as error:
            raise ExceptionGroup("all", [error, ValueError(1)]) from TypeError("root")
    return None


@case
def cycle_of_causes() -> object:
    one, two = ValueError("one"), TypeError("two")
    one.__cause__, two.__cause__ = two, one
    raise one


@case
def cycle_of_attributes() -> object:
    one, two = Plain("one"), Plain("two")
    one.other, two.other = two, one  # type: ignore[attr-defined]
    raise one


@case
def deep_recursion() -> object:
    return deep_recursion()


@stand_in(HoldsLock)
def holds_lock() -> object:
    raise HoldsLock("locked")


@stand_in(HoldsLockBase)
def holds_lock_base() -> object:
    raise HoldsLockBase


@stand_in(ValueError)
def lock_arg() -> object:
    raise ValueError("locked", threading.Lock(), 3)


@stand_in(RuntimeError)
def generator_attribute() -> object:
    error = RuntimeError("running")
    error.items = (item for item in "abc")  # type: ignore[attr-defined]
    error.code = 7  # type: ignore[attr-defined]
    raise error


@stand_in(RuntimeError)
def unloadable_attribute() -> object:
    error = RuntimeError("unloadable")
    error.bad = Unloadable()  # type: ignore[attr-defined]
    raise error


@stand_in(ValueError)
def local_class_with_lock() -> object:
    lock = threading.Lock()

    class Local(Plain):
        def method(self) -> object:
            return lock

    raise Local("local", 1)


@stand_in(OfRegistry)
def metaclass_refuses() -> object:
    raise OfRegistry("counted")


@stand_in(OSError)
def two_bases() -> object:
    raise DeepTrouble("deep")


@stand_in(LockedGroup)
def locked_group() -> object:
    error = LockedGroup("locked", [TwoArguments(1, 2)])
    error.lock = threading.Lock()
    raise error


@stand_in(ValueError)
def huge_args() -> object:
    raise ValueError("x" * 11_000_000)


@stand_in(LookupError)
def missing_module() -> object:
    """Its module exists where it is raised only."""
    if "only_on_worker" not in sys.modules:
        module = types.ModuleType("only_on_worker")
        exec("class Missing(LookupError):\n    pass", module.__dict__)
        sys.modules["only_on_worker"] = module
    raise sys.modules["only_on_worker"].Missing("gone", 2)


# What each is, as data


def text_of(value: object) -> str:
    try:
        return without_address(str(value))
    except RuntimeError as problem:
        return f"raises {problem!r}"


def plain(value: object) -> Any:
    """Return a picture of `value` that is equal for equal values in any process."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(plain, value)]
    if issubclass(type(value), BaseException):
        return f"{type(value).__qualname__}: {text_of(value)}"
    return without_address(repr(value))


def without_address(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)[:1000]


def facts(exc: BaseException, path: tuple[int, ...] = ()) -> dict[str, Any]:
    """Return what must be the same on both sides."""
    attributes = dict(BaseException.__dict__["__dict__"].__get__(exc))
    notes = attributes.pop("__notes__", [])
    found = {
        "type": f"{type(exc).__module__}.{type(exc).__qualname__}",
        "text": text_of(exc),
        "args": plain(BaseException.__dict__["args"].__get__(exc)),
        "attributes": plain(attributes),
        "fields": {},
        "notes": notes,
        "suppress": BaseException.__dict__["__suppress_context__"].__get__(exc),
        "lines": [
            (frame.filename, frame.name, frame.lineno)
            for frame in traceback.extract_tb(BaseException.__dict__["__traceback__"].__get__(exc))
        ],
    }
    for owner in type(exc).__mro__:
        if owner in (BaseException, object) or issubclass(owner, BaseExceptionGroup):
            continue
        for name, field in vars(owner).items():
            if isinstance(field, types.MemberDescriptorType | types.GetSetDescriptorType) and name[:2] != "__":
                try:
                    value = field.__get__(exc)
                except (AttributeError, TypeError):
                    value = "unset"
                found["fields"][name] = plain(value) if name != "obj" else None
    if len(path) < 6:
        for name in ("__cause__", "__context__"):
            other = BaseException.__dict__[name].__get__(exc)
            if other is not None:
                found[name] = "cycle" if id(other) in path else facts(other, (*path, id(exc)))
        if issubclass(type(exc), BaseExceptionGroup):
            found["members"] = [facts(member, (*path, id(exc))) for member in exc.exceptions]  # type: ignore[attr-defined]
    return found


def raised(name: str) -> BaseException:
    """Return the exception of a case, raised."""
    try:
        CASES[name]()
    except BaseException as error:  # they are not all Exceptions
        return error
    raise AssertionError(f"{name} did not raise")


def mro_names(exc: BaseException) -> list[str]:
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(exc).__mro__]


def _each() -> Iterator[tuple[str, BaseException]]:
    for name in CASES:
        yield name, raised(name)


def main(what: str, file: str, *options: str) -> None:
    if "--tblib" in options:
        from tblib import pickling_support

        pickling_support.install()
    if what == "pack":
        packed = {name: (facts(error), pack_error(error)) for name, error in _each()}
        with open(file, "wb") as target:
            pickle.dump(packed, target)
        return
    with open(file, "rb") as source:
        packed = pickle.load(source)
    arrived = {}
    for name, (_, data) in packed.items():
        error = unpack_error(data)
        again = pickle.loads(pickle.dumps(error)) if issubclass(type(error), StandIn) else error
        arrived[name] = (facts(error), issubclass(type(error), StandIn), mro_names(error), facts(again))
    print(json.dumps(arrived))


if __name__ == "__main__":
    # The classes of the cases are to live in a module of their own, as on a worker.
    from tests.unit.serialization import transport_cases

    transport_cases.main(*sys.argv[1:])
