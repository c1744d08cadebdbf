"""One call of `map`: its runs go to the engine in batches and share what is the same for all of them."""

from __future__ import annotations

import itertools
from contextvars import ContextVar, Token
from typing import Any

from prefect_anyrunner._driver.run import Run

_FIRST_BATCH = 256
"""Runs in the first batch of a `map`: they start while the others are still being submitted."""
_GROWTH = 8
"""Growth factor of later batches. Few, large batches: while results are coming in, submitting slows down."""


class MapScope:
    """The state that the runs of one `map` on one runner share, until that call returns.

    `shared` maps the id of an object to the digest of its bytes: within one map, the same object has the same bytes;
    between two maps, it may have changed. The object is kept with its digest, so that no other object gets its id.
    """

    def __init__(self, runner: object) -> None:
        self.runner = runner
        self.shared: dict[int, tuple[str, Any]] = {}
        self.held: list[str] = []  # digests that the scope itself uses, for the runs that are still to come
        self._indexes = itertools.count()
        self._runs: list[Run] = []
        self._batch_size = _FIRST_BATCH

    def next_index(self) -> int:
        """Return the place of the next run in this map."""
        return next(self._indexes)

    def add(self, run: Run) -> list[Run]:
        """Keep a run that is ready for the next batch; return that batch once it is full, else nothing."""
        self._runs.append(run)
        if len(self._runs) < self._batch_size:
            return []
        self._batch_size *= _GROWTH
        return self.take()

    def take(self) -> list[Run]:
        """Return the runs that no batch has taken yet."""
        runs, self._runs = self._runs, []
        return runs


_current: ContextVar[MapScope | None] = ContextVar("anyrunner_map_scope", default=None)


def current_map(runner: object) -> MapScope | None:
    """Return the scope of the `map` call of `runner` that the calling code is part of, or None."""
    scope = _current.get()
    return scope if scope is not None and scope.runner is runner else None


def enter_map(runner: object) -> tuple[MapScope, Token[MapScope | None]]:
    """Make a new scope the current one, until `leave_map`."""
    scope = MapScope(runner)
    return scope, _current.set(scope)


def leave_map(token: Token[MapScope | None]) -> None:
    """Make the scope before `enter_map` the current one again."""
    _current.reset(token)


def hide_map() -> None:
    """Remove the scope from the calling context, because the runs that a body submits are not part of its map."""
    if _current.get() is not None:
        _current.set(None)
