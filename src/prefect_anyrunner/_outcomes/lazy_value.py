"""A result that stays where it is until somebody asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prefect.exceptions import MissingResult


class LazyValue:
    """A value that is made when somebody asks for it, once.

    `make` is called without arguments by the first `get()`; its result is kept and `make` is dropped. If `make` raises,
    the error goes to whoever asked, and the next `get()` tries again; but a `MissingResult` is `lost` for good.
    """

    __slots__ = ("__weakref__", "_lock", "_make", "_value", "lost")

    def __init__(self, make: Callable[[], Any]) -> None:
        """Keep `make` for the first `get()`."""
        self._make: Callable[[], Any] | None = make
        self._lock = threading.Lock()
        self._value: Any = None
        self.lost: MissingResult | None = None

    def get(self) -> Any:
        """Return the value, making it on the first call."""
        if self._make is not None:
            with self._lock:
                if self.lost is not None:
                    raise self.lost
                if self._make is not None:
                    try:
                        self._value = self._make()
                    except MissingResult as exc:
                        self.lost = exc
                        raise
                    self._make = None
        return self._value
