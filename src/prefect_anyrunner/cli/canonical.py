"""Values as text that is equal for equal values, also in another process."""

from __future__ import annotations

import dataclasses
import hashlib
import types
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import cloudpickle

MAX_BYTES = 100
"""Bytes of one value that are written out; longer ones are hashed."""
_PROTOCOL = 4
"""Number of the pickle protocol whose parts are read; from 5 on, an array would hand out a buffer instead of bytes."""


def fingerprint(value: Any) -> str:
    """Return a short text that is equal for equal values."""
    return _hash(canonical(value))


def canonical(value: Any) -> str:
    """Return a text that is equal for equal values.

    Plain values are written out, with unordered containers in a fixed order. Classes are known by their names,
    functions by name and code, and other values by their class and the parts that a pickle would have; if a value has
    none, all values of its class count as equal.
    """
    try:
        return _Writer().text(value)
    except RecursionError:  # such as a long chain of nodes
        return full_name(type(value))


def full_name(named: Any) -> str:
    """Return the name of a class or function with its module, which is left out if it is built in."""
    module = named.__module__
    return named.__qualname__ if module == "builtins" else f"{module}.{named.__qualname__}"


class _Writer:
    """Writes one value part by part, and makes no pickle of it.

    A pickle also says which parts are one object, in which order a set was filled, and an id that each process draws
    for each class of the flow's file. So the pickles of equal values differ.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._written: dict[int, tuple[str, Any]] = {}  # with the value, because its id is free once it is gone

    def text(self, value: Any) -> str:
        """Return the text of a value; a value that is found inside itself is written as its depth."""
        match value:
            case bytes() if len(value) > MAX_BYTES:
                return f"{type(value).__name__}:{hashlib.sha256(value).hexdigest()}"
            case None | bool() | int() | float() | complex() | str() | bytes():
                return f"{type(value).__name__}:{value!r}"
            case type():
                return f"class:{full_name(value)}"
            case types.ModuleType():
                return f"module:{value.__name__}"
        key = id(value)
        if key not in self._written:
            self._written[key] = (f"^{self._depth}", value)
            self._depth += 1
            self._written[key] = (self._whole(value), value)
            self._depth -= 1
        return self._written[key][0]

    def _whole(self, value: Any) -> str:
        kind = type(value)
        if kind is dict:
            return "{" + self._pairs(value.items()) + "}"
        if kind in (set, frozenset):
            return "<" + self._unordered(value) + ">"
        if kind in (list, tuple):
            return f"{kind.__name__}[{self._all(value)}]"
        name = full_name(kind)
        if isinstance(value, BaseException):
            return f"{name}{self.text(value.args)}"
        try:
            return f"{name}:{_hash(self._parts(value))}"
        except RecursionError:
            raise
        except Exception:  # a lock has no parts, and any __reduce__ may raise
            return name

    def _parts(self, value: Any) -> str:
        kind = type(value)
        if isinstance(value, types.FunctionType):
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
            return full_name(value) + self._all((value.__code__, cells, value.__defaults__, value.__kwdefaults__))
        if isinstance(value, types.CodeType):
            return self._all((value.co_code, value.co_consts, value.co_names))
        if dataclasses.is_dataclass(value) and kind.__dataclass_params__.eq:
            return self._all(getattr(value, each.name) for each in dataclasses.fields(value) if each.compare)
        reduce = cloudpickle.CloudPickler.dispatch_table.get(kind)
        reduced = value.__reduce_ex__(_PROTOCOL) if reduce is None else reduce(value)
        if isinstance(reduced, str):  # the name of a global object
            return reduced
        made_of: list[Any] = [*reduced, None, None, None]
        state, items, pairs = made_of[2:5]
        if isinstance(value, set | frozenset):
            return f"{self._unordered(value)};{self.text(state)}"
        ordered = self._all(map(list, pairs or ())) if isinstance(value, OrderedDict) else self._pairs(pairs or ())
        return ";".join([self._all(made_of[:3]), self._all(items or ()), ordered])

    def _all(self, values: Iterable[Any]) -> str:
        return ",".join(map(self.text, values))

    def _unordered(self, values: Iterable[Any]) -> str:
        return ",".join(sorted(map(self.text, values)))

    def _pairs(self, pairs: Iterable[tuple[Any, Any]]) -> str:
        return ",".join(sorted(f"{self.text(key)}={self.text(value)}" for key, value in pairs))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
