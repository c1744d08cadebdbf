"""A task as it was submitted, for each run: unpickled anew, or kept if no run could notice the difference.

cloudpickle sends the function of a task by value, with the globals and the enclosing variables that it uses. On a
worker these belong to the task alone. If they were kept from run to run, a run would see what earlier runs did to
them, but only those that happened to run on the same worker.
"""

from __future__ import annotations

import decimal
import dis
import enum
import gc
import io
import logging
import pickle
import re
import types
import uuid
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import PurePath
from typing import Any

from prefect.tasks import Task

from prefect_anyrunner._serialization.values import loads

CODE = ("fn", "__wrapped__", "__annotations__")
"""Attributes in which a flow or a task holds its function, and what the function takes along from its module."""
_SCALARS = frozenset({bool, bytes, complex, float, int, str, type(None), date, datetime, timedelta, decimal.Decimal})
_BY_NAME = (types.ModuleType, types.BuiltinFunctionType, types.FunctionType, type, logging.Logger, enum.Enum)
"""Types whose objects a worker finds by name, provided that no other function and no class came by value."""
_STEADY = (*_BY_NAME, re.Pattern, uuid.UUID, PurePath)
_OF_FUNCTIONS = frozenset({"_make_function", "_function_setstate", "_builtin_type", "subimport", "code_of_file"})
"""Names that rebuild a function, by cloudpickle or our pickler, if it needs no class, closure or module of its own."""
_REACHES_GLOBALS = frozenset({"globals", "exec", "eval", "__globals__", "_getframe", "currentframe"})
_COLLECT_BYTES = 128 * 2**20
"""Bytes of tasks unpickled anew, about as large in memory, after which a worker collects garbage."""
_unpickled_bytes = 0


class SentTask:
    """A task that was sent as a blob, kept if every run may use the same object."""

    def __init__(self, data: bytes, what: str) -> None:
        """Unpickle `data`, the result of `dumps`; `what` is its name in an error. Raises CannotTravel."""
        watching = _Watching(io.BytesIO(data))
        task: Task[Any, Any] = loads(data, what=what, read=lambda _: watching.load())
        steady = watching.is_steady and _is_plain(task) and (not watching.functions or _is_steady(task.fn))
        self._kept = task if steady else None

    def task(self, data: Callable[[], bytes], what: str) -> Task[Any, Any]:
        """Return the task for one run; `data` returns its bytes."""
        if self._kept is not None:
            return self._kept
        content = data()
        _collect_after(len(content))
        task: Task[Any, Any] = loads(content, what=what)
        return task


def _collect_after(size: int) -> None:
    """Collect garbage once there may be much of it, because functions and their globals refer to each other."""
    global _unpickled_bytes
    _unpickled_bytes += size
    if _unpickled_bytes > _COLLECT_BYTES:
        _unpickled_bytes = 0
        gc.collect()


class _Watching(pickle.Unpickler):
    """An unpickler that notes whether anything but one function came by value."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.is_steady = True
        self.functions = 0

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if module.partition(".")[0] in ("cloudpickle", "prefect_anyrunner"):
            if name not in _OF_FUNCTIONS:
                self.is_steady = False
            elif name == "_make_function":
                return self._counted(found)
        return found

    def _counted(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any) -> Any:
            self.functions += 1
            self.is_steady = self.is_steady and self.functions == 1
            return make(*args)

        return made


def _is_plain(task: Task[Any, Any]) -> bool:
    """Return whether a task, apart from its function, has nothing that carries a change from one run to the next."""
    facts = [value for name, value in vars(task).items() if name not in CODE]
    return all(map(_is_fact, facts))


def _is_fact(value: Any) -> bool:
    if type(value) in (list, set, dict):
        return all(map(_is_steady_value, value.values() if isinstance(value, dict) else value))
    return _is_steady_value(value) or type(value).__module__.startswith("prefect.")


def _is_steady(fn: Any) -> bool:
    """Return whether no call of `fn`, the one function that came by value, can change what the next call sees."""
    if not isinstance(fn, types.FunctionType) or fn.__closure__:
        return False
    seen = [*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values(), *vars(fn).values()]
    seen += [value for name, value in fn.__globals__.items() if name not in ("__builtins__", "__path__")]
    if not all(value is not fn and _is_steady_value(value) for value in seen):
        return False
    return all(
        _REACHES_GLOBALS.isdisjoint(code.co_names)
        and not any(each.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") for each in dis.get_instructions(code))
        for code in _codes(fn.__code__)
    )


def _is_steady_value(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return type(value) in (tuple, frozenset) and all(map(_is_steady_value, value))
    return type(value) in _SCALARS or isinstance(value, _STEADY)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from _codes(const)
