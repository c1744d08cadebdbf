"""Inputs read lazily, and what holds submitting back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sized
from typing import Any

from prefect.exceptions import MappingLengthMismatch, MappingMissingIterable
from prefect.tasks import Task
from prefect.utilities.annotations import allow_failure, opaque, quote, unmapped
from prefect.utilities.callables import get_call_parameters
from prefect.utilities.collections import isiterable

from prefect_anyrunner._prefect.private import unsent_events

_PATIENCE = 0.05
"""Seconds after which what a slow input has given by then is submitted, before a part is full."""
_UNSENT = 3000
"""Events that may wait in this process to be sent, at some 17 kB each: Prefect emits faster than it sends."""
_STUCK = 10.0
"""Seconds after which events that do not get fewer are waited for no longer."""
_END: Any = object()


class _Inputs:
    """The arguments, split into those that are read element by element and those that every run gets."""

    def __init__(self, task: Task[Any, Any], iterables: tuple[Any, ...], named: dict[str, Any]) -> None:
        given = get_call_parameters(task.fn, iterables, named, apply_defaults=False)
        self._iterators: dict[str, Iterator[Any]] = {}
        self._annotations: dict[str, Any] = {}
        self.static: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        for name, value in given.items():
            inner = value.unwrap() if isinstance(value, allow_failure | opaque | quote) else value
            if isinstance(inner, unmapped) or not isiterable(inner):
                self.static[name] = value if isinstance(inner, unmapped) else unmapped(value)
                continue
            if inner is not value:
                self._annotations[name] = type(value)
            if isinstance(inner, Sized):
                lengths[name] = len(inner)
            self._iterators[name] = iter(inner)
        if not self._iterators:
            raise MappingMissingIterable(
                f"map_settled needs at least one iterable argument for task {task.name!r}, got: {', '.join(given)}"
            )
        if len(set(lengths.values())) > 1:
            raise MappingLengthMismatch(f"The iterables are not equally long: {lengths}")
        self.total: int | None = next(iter(lengths.values()), None)
        self.ended = False

    def read(self, most: int) -> dict[str, list[Any]]:
        """Return the next elements of each argument, at most `most`; fewer when they are slow to come or at an end."""
        columns: dict[str, list[Any]] = {name: [] for name in self._iterators}
        until = time.monotonic() + _PATIENCE
        for _ in range(most):
            row = {name: next(iterator, _END) for name, iterator in self._iterators.items()}
            over = [name for name, value in row.items() if value is _END]
            if over:
                self.ended = True
                if len(over) < len(row):
                    raise MappingLengthMismatch(f"The iterables are not equally long: {', '.join(over)} ended first")
                break
            for name, value in row.items():
                columns[name].append(value)
            if time.monotonic() > until:
                break
        return columns

    def annotated(self, columns: dict[str, list[Any]]) -> dict[str, Any]:
        """Return columns with the annotations that the arguments had."""
        return {name: self._annotations.get(name, _as_is)(column) for name, column in columns.items()}


def _as_is(column: list[Any]) -> list[Any]:
    return column


class _Backlog:
    """The events that wait to be sent: a queue without a limit, which fast tasks fill for as long as inputs last."""

    def __init__(self) -> None:
        self._least = 0
        self._since = 0.0

    def too_long(self) -> bool:
        """Tell whether submitting is to wait, which it does only while the events get fewer."""
        unsent, now = unsent_events(), time.monotonic()
        if unsent <= _UNSENT:
            self._least = 0
            return False
        if not self._least or unsent < self._least:
            self._least, self._since = unsent, now
        return now - self._since < _STUCK
