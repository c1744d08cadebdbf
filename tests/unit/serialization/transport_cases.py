"""Exceptions of every kind, each raised by a function: they arrive as themselves, or as a stand-in."""

import asyncio
import concurrent.futures
import json
import subprocess
import sys
import threading
import types
from collections.abc import Callable

import httpx
from prefect.exceptions import UpstreamTaskError

from tests.unit.serialization.transport_classes import (
    Color,
    DeepTrouble,
    Denied,
    DropsLock,
    Forgetful,
    Frozen,
    Group,
    HoldsLock,
    HoldsLockBase,
    Hostile,
    KeywordOnly,
    LeavesLockOut,
    Liar,
    LockedGroup,
    LossyReduce,
    Model,
    NoArguments,
    OfRegistry,
    OwnReduce,
    Plain,
    RaisingEq,
    RaisingInit,
    RaisingNew,
    RaisingReduce,
    RaisingStr,
    RefusesToUnpickle,
    ShadowsField,
    Slotted,
    TwoArguments,
    Unloadable,
    Unshown,
)

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


def raised(name: str) -> BaseException:
    """Return the exception of a case, raised."""
    try:
        CASES[name]()
    except BaseException as error:  # they are not all Exceptions
        return error
    raise AssertionError(f"{name} did not raise")
