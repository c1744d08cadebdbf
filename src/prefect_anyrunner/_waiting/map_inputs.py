"""Inputs that are read lazily, and the event queue that holds submitting back."""

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

_READ_SECONDS = 0.05
"""Seconds to read inputs before a part is submitted although it is not full."""
_MAX_UNSENT = 3000
"""Number of unsent events, some 17 kB each, above which submitting stops: Prefect emits faster than it sends."""
_STUCK_SECONDS = 10.0
"""Seconds to wait for an event queue that is not shrinking."""
_END: Any = object()


class Inputs:
    """The arguments of the task. Some are read element by element; every run gets the others (`static`)."""

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

    def read(self, at_most: int) -> dict[str, list[Any]]:
        """Return the next elements of each argument: at most `at_most`, fewer if the input is slow or at its end."""
        columns: dict[str, list[Any]] = {name: [] for name in self._iterators}
        until = time.monotonic() + _READ_SECONDS
        for _ in range(at_most):
            row = {name: next(iterator, _END) for name, iterator in self._iterators.items()}
            ended = [name for name, value in row.items() if value is _END]
            if ended:
                self.ended = True
                if len(ended) < len(row):
                    raise MappingLengthMismatch(f"The iterables are not equally long: {', '.join(ended)} ended first")
                break
            for name, value in row.items():
                columns[name].append(value)
            if time.monotonic() > until:
                break
        return columns

    def annotated(self, columns: dict[str, list[Any]]) -> dict[str, Any]:
        """Return `columns` with the annotations of the arguments: `quote`, `allow_failure`, `opaque`."""
        return {name: self._annotations.get(name, _as_is)(column) for name, column in columns.items()}


def _as_is(column: list[Any]) -> list[Any]:
    return column


class Backlog:
    """Prefect's queue of events to send. It has no limit, so fast tasks would fill it for as long as inputs last."""

    def __init__(self) -> None:
        self._shortest = 0
        self._shortest_since = 0.0

    def is_too_long(self) -> bool:
        """Return whether submitting has to wait. It waits only while the queue is shrinking."""
        unsent, now = unsent_events(), time.monotonic()
        if unsent <= _MAX_UNSENT:
            self._shortest = 0
            return False
        if not self._shortest or unsent < self._shortest:
            self._shortest, self._shortest_since = unsent, now
        return now - self._shortest_since < _STUCK_SECONDS
