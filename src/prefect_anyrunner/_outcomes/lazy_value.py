"""A result that stays where it is until it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prefect.exceptions import MissingResult

from prefect_anyrunner._base.errors import CannotTravel


class LazyValue:
    """A value that is loaded once, when it is first asked for.

    The first `get()` calls `load` without arguments, keeps its result and drops `load`. If `load` raises, the caller
    gets the error and the next `get()` tries again; but `MissingResult` and `CannotTravel` are final, and each further
    `get()` raises that same `error`.
    """

    __slots__ = ("__weakref__", "_load", "_lock", "_value", "error")

    def __init__(self, load: Callable[[], Any]) -> None:
        """Keep `load` for the first `get()`."""
        self._load: Callable[[], Any] | None = load
        self._lock = threading.Lock()
        self._value: Any = None
        self.error: MissingResult | CannotTravel | None = None

    def get(self) -> Any:
        """Return the value, loaded by the first call."""
        if self._load is not None:
            with self._lock:
                if self._load is not None:
                    try:
                        self._value = self._load()
                    except (MissingResult, CannotTravel) as exc:
                        self.error = exc
                    self._load = None
        if self.error is not None:
            raise self.error
        return self._value
