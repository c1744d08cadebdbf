"""A result that stays with its worker until its value is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prefect.exceptions import MissingResult


class LazyValue:
    """A value that is loaded when it is first asked for, once.

    `load` is called without arguments by the first `get()`; its result is kept and `load` is dropped. If `load` raises,
    that `get()` raises, and the next one tries again; but a `MissingResult` is final and stays in `lost`.
    """

    __slots__ = ("__weakref__", "_load", "_lock", "_value", "lost")

    def __init__(self, load: Callable[[], Any]) -> None:
        """Keep `load` for the first `get()`."""
        self._load: Callable[[], Any] | None = load
        self._lock = threading.Lock()
        self._value: Any = None
        self.lost: MissingResult | None = None

    def get(self) -> Any:
        """Return the value; the first call loads it."""
        if self._load is not None:
            with self._lock:
                if self.lost is not None:
                    raise self.lost
                if self._load is not None:
                    try:
                        self._value = self._load()
                    except MissingResult as exc:
                        self.lost = exc
                        raise
                    self._load = None
        return self._value
