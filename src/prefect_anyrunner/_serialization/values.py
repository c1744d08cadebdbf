"""Values and exceptions to bytes, and back, on their way to a worker or home (rules F1 to F5, V1, V2).

`dumps` and `loads` carry arguments and results; a value that cannot travel raises `CannotTravel`, which names it.
`pack_error` and `unpack_error` carry exceptions; one that cannot travel arrives as a stand-in.
"""

import io
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic
from typing import Any

from prefect_anyrunner._base.errors import CannotTravel
from prefect_anyrunner._base.masked_repr import MaskedRepr, arguments_are_hidden, is_secret_name
from prefect_anyrunner._base.safe_text import cut
from prefect_anyrunner._base.secrets import HIDDEN, hide_in_prose
from prefect_anyrunner._serialization.introspect import attributes, field_values, names_of
from prefect_anyrunner._serialization.pack import pack_error as pack_error
from prefect_anyrunner._serialization.pickler import SafePickler
from prefect_anyrunner._serialization.unpack import unpack_error as unpack_error

_PLAIN = frozenset({type(None), bool, int, float, str, bytes})
"""Types of most small results: they hold nothing that needs our pickler."""
_MAX_REPR = 200
"""Maximum number of characters of the repr of an object, a key or a member in an error."""
_repr = MaskedRepr()


class _ValuePickler(SafePickler):
    def reduce_error(self, exc: BaseException) -> tuple[Any, ...]:
        return unpack_error, (pack_error(exc),)


def _pickled(value: Any) -> bytes:
    with io.BytesIO() as file:
        _ValuePickler(file).dump(value)
        return file.getvalue()


def dumps(value: Any, *, what: str) -> bytes:
    """Return `value` as bytes for `loads`.

    Exceptions anywhere inside it travel as `pack_error` sends them.

    Args:
        value: any object.
        what: the value's name in the error, such as "argument 'day' of task 'load'".

    Raises:
        CannotTravel: the value cannot be pickled. The text names `what` and the object inside that is to blame;
            the cause is the pickling error (rule V1).
    """
    if type(value) in _PLAIN:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    try:
        return _pickled(value)
    except Exception as problem:
        path, culprit = find_unpicklable(value)
        where = f" holds, at {path}," if path else " is"
        raise CannotTravel(
            f"{what} cannot travel to another process: it{where} {_kind(culprit)}, which cannot be pickled "
            f"({_described(problem)}); the object is {_shown(culprit, what + path)}"
        ) from problem


def loads(data: bytes, *, what: str = "a value", read: Callable[[bytes], Any] = pickle.loads) -> Any:
    """Return the value that `dumps` turned into `data`.

    Args:
        data: the result of `dumps`.
        what: the value's name in the error.
        read: the function that unpickles it.

    Raises:
        CannotTravel: the value cannot be rebuilt in this process: a module is missing, or an object refuses.
    """
    try:
        return read(data)
    except ModuleNotFoundError as problem:
        raise CannotTravel(
            f"{what} cannot be rebuilt in this process: module {problem.name!r} cannot be imported here; install it "
            "where the workers run, or put it beside the file of the flow and import it at the top of that file"
        ) from problem
    except (Exception, SystemExit, GeneratorExit) as problem:  # a value that exits must not end this thread
        raise CannotTravel(
            f"{what} cannot be rebuilt in this process: {_last_step(data)}{_described(problem)}"
        ) from problem


class _Tracing(pickle.Unpickler):
    last = ""

    def find_class(self, module: str, name: str) -> Any:
        self.last = f"{module}.{name}"
        return super().find_class(module, name)


def _last_step(data: bytes) -> str:
    """Name the class or function that `data` loads last before it fails: it is to blame, or near the one that is."""
    tracing = _Tracing(io.BytesIO(data))
    try:
        tracing.load()
    except BaseException:  # the error that `loads` reports already
        return f"{tracing.last} failed with " if tracing.last else ""
    return ""


def _described(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {hide_in_prose(cut(str(problem), 500))}"


def _shown(value: Any, where: str) -> str:
    """Return the repr of an object without secrets. `where`: the names of the argument and the parts that hold it."""
    if arguments_are_hidden() or any(map(is_secret_name, re.findall(r"['.](\w+)", where))):
        return HIDDEN
    return _repr.safe(value, _MAX_REPR)


def _kind(value: Any) -> str:
    _, qualname, module = names_of(type(value))
    return f"an object of type {qualname if module == 'builtins' else f'{module}.{qualname}'}"


def find_unpicklable(value: Any, seconds: float = 1.0) -> tuple[str, Any]:
    """Return the path to an innermost object that cannot be pickled by itself, and the object."""
    deadline = monotonic() + seconds
    path = ""
    for _ in range(10):
        for step, child in _children_seen(value):
            if monotonic() > deadline:
                return path, value
            try:
                _pickled(child)
            except Exception:
                path, value = path + step, child
                break
        else:
            break
    return path, value


def _children_seen(value: Any) -> Iterator[tuple[str, Any]]:
    with suppress(Exception):  # the object's own code refuses, so the object itself is named
        yield from _children(value)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"[{_repr.safe(key, _MAX_REPR)}]", item
            yield f" key {_repr.safe(key, _MAX_REPR)}", key
    elif isinstance(value, list | tuple):
        yield from ((f"[{position}]", item) for position, item in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((f" member {_repr.safe(item, _MAX_REPR)}", item) for item in value)
    elif hasattr(kind, "__code__") and (globals_ := getattr(value, "__globals__", None)) is not None:
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=False):
            with suppress(ValueError):  # the variable has no value yet
                yield f" variable {name!r}", cell.cell_contents
        yield from ((f" global {name!r}", globals_[name]) for name in value.__code__.co_names if name in globals_)
    if issubclass(type(value), BaseException):
        state = {**attributes(value), **field_values(value)}
    else:
        try:
            state = {**object.__getattribute__(value, "__dict__")}
        except AttributeError:
            state = {}
        for owner in kind.__mro__:
            slots = owner.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                if hasattr(value, name):
                    state[name] = getattr(value, name)
    yield from ((f".{name}", item) for name, item in state.items())
